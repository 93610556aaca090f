"""HTTP Archives: the fields of HAR 1.2, messages as Chrome has them, and a reader of somebody else's."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, PerMessageDeflate, memory_pair
from aiohttp_rawws.recording import FrameRecord, OpenRecord, Record, Recorder, observe, read, to_har

from ..tools.faults import echo, managed_echo
from ..tools.peers import serving
from ..tools.talking import bounded_wait, end

# The fields that HAR 1.2 demands (http://www.softwareishard.com/blog/har-12-spec/), and their types.
REQUIRED: dict[str, Any] = {
    "log": {"version": str, "creator": {"name": str, "version": str}, "entries": [
        {
            "startedDateTime": str,
            "time": (int, float),
            "request": {
                "method": str, "url": str, "httpVersion": str, "cookies": [], "headers": [{"name": str, "value": str}],
                "queryString": [{"name": str, "value": str}], "headersSize": int, "bodySize": int,
            },
            "response": {
                "status": int, "statusText": str, "httpVersion": str, "cookies": [],
                "headers": [{"name": str, "value": str}], "content": {"size": int, "mimeType": str},
                "redirectURL": str, "headersSize": int, "bodySize": int,
            },
            "cache": {},
            "timings": {"send": (int, float), "wait": (int, float), "receive": (int, float)},
            "_webSocketMessages": [{"type": str, "time": float, "opcode": int, "data": str}],
        }
    ]}
}  # fmt: skip


def check(found: Any, shape: Any, place: str = "har") -> None:
    if isinstance(shape, dict):
        assert isinstance(found, dict), place
        for name, inner in shape.items():
            assert name in found, f"{place}.{name}"
            check(found[name], inner, f"{place}.{name}")
    elif isinstance(shape, list):
        assert isinstance(found, list), place
        for index, each in enumerate(found):
            check(each, shape[0], f"{place}[{index}]")
    else:
        assert isinstance(found, shape) and not isinstance(found, bool), place


def archive(records: list[Record]) -> Any:
    """The archive as a reader of JSON has it. It is a HAR."""
    found = json.loads(json.dumps(to_har(records)))
    check(found, REQUIRED)
    for entry in found["log"]["entries"]:
        assert datetime.fromisoformat(entry["startedDateTime"]).tzinfo is not None
    return found


def messages(har: Any, index: int = 0) -> list[tuple[str, int, str]]:
    return [(each["type"], each["opcode"], each["data"]) for each in har["log"]["entries"][index]["_webSocketMessages"]]


async def recorded(tmp_path: Path, *, compress: int = 0) -> list[Record]:
    path = tmp_path / "trace.jsonl"
    app = web.Application()
    with Recorder(path) as recorder:
        rawws.setup(app, observe=recorder, extensions=[PerMessageDeflate()])
        app.add_routes([rawws.websocket("/chat", managed_echo), rawws.websocket_raw("/raw", echo)])
        async with serving(app) as served, aiohttp.ClientSession() as http:
            url = f"ws://127.0.0.1:{served.port}/chat?room=a%20b&x="
            async with http.ws_connect(url, compress=compress, headers={"Cookie": "a=b"}) as socket:
                await socket.send_str("h\xfc " * 50)
                await bounded_wait(socket.receive_str())
                await socket.send_str("h\xfc " * 50)  # with context takeover
                await bounded_wait(socket.receive_str())
                await socket.send_bytes(b"\xff\x00")
                await bounded_wait(socket.receive_bytes())
                await bounded_wait(socket.close())
            await served.idle()
    return list(read(path))


@pytest.mark.parametrize("compress", [0, 15])
async def test_the_messages(compress: int, tmp_path: Path) -> None:
    """From the client's view, and inflated."""
    records = await recorded(tmp_path, compress=compress)
    frames = [record for record in records if isinstance(record, FrameRecord)]
    assert any(record.rsv for record in frames) == bool(compress)
    har = archive(records)
    text = "h\xfc " * 50
    assert messages(har) == [
        ("send", 1, text),
        ("receive", 1, text),
        ("send", 1, text),
        ("receive", 1, text),
        ("send", 2, "/wA="),
        ("receive", 2, "/wA="),
        ("send", 8, "A+g="),
        ("receive", 8, "A+g="),
    ]
    (entry,) = har["log"]["entries"]
    assert entry["request"]["url"].startswith("ws://127.0.0.1:")
    assert entry["request"]["queryString"] == [{"name": "room", "value": "a b"}, {"name": "x", "value": ""}]
    assert {"name": "Cookie", "value": "***"} in entry["request"]["headers"]
    assert entry["response"]["status"] == 101
    assert entry["_resourceType"] == "websocket"
    assert [each["time"] for each in entry["_webSocketMessages"]] == [record.time for record in frames]


async def test_a_reader_of_somebody_else(tmp_path: Path) -> None:
    """haralyzer, which many scripts use."""
    from haralyzer import HarParser  # type: ignore[import-untyped]

    parser = HarParser(archive(await recorded(tmp_path)))
    (entry,) = parser.har_data["entries"]
    assert (parser.version, parser.creator) == ("1.2", {"name": "aiohttp_rawws", "version": "1"})
    assert parser.match_request_type(entry, "GET")
    assert parser.match_status_code(entry, "101")
    assert parser.match_headers(entry, "response", "Upgrade", "websocket")
    assert parser.match_http_version(entry, "HTTP/1.1")


@pytest.mark.loops("clock")
async def test_fragments_are_joined_and_control_frames_are_apart() -> None:
    records: list[Record] = []
    server, client = memory_pair()
    observe(server, records.append)
    for frame in (Frame.text("a", fin=False), Frame.ping(b"p"), Frame.text("b", fin=False), Frame.text("c")):
        await client.send(frame)
    await asyncio.sleep(1)
    await end(server, client)
    har = archive(records)
    assert messages(har) == [("send", 9, "cA=="), ("send", 1, "abc")]
    assert har["log"]["entries"][0]["request"]["url"] == "ws://unknown/"


async def test_payloads_that_cannot_be_inflated(tmp_path: Path) -> None:
    """A payload that was cut, or that is broken: from there on the direction is shown as it was on the wire."""
    records = await recorded(tmp_path, compress=15)
    first = next(index for index, record in enumerate(records) if isinstance(record, FrameRecord))
    whole = records[first]
    assert isinstance(whole, FrameRecord)
    for payload in (whole.payload[:-1], b"\xff" * len(whole.payload)):
        records[first] = replace(whole, payload=payload)
        found = messages(archive(records))
        assert found[0] == ("send", 1, payload.decode(errors="replace"))
        assert found[1] == ("receive", 1, "h\xfc " * 50)


@pytest.mark.parametrize("field", ["permessage-deflate; nonsense=5", "x-other", "permessage-deflate, x-other", ","])
async def test_extensions_that_are_not_known(field: str, tmp_path: Path) -> None:
    records = await recorded(tmp_path)
    opened = records[0]
    assert isinstance(opened, OpenRecord) and opened.response is not None
    headers = (*opened.response.headers, ("Sec-WebSocket-Extensions", field))
    records[0] = replace(opened, response=replace(opened.response, headers=headers))
    assert messages(archive(records))[0] == ("send", 1, "h\xfc " * 50)


async def test_several_connections_and_none(tmp_path: Path) -> None:
    records = await recorded(tmp_path)
    both = [*records, *(replace(record, connection=7) for record in records)]
    assert len(archive(both)["log"]["entries"]) == 2
    assert archive([])["log"]["entries"] == []
    frames: list[Record] = [record for record in records if isinstance(record, FrameRecord)]
    har = archive(frames)  # the first line is missing
    assert b64decode(messages(har)[-1][2]) == b"\x03\xe8"
