"""An application, pages and a command line, shared by the demos. Nothing here is about WebSockets."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).with_name("static")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


def new_application() -> web.Application:
    """Make an application that serves the style sheet and the scripts."""
    app = web.Application()
    app.router.add_static("/static", STATIC)
    return app


def page(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a handler that answers with the page ``name`` of the static folder."""

    async def show(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / name, headers=HEADERS)

    return show


def document(title: str, body: str) -> web.Response:
    """Make a page that looks like the others. Both arguments are HTML."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    head, _, _ = text.partition("<body>")
    head = re.sub("<title>.*</title>", f"<title>{title} · aiohttp_rawws</title>", head)
    nav = '<nav><a href="/">aiohttp_rawws demos</a></nav>'
    return web.Response(text=f"{head}<body>{nav}{body}</body></html>", content_type="text/html", headers=HEADERS)


def redirect(path: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a handler that redirects to ``path``."""

    async def show(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(path)

    return show


def run(app: web.Application, description: str | None) -> None:
    """Serve ``app`` with aiohttp's runner, on the address of the command line."""
    serve(app, arguments(description).parse_args())


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Make the parser of a command line with ``--host`` and ``--port``."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("-H", "--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("-P", "--port", type=int, default=8080, help="port, 0 for a free one (%(default)s)")
    return parser


def serve(app: web.Application, options: argparse.Namespace) -> None:
    """Serve ``app`` on the address of the command line."""
    try:
        web.run_app(app, host=options.host, port=options.port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        sys.exit(f"cannot listen on {options.host}, port {options.port}: {error.strerror or error}")
