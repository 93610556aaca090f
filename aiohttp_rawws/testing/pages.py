"""The pages of the server of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from .misbehaviours.entry import Misbehaviour

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #8886; padding: .2em .6em; text-align: left; vertical-align: top }}
code {{ white-space: nowrap }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def answer(status: int, kind: str, body: str) -> bytes:
    """Return an HTTP response. Pages of other origins may read it."""
    content = body.encode()
    more = "Upgrade: websocket\r\n" if status == 426 else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}; charset=utf-8\r\n{more}"
        f"Content-Length: {len(content)}\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def index_page(misbehaviours: Mapping[str, Misbehaviour], reports: Iterable[Mapping[str, Any]]) -> str:
    """Return the page that lists everything."""
    rows, group = [], ""
    for each in misbehaviours.values():
        if each.group != group:
            group = each.group
            rows.append(f'<tr><th colspan="4">{escape(group)}')
        rows.append(
            f'<tr><td><a href="/m/{each.name}"><code>{each.name}</code></a><td>{escape(each.section)}'
            f"<td>{escape(each.summary)}<td>{escape(each.good)}"
        )
    agents = [
        f'<li><a href="/agents/{quote(report["agent"], safe="")}.json">{escape(report["agent"])}</a>: '
        + ", ".join(f"{count} {verdict}" for verdict, count in report["counts"].items() if count)
        for report in reports
    ]
    body = (
        "<p>Connect a client to <code>/m/NAME?agent=YOURS</code>. It should echo each message that it receives, until "
        "the connection ends. <code>/agents/YOURS.json</code> has the verdicts, and "
        "<code>/catalogue.json</code> this list.</p>"
        f"<h2>Agents</h2><ul>{''.join(agents) or '<li>none so far'}</ul>"
        f"<h2>{len(misbehaviours)} misbehaviours</h2>"
        "<table><tr><th>name<th>RFC 6455<th>the server<th>a good client" + "".join(rows) + "</table>"
    )
    return PAGE.format(title="A server that misbehaves", body=body)


def entry_page(misbehaviour: Misbehaviour) -> str:
    """Return the page of a misbehaviour, for visitors that are no WebSocket client."""
    body = (
        f"<p>Section {escape(misbehaviour.section)}. {escape(misbehaviour.summary)}</p>"
        f"<p>A good client: {escape(misbehaviour.good)}</p>"
        '<p>This page is for WebSocket clients. <a href="/">All misbehaviours</a></p>'
    )
    return PAGE.format(title=misbehaviour.name, body=body)
