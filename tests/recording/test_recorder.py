"""Recorders: what is in the file, from the first byte to the end, and that no session notices."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import os
import re
import stat
import tracemalloc
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, PerMessageDeflate, SessionOptions, memory_pair, recording, testing
from aiohttp_rawws.recording import (
    BytesRecord,
    CloseRecord,
    EndRecord,
    FrameRecord,
    OpenRecord,
    Record,
    Recorder,
    observe,
    read,
    to_har,
)
from aiohttp_rawws.recording.records import HIDDEN

from ..tools import peers
from ..tools.clock import idle
from ..tools.faults import echo, managed_echo
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import TEXT, close_frame, frame, serving
from ..tools.talking import bounded_wait, each_kind, end, hang_up, masked, on_a_line, over, run, talking
from ..tools.waiting import settle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


def of(records: Sequence[Record], number: int) -> list[Record]:
    return [record for record in records if record.connection == number]


def wire(records: Sequence[Record], source: str) -> bytes:
    """The bytes that a side has sent."""
    found = b""
    for record in records:
        if isinstance(record, FrameRecord) and record.source == source:
            found += record.wire
        elif isinstance(record, BytesRecord) and record.source == source:
            found += record.data
    return found


def shapes(records: Sequence[Record]) -> list[str]:
    """Each record in a few letters."""
    found = []
    for record in records:
        if isinstance(record, FrameRecord):
            found.append(f"{record.source} {record.opcode.name}")
        elif isinstance(record, (EndRecord, BytesRecord)):
            found.append(f"{record.source} {record.how if isinstance(record, EndRecord) else 'bytes'}")
        else:
            found.append(type(record).__name__)
    return found


# ---- servers and clients ------------------------------------------------------------------


def app_with(observe_option: Callable[[Any], object] | None, **options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app, observe=observe_option, extensions=[PerMessageDeflate()], **options)
    app.add_routes([rawws.websocket_raw("/raw", echo), rawws.websocket("/managed", managed_echo)])
    return app


@pytest.mark.parametrize("kind", ["raw", "managed"])
async def test_a_session_of_a_server(kind: str, path: Path) -> None:
    """With the handshake, and frames that came in one segment with it."""
    with Recorder(path) as recorder:
        async with serving(app_with(recorder)) as served, served.peer() as peer:
            sent = frame(TEXT, b"early") + frame(TEXT, b"late")
            answer = await peer.open(f"/{kind}?a=%2F", {"X-Own": "1"}, early=sent[:-1])
            assert await peer.frame() == (TEXT, b"early")
            await peer.send(sent[-1:])
            assert await peer.frame() == (TEXT, b"late")
            await peer.finish()
            await served.idle()
    records = list(read(path))
    opened = records[0]
    assert isinstance(opened, OpenRecord)
    assert opened.request is not None and opened.response is not None
    assert (opened.recorded_by, opened.missed) == ("server", (0, 0))
    assert opened.peer.startswith("127.0.0.1:")
    assert (opened.request.method, opened.request.target) == ("GET", f"/{kind}?a=%2F")
    assert opened.request.url == f"http://127.0.0.1/{kind}?a=%2F"
    assert opened.request.headers == (*peers.UPGRADE.items(), ("X-Own", "1"))
    assert opened.response.status == 101
    assert dict(opened.response.headers) == dict(answer.headers)
    assert shapes(records[1:]) == [
        "client TEXT", "server TEXT", "client TEXT", "server TEXT", "client CLOSE", "server CLOSE", "server eof",
        "client eof", "CloseRecord",
    ]  # fmt: skip
    frames = [record for record in records if isinstance(record, FrameRecord)]
    assert [record.early for record in frames if record.source == "client"] == [True, False, False]
    assert wire(records, "client") == sent + close_frame(1000)
    closed = records[-1]
    assert isinstance(closed, CloseRecord)
    assert (closed.client, closed.server) == (rawws.CloseReason(1000), rawws.CloseReason(1000))
    assert (closed.first, closed.how, closed.limit, closed.error) == ("client", "eof", None, None)


@pytest.mark.parametrize("managed", [False, True])
async def test_a_session_of_a_client(managed: bool, path: Path) -> None:
    """The request as it was sent, and frames that came with the 101."""

    async def script(peer: HandPeer) -> None:
        await peer.accept({"X-Server": "yes"}, early=b"\x81\x05early")
        first, payload = await peer.frame_of_client()
        await peer.send(bytes([first, len(payload)]) + payload)
        await peer.frame_of_client()
        await peer.send(b"\x88\x02\x03\xe8")

    recorder = Recorder(path)
    async with hand_server(script) as served, aiohttp.ClientSession() as http:
        connect: Any = rawws.connect if managed else rawws.connect_raw
        url = served.url.replace("//", "//user:secret@") + "chat?q=1"
        async with connect(http, url, protocols=["a"], observe=recorder) as session:
            assert (await bounded_wait(session.receive())).text == "early"
            await session.send("hi")
            assert (await bounded_wait(session.receive())).text == "hi"
    recorder.close()
    records = list(read(path))
    opened = records[0]
    assert isinstance(opened, OpenRecord)
    assert opened.request is not None and opened.response is not None
    assert opened.recorded_by == "client"
    assert opened.request.target == "/chat?q=1"
    assert "secret" not in path.read_text()
    fields = dict(opened.request.headers)
    assert (fields["Sec-WebSocket-Protocol"], fields["Authorization"]) == ("a", HIDDEN)
    assert ("X-Server", "yes") in opened.response.headers
    assert shapes(records[1:5]) == ["server TEXT", "client TEXT", "server TEXT", "client CLOSE"]
    assert "server CLOSE" in shapes(records)
    assert isinstance(records[1], FrameRecord) and records[1].early
    assert isinstance(records[2], FrameRecord) and records[2].masking_key is not None
    assert isinstance(records[-1], CloseRecord)


async def test_many_connections_in_one_file(path: Path) -> None:
    """Also of servers and clients together. Each has a number, and its own frames."""
    recorder = Recorder(path)
    async with serving(app_with(recorder)) as served, aiohttp.ClientSession() as http:
        url = f"ws://127.0.0.1:{served.port}/managed"
        sessions = [await rawws.connect(http, url, observe=recorder) for _ in range(3)]
        for number, session in enumerate(sessions):
            await session.send(f"{number}")
        for number, session in enumerate(sessions):
            assert (await bounded_wait(session.receive())).text == f"{number}"
            await bounded_wait(session.close())
        await served.idle()
    recorder.close()
    records = list(read(path))
    assert Counter(type(record) for record in records)[OpenRecord] == 6
    for number in range(1, 7):
        own = of(records, number)
        assert isinstance(own[0], OpenRecord) and isinstance(own[-1], CloseRecord)
        numbers = [record.number for record in own if isinstance(record, FrameRecord)]
        assert numbers == [1, 2, 3, 4]
        times = [record.time for record in own]
        assert times == sorted(times)


async def test_a_session_without_a_handshake(path: Path) -> None:
    """``testing.server_pair()`` has a request, and no response. A pair in memory has neither."""
    with Recorder(path) as recorder:
        for pair in (memory_pair(observe=recorder), testing.server_pair(observe=recorder)):
            await pair.server.send("x")
            await end(pair.client, pair.server)
    first, second, third = [record for record in read(path) if isinstance(record, OpenRecord)]
    assert (first.request, first.response, first.peer) == (None, None, "memory:first")
    assert (second.recorded_by, second.request) == ("client", None)
    assert third.request is not None and third.response is None


# ---- frames -------------------------------------------------------------------------------


@pytest.mark.loops("clock")
@each_kind
async def test_frames_are_as_on_the_wire(kind: str, path: Path) -> None:
    """In both directions, on all kinds of sessions: compressed, in fragments, masked, large."""
    recorder = Recorder(path)
    server, client = memory_pair(server_options=rawws.SessionOptions(observe=recorder))
    session = over(kind, server, client, None)
    for item in ("text" * 20, b"b" * 200_000, Frame.text("a", fin=False), Frame.text("b")):
        await session.send(item)
        await client.send(item)
    client.send_nowait(Frame.ping(b"p"))
    await idle()
    stats = server.stats
    await end(session, client)
    recorder.close()
    records = list(read(path))
    assert len(wire(records, "server")) == stats.bytes_sent
    assert len(wire(records, "client")) == stats.bytes_received
    frames = [record for record in records if isinstance(record, FrameRecord)]
    assert {record.rsv for record in frames} == ({0, 4} if kind in ("deflate", "applied") else {0})
    assert all((record.masking_key is not None) == (record.source == "client") for record in frames)
    kinds = [record.kind for record in frames if record.opcode is Opcode.CONTINUATION]
    assert kinds == [Opcode.TEXT] * 2


@pytest.mark.loops("clock")
@pytest.mark.parametrize(
    "data",
    [
        b"\x83\x80abcd",  # a reserved opcode
        b"\x81\x02no",  # not masked
        b"\x82\xfe\x00\x01" + bytes(4) + b"x",  # a length that is not minimal
        b"\x82\xff" + b"\xff" * 8 + b"abcd" + b"x" * 10,  # a length of 64 bits
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["opcode", "mask", "form", "length", "http"],
)
async def test_violations_and_what_is_behind_them(data: bytes, path: Path) -> None:
    """A session stops there. The recording goes on, and has the error."""
    recorder = Recorder(path)
    async with on_a_line("raw", observe=recorder) as (session, line):
        line.give(masked(1, b"before") + data)
        line.give(b"and behind")
        with pytest.raises(rawws.PeerError):
            while True:
                await bounded_wait(session.receive())
        line.end()
        await idle()
    recorder.close()
    records = list(read(path))
    assert wire(records, "client") == masked(1, b"before") + data + b"and behind"
    closed = records[-1]
    assert isinstance(closed, CloseRecord)
    assert closed.error is not None and ("Violation" in closed.error or "FrameTooBig" in closed.error)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("cut", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_half_a_frame_at_the_end(cut: int, how: str, path: Path) -> None:
    whole = masked(2, b"1234567")
    recorder = Recorder(path)
    async with talking("raw", observe=recorder) as (session, _, peer):
        peer.write_bytes(whole[:cut])
        await settle()
        if how == "eof":
            await hang_up(peer)
            await settle()
            await bounded_wait(session.end())
        else:
            peer.abort()
            await bounded_wait(session.wait_closed())
    recorder.close()
    records = list(read(path))
    assert wire(records, "client") == whole[:cut]
    part = records[1]
    if cut < 6:
        assert isinstance(part, BytesRecord)
    else:
        assert isinstance(part, FrameRecord) and (part.length, part.size, part.truncated) == (7, cut - 6, False)
    ends = [record.how for record in records if isinstance(record, EndRecord) and record.source == "client"]
    assert ends == [how]
    closed = records[-1]
    assert isinstance(closed, CloseRecord) and closed.how == how


@pytest.mark.loops("clock")
async def test_limits_are_named(path: Path) -> None:
    with Recorder(path) as recorder:
        async with talking("raw", observe=recorder, max_frame_size=10) as (session, _, peer):
            await peer.send("x" * 11)
            with pytest.raises(rawws.FrameTooBig):
                await bounded_wait(session.receive())
    closed = list(read(path))[-1]
    assert isinstance(closed, CloseRecord)
    assert (closed.limit, closed.server, closed.how) == (
        "max_frame_size",
        rawws.CloseReason(1009, "Frame is too big: 11. Max size is 10"),
        "abort",
    )


@pytest.mark.loops("clock")
@pytest.mark.parametrize(
    ("limit", "options", "frame"),
    [
        ("max_message_size", {"max_message_size": 5}, Frame.text("123", fin=False)),
        ("max_fragments", {"max_fragments": 2}, Frame.text("", fin=False)),
        ("max_control_rate", {"max_control_rate": 2}, Frame.ping()),
        ("timeout", {"ping_interval": 5, "timeout": 1}, Frame.text("x")),
        ("idle_timeout", {"idle_timeout": 100}, Frame.text("x")),
        ("max_lifetime", {"max_lifetime": 100}, Frame.text("x")),
    ],
)
async def test_limits_of_managed_sessions_are_named(
    limit: str, options: dict[str, Any], frame: Frame, path: Path
) -> None:
    recorder = Recorder(path)
    async with talking("managed", observe=recorder, **options) as (session, _, peer):
        running = run(session, managed_echo)
        for _ in range(3):
            peer.send_nowait(frame)
        await bounded_wait(running, 500)
    recorder.close()
    closed = list(read(path))[-1]
    assert isinstance(closed, CloseRecord)
    assert closed.limit == limit


@pytest.mark.loops("clock")
async def test_max_payload(path: Path) -> None:
    with Recorder(path, max_payload=100) as recorder:
        async with talking("raw", observe=recorder) as (session, _, peer):
            await peer.send(bytes(range(200)))
            await settle()
            await session.send(b"y" * 100)
            await settle()
    first, second = [record for record in read(path) if isinstance(record, FrameRecord)]
    assert (first.payload, first.size, first.length, first.truncated) == (bytes(range(100)), 200, 200, True)
    assert (len(second.payload), second.truncated) == (100, False)
    assert '"trunc":1' in path.read_text()


@pytest.mark.parametrize("before", ["nothing", "violation", "close"])
async def test_a_frame_that_is_refused_takes_no_memory(before: str) -> None:
    """Nor does one that is ignored. ``observe()`` without a limit of its own keeps no more than the session takes."""
    records: list[Record] = []
    first = {"nothing": b"", "violation": b"\x81\x02no", "close": close_frame(1000)}[before]
    server, client = memory_pair(
        server_options=SessionOptions(
            observe=lambda raw: observe(raw, records.append), max_frame_size=1000, on_violation="raise"
        ),
        client_options=SessionOptions(strict=False),
    )
    client.write_bytes(frame(2, bytes(1000)) + first + b"\x82\xff" + (2**40).to_bytes(8, "big") + bytes(4))
    await settle()
    tracemalloc.start()
    try:
        for _ in range(256):  # 16 MiB
            client.write_bytes(bytes(2**16))
            await bounded_wait(client.flush())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await end(client, server)
    assert peak < 4 * 2**20
    kept = [record for record in records if isinstance(record, FrameRecord) and record.opcode is Opcode.BINARY]
    assert [(len(record.payload), record.size, record.length) for record in kept] == [
        (1000, 1000, 1000),
        (1000, 2**24, 2**40),
    ]
    assert kept[1].truncated


# ---- late, and off again ------------------------------------------------------------------


@pytest.mark.loops("clock")
@each_kind
async def test_a_session_that_is_open_already(kind: str, path: Path) -> None:
    """In the middle of a frame: that one is left out, and the next is whole."""
    async with talking(kind) as (session, raw, peer):
        whole = masked(2, b"x" * 1000)
        peer.write_bytes(whole + whole[:500])
        await settle()
        recorder = Recorder(path)
        detach = recorder.attach(session)
        peer.write_bytes(whole[500:])
        peer.write_bytes(masked(1, b"seen"))
        await settle()
        detach()
        assert raw.connection.tap is None
        records = list(read(path))
        await peer.send("not seen")
        await settle()
    recorder.close()
    assert list(read(path)) == records
    opened, *frames = records
    assert isinstance(opened, OpenRecord) and opened.missed == (len(whole) + 500, 0)
    assert [record.payload for record in frames if isinstance(record, FrameRecord)] == [b"seen"]


@pytest.mark.loops("clock")
async def test_a_session_that_is_sending_a_frame_in_pieces(path: Path) -> None:
    """The rest of that frame is left out."""
    gate = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"12345"
        await gate.wait()
        yield b"67890"

    async with talking("raw") as (session, _, _peer):
        sending = asyncio.get_running_loop().create_task(session.send_stream(source(), length=10))
        await settle()
        with Recorder(path) as recorder:
            recorder.attach(session)
            gate.set()
            await bounded_wait(sending)
            await session.send("seen")
    frames = [record for record in read(path) if isinstance(record, FrameRecord)]
    assert [record.payload for record in frames] == [b"seen"]


@pytest.mark.loops("clock")
async def test_bytes_that_the_session_has_not_parsed_yet(path: Path) -> None:
    """They are seen, since the handler has not seen them: here those behind a full queue."""
    async with talking("raw", incoming=rawws.bounded(2)) as (session, _, peer):
        with peer.cork():
            for number in range(5):
                peer.send_nowait(f"{number}")
        await settle()
        with Recorder(path) as recorder:
            recorder.attach(session)
            assert [(await bounded_wait(session.receive())).text for _ in range(5)] == list("01234")
    frames = [record for record in read(path) if isinstance(record, FrameRecord)]
    assert [record.payload for record in frames] == [b"2", b"3", b"4"]


@pytest.mark.loops("clock")
async def test_a_session_that_is_over(path: Path) -> None:
    server, client = memory_pair()
    await end(server, client)
    with Recorder(path) as recorder:
        recorder.attach(server)()
    assert path.read_text() == ""


@pytest.mark.loops("clock")
async def test_the_file_is_flushed_at_the_end_of_a_connection(path: Path) -> None:
    recorder = Recorder(path)
    server, client = memory_pair(server_options=rawws.SessionOptions(observe=recorder))
    await client.send("x")
    await settle()
    assert path.read_text() == ""
    recorder.flush()
    assert len(path.read_text().splitlines()) == 2
    await end(client, server)
    assert isinstance(list(read(path))[-1], CloseRecord)
    recorder.close()
    recorder.close()


@pytest.mark.parametrize(
    "host", ["x:99999999", "[::1", "a b", "exa mple:99999999", "[x]", "", "x:y", "\xfc\xff:0x", "@", "a@b:c@d", "%zz"]
)
async def test_a_host_that_is_none(host: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client cannot keep itself out of the recording by it, and the recording can be read and shown."""
    with Recorder(path) as recorder:
        async with serving(app_with(recorder)) as served, served.peer() as peer:
            fields = {**peers.UPGRADE, "Host": host}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            await peer.send(f"GET /raw?a=b HTTP/1.1\r\n{head}\r\n".encode("latin-1"))
            line = await bounded_wait(peer.reader.readline())
            peer.writer.close()
            await served.idle()
    if b" 101 " not in line:
        assert b" 400 " in line  # aiohttp refuses some
        return
    records = list(read(path))
    opened = records[0]
    assert isinstance(opened, OpenRecord) and opened.request is not None
    assert isinstance(records[-1], CloseRecord)
    assert opened.request.target == "/raw?a=b"
    assert opened.request.url.startswith("http://") and opened.request.url.endswith("/raw?a=b")
    if host == "x:99999999":
        assert opened.request.url == "http://x:99999999/raw?a=b"
    assert to_har(records)["log"]["entries"][0]["request"]["queryString"] == [{"name": "a", "value": "b"}]
    assert [record for record in caplog.records if record.exc_info is not None] == []


# ---- secrets ------------------------------------------------------------------------------


async def test_secret_fields_are_hidden(path: Path) -> None:
    secrets = {"Authorization": "secret", "cookie": "secret", "Proxy-Authorization": "secret", "X-Token": "secret"}
    path.touch(0o644)
    recorder = Recorder(path, secret_headers=["x-token"])
    app = app_with(recorder, before_upgrade=lambda request: {"Set-Cookie": "secret", "X-Shown": "yes"})
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open("/raw", secrets)
        assert answer.headers["Set-Cookie"] == "secret"
        await peer.finish()
        await served.idle()
    recorder.close()
    assert "secret" not in path.read_text()
    opened = next(read(path))
    assert isinstance(opened, OpenRecord) and opened.request is not None and opened.response is not None
    fields = dict(opened.request.headers)
    assert [fields[name] for name in secrets] == [HIDDEN] * 4
    assert dict(opened.response.headers)["Set-Cookie"] == HIDDEN
    assert dict(opened.response.headers)["X-Shown"] == "yes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.loops("clock")
async def test_redact(path: Path) -> None:
    def redact(record: Record) -> Record:
        if isinstance(record, FrameRecord) and b"secret" in record.payload:
            return replace(record, payload=b"(hidden)")
        return record

    with Recorder(path, redact=redact) as recorder:
        async with talking("raw", observe=recorder) as (session, _, peer):
            await peer.send("a secret")
            await peer.send("no harm")
            assert (await bounded_wait(session.receive())).text == "a secret"
            await settle()
    first, second = [record for record in read(path) if isinstance(record, FrameRecord)]
    assert (first.payload, first.redacted, first.length, first.truncated) == (b"(hidden)", True, 8, False)
    assert (second.payload, second.redacted) == (b"no harm", False)


def unwritable(record: Record) -> Record:
    """A record of the right kind that has no line."""
    if isinstance(record, FrameRecord):
        return replace(record, payload="secret")  # type: ignore[arg-type]
    return replace(record, connection=b"secret")  # type: ignore[arg-type]


def unreadable(record: Record) -> Record:
    """A record whose line is JSON, and cannot be read again."""
    if isinstance(record, FrameRecord):
        return replace(record, note=["secret"])  # type: ignore[arg-type]
    if isinstance(record, OpenRecord):
        return replace(record, peer=["secret"])  # type: ignore[arg-type]
    if isinstance(record, CloseRecord):
        return replace(record, error=["secret"])  # type: ignore[arg-type]
    return replace(record, connection="secret")  # type: ignore[arg-type]


def of_another_kind(record: Record) -> Record:
    if isinstance(record, CloseRecord):
        return EndRecord(connection=1, time=record.time, source="client", how="eof")
    return CloseRecord(connection=1, time=record.time, error="secret")


@pytest.mark.parametrize(
    "result",
    [ValueError("of redact"), None, "text", unwritable, unreadable, of_another_kind],
    ids=["raises", "None", "text", "unwritable", "unreadable", "of another kind"],
)
async def test_redact_that_fails(result: Any, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that may be secret is written, and the session goes on. It is logged once."""

    def redact(record: Record) -> Any:
        if isinstance(result, Exception):
            raise result
        return result(record) if callable(result) else result

    recorder = Recorder(path, redact=redact)
    async with serving(app_with(recorder)) as served, served.peer() as peer:
        await peer.open("/raw?token=secret", {"X": "secret", "Host": "secret.example"})
        for _ in range(3):
            await peer.send(frame(TEXT, b"secret"))
            assert await peer.frame() == (TEXT, b"secret")
        await peer.send(close_frame(1000, "secret") + b"\x82\x86sec")
        await peer.read_to_end()
        peer.writer.close()
        await served.idle()
    recorder.close()
    for secret in ("secret", "c2Vjcm", "127.0.0.1", b64encode(b"\x82\x86sec").decode()):
        assert secret not in path.read_text()
    (bytes_record,) = [record for record in read(path) if isinstance(record, BytesRecord)]
    assert bytes_record.data == b""
    frames = [record for record in read(path) if isinstance(record, FrameRecord)]
    assert {(record.payload, record.redacted, record.note) for record in frames} == {(b"", True, "redact failed")}
    assert [record.levelno for record in caplog.records if record.name == "aiohttp_rawws"] == [logging.ERROR]
    assert "secret" not in caplog.text


def redact_of_the_docs() -> Callable[[Record], Record]:
    """The function that the page on recording shows."""
    page = Path(__file__).parents[2] / "docs/howto/recording.md"
    (source,) = re.findall(r"^def redact\(.*?\n(?=\n)", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"re": re, "dataclasses": dataclasses, "recording": recording}
    exec(source, names)
    found: Callable[[Record], Record] = names["redact"]
    return found


@pytest.mark.parametrize("compressed", [False, True])
async def test_redact_of_the_docs(compressed: bool, path: Path) -> None:
    """It hides a secret in fragments, and one that is compressed."""
    extensions = [PerMessageDeflate()] if compressed else []

    async def ignore(session: Any) -> None:
        async for _ in session:
            pass

    app = web.Application()
    with Recorder(path, redact=redact_of_the_docs()) as recorder:
        rawws.setup(app, observe=recorder, extensions=[PerMessageDeflate()])
        app.add_routes([rawws.websocket("/managed", ignore)])
        async with serving(app) as served, aiohttp.ClientSession() as http:
            url = f"ws://127.0.0.1:{served.port}/managed?token=password"
            async with rawws.connect(http, url, extensions=extensions) as session:
                await session.send("my password is hunter2 " * 10)
                await session.raw.send(Frame.text("my pass", fin=False))
                await session.raw.send(Frame.text("word is hunter2"))
            await served.idle()
    records = list(read(path))
    assert isinstance(records[0], OpenRecord) and records[0].request is not None
    assert records[0].request.target == "/managed"
    frames = [record for record in records if isinstance(record, FrameRecord) and not record.opcode.is_control]
    assert len(frames) == 3 and frames[0].rsv == (4 if compressed else 0)
    assert {(record.payload, record.redacted) for record in frames} == {(b"", True)}
    (entry,) = to_har(records)["log"]["entries"]
    assert not any("pass" in message["data"] or "hunter" in message["data"] for message in entry["_webSocketMessages"])


# ---- trouble ------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.loops("clock")
async def test_a_disk_that_is_full(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder("/dev/full")
    for _ in range(2):
        async with talking("raw", observe=recorder) as (session, _, peer):
            for number in range(300):
                await peer.send(b"x" * 1000)
                assert len((await bounded_wait(session.receive())).payload) == 1000, number
            recorder.flush()
    recorder.close()
    assert recorder.error is not None and recorder.error.errno == errno.ENOSPC
    (line,) = [record.getMessage() for record in caplog.records if record.name == "aiohttp_rawws"]
    assert "/dev/full" in line and "records no more" in line


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        Recorder(tmp_path / "none" / "trace.jsonl")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_payload": 0}, ValueError),
        ({"max_payload": "1"}, TypeError),
        ({"redact": "x"}, TypeError),
        ({"secret_headers": "x"}, TypeError),
    ],
    ids=str,
)
def test_arguments(options: dict[str, Any], error: type[Exception], path: Path) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Recorder(path, **options)
    assert not path.exists()


# ---- observe() ----------------------------------------------------------------------------


@pytest.mark.loops("clock")
async def test_observe() -> None:
    records: list[Record] = []
    async with talking("managed") as (session, raw, peer):
        session.begin()
        stop = observe(session, records.append)
        await peer.send(Frame.ping(b"p"))
        await settle()
        assert shapes(records) == ["OpenRecord", "client PING", "server PONG"]
        stop()
        stop()
        await peer.send("x")
        await settle()
        assert len(records) == 3
        assert raw.connection.tap is None


@pytest.mark.loops("clock")
@pytest.mark.parametrize("when", [0, 1, 2])
async def test_a_callback_that_raises(when: int, caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def callback(record: Record) -> None:
        nonlocal calls
        calls += 1
        if calls > when:
            raise ValueError("of the callback")

    async with talking("raw") as (session, _, peer):
        observe(session, callback)
        for _ in range(3):
            await peer.send("x")
            assert (await bounded_wait(session.receive())).text == "x"
    assert calls == when + 1
    assert len([record for record in caplog.records if record.exc_info is not None]) == 1


# ---- gateways -----------------------------------------------------------------------------


@pytest.mark.loops("clock")
@pytest.mark.parametrize("on_frame", [None, lambda item, source: item], ids=["bytes", "frames"])
@pytest.mark.parametrize("observed", ["before", "meanwhile"])
async def test_a_pump(on_frame: Any, observed: str, path: Path) -> None:
    """Both hops are recorded, with what passes byte for byte or frame by frame, and the ends of the streams."""
    options: Any = {"max_frame_size": None, "incoming": rawws.UNLIMITED, "outgoing": rawws.UNLIMITED}
    (a, client), (upstream, b) = memory_pair(**options), memory_pair(**options)
    with Recorder(path) as recorder:
        if observed == "before":
            recorder.attach(a)
            recorder.attach(b)
        pumping = asyncio.get_running_loop().create_task(rawws.pump(a, b, on_frame=on_frame))
        await settle()
        if observed == "meanwhile":
            recorder.attach(a)
            recorder.attach(b)
        for item in ("hi", Frame.ping(b"p"), b"x" * 300_000, Frame.text("a", fin=False), Frame.text("b")):
            await client.send(item)
            await upstream.send(item)
        await asyncio.sleep(1)
        await hang_up(client)
        await settle()
        await upstream.end()
        await bounded_wait(pumping)
        stats = a.stats, b.stats
        await end(client, a, b)
    records = list(read(path))
    for number, (own, peer, counted) in enumerate((("server", "client", stats[0]), ("client", "server", stats[1])), 1):
        hop = of(records, number)
        assert len(wire(hop, peer)) == counted.bytes_received > 300_000
        assert len(wire(hop, own)) == counted.bytes_sent > 300_000
        frames = [record for record in hop if isinstance(record, FrameRecord)]
        assert all((record.masking_key is not None) == (record.source == "client") for record in frames)
        sent = [(record.opcode, record.kind, record.payload) for record in frames if record.source == own]
        came = [(record.opcode, record.kind, record.payload) for record in frames if record.source == peer]
        assert len(sent) == len(came) == 5 and sent == came
        assert shapes(hop)[-1] == "CloseRecord"
        assert {f"{peer} eof", f"{own} eof"} <= set(shapes(hop))


@pytest.mark.loops("clock")
async def test_a_stream_that_ends_while_a_pump_waits_for_its_callback(path: Path) -> None:
    (a, client), (upstream, b) = memory_pair(), memory_pair()
    held: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    with Recorder(path) as recorder:
        recorder.attach(a)
        pumping = asyncio.get_running_loop().create_task(rawws.pump(a, b, on_frame=lambda item, source: held))
        await settle()
        await client.send("hi")
        await hang_up(client)
        await settle()
        recorder.flush()
        assert shapes(list(read(path))) == ["OpenRecord", "client TEXT", "client eof"]
        held.set_result(None)
        await upstream.end()
        await bounded_wait(pumping)
        await end(client, a, b)
