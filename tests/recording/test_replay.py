"""Replay: both sides of recordings, over memory and sockets, against real handlers and real clients."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, HandshakeError, Opcode, PerMessageDeflate, SessionOptions, memory_pair, run_session
from aiohttp_rawws.recording import (
    BytesRecord,
    CloseRecord,
    EndRecord,
    FrameRecord,
    HandshakeRequest,
    HandshakeResponse,
    OpenRecord,
    Pace,
    Part,
    Record,
    Recorder,
    ReplayMismatch,
    Source,
    Step,
    observe,
    read,
    replay,
)
from aiohttp_rawws.recording.handshakes import host_of, uses_tls
from aiohttp_rawws.recording.onlooker import Onlooker
from aiohttp_rawws.web.handshake import accept_key

from ..tools.faults import echo, managed_echo
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import certificates, serving
from ..tools.talking import bounded_wait, end, hang_up, masked

Handler = Callable[[Any], Awaitable[object]]

LIMIT = 20.0  # seconds; only a fault takes so long


async def recorded(handler: Handler, client: Handler, **options: Any) -> list[Record]:
    """The records of ``handler``'s side of a talk in memory."""
    records: list[Record] = []
    server, other = memory_pair(
        server_options=SessionOptions(observe=lambda raw: observe(raw, records.append), **options),
        client_options=SessionOptions(strict=False),
    )
    running = asyncio.get_running_loop().create_task(run_session(server, handler))
    await bounded_wait(client(other))
    await bounded_wait(running)
    await end(other)
    assert isinstance(records[-1], CloseRecord)
    return records


async def against(handler: Handler, records: Iterable[Record], **how: Any) -> Sequence[Step]:
    """Play the client of ``records`` to ``handler``, in memory."""
    server, client = memory_pair(client_options=SessionOptions(strict=False))
    running = asyncio.get_running_loop().create_task(run_session(server, handler))
    try:
        return await bounded_wait(replay(records, client, **how), LIMIT)
    finally:
        assert client.connection.tap is None
        await end(client)
        await bounded_wait(running)


async def talk(client: Any) -> None:
    """A bit of everything, and the closing handshake."""
    for frame in (Frame.text("hi"), Frame.ping(b"p"), Frame.text("a", fin=False), Frame.text("b"), Frame.binary(b"")):
        await client.send(frame)
        await client.receive()
    await client.send(bytes(range(256)) * 1000)
    await client.receive()
    await client.close(1000, "bye")
    await client.receive()
    await client.end()


def made(*frames: tuple[Source, bytes]) -> list[Any]:
    """Records of frames on the wire, one of each: who sent it, and its bytes."""
    records: list[Record] = []
    for number, (source, wire) in enumerate(frames, 1):
        looker = Onlooker()
        seen = next(iter(looker.feed(wire)), None) or looker.rest()
        if isinstance(seen, tuple):
            header, payload, size, kind = seen
            common: dict[str, Any] = {"connection": 1, "number": number, "time": number, "source": source}
            records.append(FrameRecord(**common, header=header, payload=payload, size=size, kind=kind))
        else:
            records.append(BytesRecord(connection=1, time=number, source=source, data=wire))
    return records


# ---- both sides, in memory ----------------------------------------------------------------


@pytest.mark.parametrize("pace", ["lockstep", "recorded", "fast"])
async def test_the_client(pace: Pace) -> None:
    records = await recorded(echo, talk)
    came = await against(echo, records, pace=pace)
    sent = [record for record in records if isinstance(record, FrameRecord) and record.source == "server"]
    assert [step.wire for step in came if isinstance(step, FrameRecord)] == [record.wire for record in sent]
    assert isinstance(came[-1], EndRecord)


@pytest.mark.parametrize("pace", ["lockstep", "recorded", "fast"])
async def test_the_server(pace: Pace) -> None:
    """To the client's code. It draws other masking keys each time."""
    records = await recorded(echo, talk)
    server, client = memory_pair(server_options=SessionOptions(strict=False))
    running = asyncio.get_running_loop().create_task(talk(client))
    came = await bounded_wait(replay(records, server, source="server", pace=pace), LIMIT)
    await bounded_wait(running)
    await end(server, client)
    assert [step.opcode for step in came if isinstance(step, FrameRecord)] == [
        Opcode.TEXT, Opcode.PING, Opcode.TEXT, Opcode.CONTINUATION, Opcode.BINARY, Opcode.BINARY, Opcode.CLOSE,
    ]  # fmt: skip


async def test_a_recording_of_the_client_plays_both_sides() -> None:
    records: list[Record] = []
    server, client = memory_pair()
    observe(client, records.append)
    running = asyncio.get_running_loop().create_task(run_session(server, echo))
    await bounded_wait(talk(client))
    await bounded_wait(running)
    assert isinstance(records[0], OpenRecord) and records[0].recorded_by == "client"
    await against(echo, records)
    server, client = memory_pair()
    running = asyncio.get_running_loop().create_task(talk(client))
    await bounded_wait(replay(records, server, source="server"), LIMIT)
    await bounded_wait(running)
    await end(server, client)


async def violate(client: Any) -> None:
    client.write_bytes(b"\x81\x02no")  # not masked
    await client.receive()
    await client.end()


async def leave_in_a_frame(client: Any) -> None:
    client.write_bytes(masked(1, b"whole") + masked(1, b"half of it")[:-5])
    await client.receive()
    await hang_up(client)
    await client.end()


async def leave_in_a_header(client: Any) -> None:
    client.write_bytes(masked(1, b"whole") + b"\x81")
    await client.receive()
    await hang_up(client)
    await client.end()


async def half_close(client: Any) -> None:
    """The server's answer comes behind the end of the client's direction."""
    client.send_nowait("last words")
    client.transport.write_eof()
    await client.receive()
    await client.end()


async def drop(client: Any) -> None:
    await client.send("x")
    await client.receive()
    client.abort(reset=True)


async def forms(client: Any) -> None:
    """Headers that no encoder writes."""
    client.write_bytes(b"\x82\xfe\x00\x01" + bytes(4) + b"x")
    client.write_bytes(b"\xb2\x81" + b"abcd" + b"y")
    await client.receive()
    await client.receive()
    await client.close()
    await client.receive()
    await client.end()


TALKS: dict[str, tuple[Handler, dict[str, Any]]] = {
    "everything": (talk, {}),
    "violation": (violate, {}),
    "half a frame": (leave_in_a_frame, {}),
    "half a header": (leave_in_a_header, {}),
    "half-close": (half_close, {}),
    "reset": (drop, {}),
    "forms": (forms, {"strict": False}),
}


@pytest.mark.parametrize("name", TALKS)
async def test_every_end(name: str, tmp_path: Path) -> None:
    """Recorded, written, read, and played: the server sees the very same bytes and the same end."""
    talk, options = TALKS[name]
    path = tmp_path / "trace.jsonl"
    with Recorder(path) as recorder:
        server, client = memory_pair(
            server_options=SessionOptions(observe=recorder, **options), client_options=SessionOptions(strict=False)
        )
        running = asyncio.get_running_loop().create_task(run_session(server, echo))
        await bounded_wait(talk(client))
        await bounded_wait(running)
        await end(client)
    again: list[Record] = []
    server, client = memory_pair(
        server_options=SessionOptions(observe=lambda raw: observe(raw, again.append), **options)
    )
    running = asyncio.get_running_loop().create_task(run_session(server, echo))
    await bounded_wait(replay(path, client), LIMIT)
    await bounded_wait(end(client))
    await bounded_wait(running)
    before = list(read(path))
    for source in ("client", "server"):
        assert plain(again, source) == plain(before, source)
    assert replace(again[-1], time=0, connection=0) == replace(before[-1], time=0, connection=0)


def plain(records: Sequence[Record], source: str) -> list[Any]:
    """What a side did, without times and numbers."""
    steps: list[Any] = [record for record in records if getattr(record, "source", None) == source]
    return [
        replace(step, time=0, connection=0, **({"number": 0} if isinstance(step, FrameRecord) else {}))
        for step in steps
    ]


async def test_a_session_can_be_used_before_and_after() -> None:
    """Frames that wait count, and after the replay the session receives again."""
    server, client = memory_pair()
    await client.send("hello")
    await server.send("early")
    await asyncio.sleep(0.01)
    records = made(("server", b"\x81\x05early"), ("client", masked(1, b"hi")), ("server", b"\x81\x02hi"))
    playing = asyncio.get_running_loop().create_task(replay(records, client))
    assert (await bounded_wait(server.receive())).text == "hello"
    await server.send(await bounded_wait(server.receive()))
    came = await bounded_wait(playing)
    assert len(came) == 2
    assert client.on_violation == "close" and client.connection.tap is None
    await server.send("late")
    assert (await bounded_wait(client.receive())).text == "late"
    await end(server, client)


# ---- over sockets -------------------------------------------------------------------------


def app_with(recorder: Recorder | None = None, **options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app, observe=recorder, extensions=[PerMessageDeflate()], **options)
    app.add_routes([rawws.websocket_raw("/raw", echo), rawws.websocket("/managed", managed_echo)])
    return app


@pytest.mark.parametrize("kind", ["raw", "managed"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_to_a_server(kind: str, tls: bool, tmp_path: Path) -> None:
    """With the recorded handshake, so that a compressed session is understood."""
    path = tmp_path / "trace.jsonl"
    with Recorder(path) as recorder:
        async with serving(app_with(recorder)) as served, aiohttp.ClientSession() as http:
            url = f"ws://127.0.0.1:{served.port}/{kind}"
            async with http.ws_connect(url, compress=15, origin=f"http://127.0.0.1:{served.port}") as socket:
                for text in ("hi", "hi " * 100):
                    await socket.send_str(text)
                    if kind == "managed":
                        assert await bounded_wait(socket.receive_str()) == text
                    else:
                        await bounded_wait(socket.receive())
                await bounded_wait(socket.close())
            await served.idle()
    async with serving(app_with(), tls=tls) as served:
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{served.port}"
        ignore = {"masking_key", "end"} if tls else {"masking_key"}  # TLS ends both directions at once
        came = await bounded_wait(
            replay(path, url, ssl=certificates()[1] if tls else None, ignore=ignore),  # type: ignore[arg-type]
            LIMIT,
        )
        assert [step.opcode for step in came if isinstance(step, FrameRecord)][:2] == [Opcode.TEXT] * 2


async def test_to_a_session_of_a_client(tmp_path: Path) -> None:
    records = await recorded(echo, talk)
    async with serving(app_with()) as served, aiohttp.ClientSession() as http:
        async with rawws.connect_raw(http, f"ws://127.0.0.1:{served.port}/raw") as session:
            await bounded_wait(replay(records, session), LIMIT)


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("compress", [0, 15])
async def test_to_a_client_of_aiohttp(compress: int, tmp_path: Path) -> None:
    """The server of the recording is played to somebody else's client, with the handshake."""
    path = tmp_path / "trace.jsonl"

    async def client(url: str) -> None:
        async with aiohttp.ClientSession() as http, http.ws_connect(url, compress=compress, protocols=["a"]) as socket:
            assert socket.protocol == "a" and bool(socket.compress) == bool(compress)
            for text in ("hi", "hi " * 100):
                await socket.send_str(text)
                assert await bounded_wait(socket.receive_str()) == text
            await bounded_wait(socket.close())

    app = web.Application()
    with Recorder(path) as recorder:
        rawws.setup(app, observe=recorder, extensions=[PerMessageDeflate()])
        app.add_routes([rawws.websocket("/chat", managed_echo, protocols=["a"])])
        async with serving(app) as served:
            await bounded_wait(client(f"ws://127.0.0.1:{served.port}/chat"))
            await served.idle()
    sock = listening()
    playing = asyncio.get_running_loop().create_task(replay(path, sock, source="server"))
    await bounded_wait(client(f"ws://127.0.0.1:{sock.getsockname()[1]}/chat"))
    came = await bounded_wait(playing)
    assert len([step for step in came if isinstance(step, FrameRecord)]) == 3


async def test_to_a_client_over_tls() -> None:
    """Also a client of ours, and frames behind the 101."""
    early = replace(made(("server", b"\x81\x05early"))[0], early=True)
    records = [early, *made(("client", masked(1, b"hi")), ("server", b"\x88\x02\x03\xe8"))]
    sock = listening()
    how: dict[str, Any] = {"source": "server", "ssl": certificates()[0]}
    playing = asyncio.get_running_loop().create_task(replay(records, sock, **how))
    url = f"wss://127.0.0.1:{sock.getsockname()[1]}/"
    async with aiohttp.ClientSession() as http:
        async with rawws.connect_raw(http, url, ssl=certificates()[1]) as session:
            assert (await bounded_wait(session.receive())).text == "early"
            await session.send("hi")
            assert (await bounded_wait(session.receive())).opcode is Opcode.CLOSE
            assert len(await bounded_wait(playing)) == 1


async def test_one_client_is_played_to() -> None:
    sock = listening()
    address = sock.getsockname()[:2]
    playing = asyncio.get_running_loop().create_task(replay(made(CLIENT), sock, source="server"))
    async with aiohttp.ClientSession() as http, rawws.connect_raw(http, f"ws://{address[0]}:{address[1]}/") as session:
        with pytest.raises(OSError, match=r".+"):
            await bounded_wait(rawws.connect_raw(http, f"ws://{address[0]}:{address[1]}/"))
        await session.send("hi")
        await bounded_wait(playing)


async def test_early_frames_go_with_the_handshake(tmp_path: Path) -> None:
    """In one write, behind the request or the 101."""
    path = tmp_path / "trace.jsonl"
    early = masked(1, b"one") + masked(1, b"two")
    with Recorder(path) as recorder:
        async with serving(app_with(recorder)) as served, served.peer() as peer:
            await peer.open("/raw", early=early)
            assert [await peer.frame(), await peer.frame()] == [(1, b"one"), (1, b"two")]
            await peer.finish()
            await served.idle()
    reads: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        reads.append(await bounded_wait(peer.reader.read(10_000)))
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", reads[0])
        assert key is not None
        accept = f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept_key(key[1].decode())}\r\n\r\n"
        await peer.send(accept.encode(), b"\x81\x03one\x81\x03two")
        await peer.frame_of_client()
        await peer.send(b"\x88\x02\x03\xe8")

    async with hand_server(script) as hand:
        await bounded_wait(replay(path, hand.url), LIMIT)
    (data,) = reads
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"GET /raw HTTP/1.1\r\nHost: ")
    assert rest == early


# ---- the handshake ------------------------------------------------------------------------


def opened(headers: dict[str, str], target: str = "/a?b") -> OpenRecord:
    request = HandshakeRequest(
        method="GET", target=target, url="http://old.example/a?b", headers=tuple(headers.items())
    )
    return OpenRecord(connection=1, time=0, recorded_by="server", request=request)


UPGRADE = {"Host": "old.example", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip


async def test_the_request_fits_the_server() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        seen.append((peer.line, dict(fields)))
        await peer.send(peer.head())
        await peer.read_to_end()

    given = opened({**UPGRADE, "Origin": "https://old.example", "Cookie": "***", "X-Other": "1", "X-Token": "***"})
    async with hand_server(script) as served:
        await bounded_wait(replay([given], served.url, headers={"x-token": "new"}))
        await bounded_wait(replay([given], served.url + "other%2Fpath"))
        (line, fields), (other_line, _) = seen
    host = f"127.0.0.1:{served.port}"
    assert (line, other_line) == ("GET /a?b HTTP/1.1", "GET /other%2Fpath HTTP/1.1")
    assert {name.lower(): value for name, value in fields.items()} == {
        **{name.lower(): value for name, value in UPGRADE.items()},
        "host": host,
        "origin": f"http://{host}",
        "x-other": "1",
        "x-token": "new",
    }


@pytest.mark.parametrize(
    ("url", "host", "tls"),
    [
        ("ws://example.org/a", "example.org", False),
        ("http://example.org:80/", "example.org", False),
        ("wss://example.org:443/", "example.org", True),
        ("https://user:secret@example.org:8443/", "example.org:8443", True),
        ("ws://[::1]:8080/", "[::1]:8080", False),
    ],
)
def test_hosts(url: str, host: str, tls: bool) -> None:
    assert (host_of(URL(url)), uses_tls(URL(url))) == (host, tls)


async def test_a_refusal() -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("403 Forbidden", {"Content-Length": "6"}, b"go off")

    async with hand_server(script) as served:
        with pytest.raises(HandshakeError, match=r"403 Forbidden.*go off"):
            await bounded_wait(replay([opened(UPGRADE)], served.url))


SAMPLE = {"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}  # fits the key in UPGRADE


@pytest.mark.parametrize(
    ("recorded", "answer", "passes"),
    [
        (None, SAMPLE, True),
        (None, {"Sec-WebSocket-Accept": "other"}, False),
        (None, {"Sec-WebSocket-Accept": None}, False),
        (SAMPLE, SAMPLE, True),
        (SAMPLE, {"Sec-WebSocket-Accept": "other"}, False),
        ({"sec-websocket-accept": "***"}, SAMPLE, True),
        ({"sec-websocket-accept": "***"}, {"Sec-WebSocket-Accept": "other"}, False),
        ({"Sec-WebSocket-Accept": "wrong"}, {"Sec-WebSocket-Accept": "wrong"}, True),
        ({"Sec-WebSocket-Accept": "wrong"}, SAMPLE, False),
        ({}, {"Sec-WebSocket-Accept": "other"}, True),
    ],
)
@pytest.mark.parametrize("key", [None, "AAAAAAAAAAAAAAAAAAAAAA=="])
async def test_the_accept_of_a_server(
    recorded: dict[str, str] | None, answer: dict[str, str | None], passes: bool, key: str | None
) -> None:
    """It fits the key that is sent, or is the wrong one of the recording."""
    given = opened(UPGRADE)
    if recorded is not None:
        response = HandshakeResponse(status=101, reason="Switching Protocols", headers=tuple(recorded.items()))
        given = replace(given, response=response)
    if key is not None and answer == SAMPLE and passes:
        answer = {"Sec-WebSocket-Accept": accept_key(key)}

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(peer.head(answer))
        await peer.read_to_end()

    headers = {} if key is None else {"sec-websocket-key": key}
    async with hand_server(script) as served:
        if passes:
            await bounded_wait(replay([given], served.url, headers=headers))
        else:
            with pytest.raises(HandshakeError, match=r"Sec-WebSocket-Accept is .* is expected"):
                await bounded_wait(replay([given], served.url, headers=headers))


async def test_a_server_that_hangs_up_or_says_nothing() -> None:
    async def hangs_up(peer: HandPeer) -> None:
        await peer.request()

    async def is_silent(peer: HandPeer) -> None:
        await peer.request()
        await peer.read_to_end()

    async with hand_server(hangs_up) as served:
        with pytest.raises(HandshakeError, match="ended in the handshake"):
            await bounded_wait(replay([opened(UPGRADE)], served.url))
    async with hand_server(is_silent) as served:
        with pytest.raises(asyncio.TimeoutError):
            await bounded_wait(replay([opened(UPGRADE)], served.url, timeout=0.1))
    with pytest.raises(OSError, match=r".+"):
        await bounded_wait(replay([opened(UPGRADE)], served.url))


async def test_no_client_comes() -> None:
    with pytest.raises(asyncio.TimeoutError):
        await bounded_wait(replay([opened(UPGRADE)], ("127.0.0.1", 0), source="server", timeout=0.1))


# ---- differences --------------------------------------------------------------------------


CLIENT: tuple[Source, bytes] = ("client", masked(1, b"hi"))


def answering(*frames: bytes) -> Handler:
    """A handler that answers its first frame with these bytes, and waits for the end."""

    async def handler(session: Any) -> None:
        await session.receive()
        for wire in frames:
            session.write_bytes(wire)
        async for _ in session:
            pass

    return handler


DIFFERENCES: dict[str, tuple[bytes, bytes, list[str]]] = {
    "opcode": (b"\x81\x02hi", b"\x82\x02hi", ["opcode"]),
    "fin": (b"\x81\x02hi", b"\x01\x02hi", ["fin"]),
    "rsv": (b"\x81\x02hi", b"\x91\x02hi", ["rsv"]),
    "payload": (b"\x81\x02hi", b"\x81\x02ho", ["payload"]),
    "length": (b"\x81\x02hi", b"\x81\x03hi!", ["length", "payload"]),
    "form": (b"\x81\x02hi", b"\x81\x7e\x00\x02hi", ["header"]),
    "mask": (b"\x81\x02hi", masked(1, b"hi"), ["header"]),
    "all": (b"\x81\x02hi", b"\x12\x7e\x00\x03ho!", ["opcode", "fin", "rsv", "length", "payload"]),
}


@pytest.mark.loops("clock")
@pytest.mark.parametrize("pace", ["lockstep", "fast"])
@pytest.mark.parametrize("name", DIFFERENCES)
async def test_a_frame_that_differs(name: str, pace: str) -> None:
    expected, got, parts = DIFFERENCES[name]
    records = made(CLIENT, ("server", expected))
    with pytest.raises(ReplayMismatch) as caught:
        await against(answering(got), records, pace=pace)
    (difference,) = caught.value.differences
    assert list(difference.parts) == parts
    text = str(caught.value)
    assert text.startswith("the server differs from the recording in 1 place\n  frame 2: " + ", ".join(parts))
    assert re.search(r"\n    expected: TEXT FIN 2 bytes 'hi'\n    got:      [A-Z]+ ", text)
    assert issubclass(ReplayMismatch, AssertionError) and issubclass(ReplayMismatch, rawws.RawWSError)
    await against(answering(got), records, pace=pace, ignore=parts)


@pytest.mark.loops("clock")
async def test_masking_keys() -> None:
    """They differ each time, so they are compared only if that is asked for."""
    records = made(("client", masked(1, b"hi")))
    cases: list[tuple[list[Part], bool]] = [(["masking_key"], False), ([], True)]
    for ignore, differs in cases:
        server, client = memory_pair()
        await client.send("hi")
        if differs:
            with pytest.raises(ReplayMismatch, match="frame 1: masking_key"):
                await replay(records, server, source="server", ignore=ignore)
        else:
            await replay(records, server, source="server", ignore=ignore)
        await end(server, client)


@pytest.mark.loops("clock")
async def test_a_frame_that_does_not_come() -> None:
    records = made(CLIENT, ("server", b"\x81\x02hi"), ("server", b"\x81\x03you"))
    with pytest.raises(ReplayMismatch) as caught:
        await against(answering(b"\x81\x02hi"), records, timeout=5)
    assert str(caught.value) == (
        "the server differs from the recording in 1 place\n"
        "  frame 3\n    expected: TEXT FIN 3 bytes 'you'\n    got:      nothing\n  waited 5 seconds"
    )


@pytest.mark.loops("clock")
async def test_an_end_that_comes_too_early() -> None:
    async def leaves(session: Any) -> None:
        await session.receive()

    with pytest.raises(ReplayMismatch, match=r"expected: TEXT FIN 2 bytes 'hi'\n    got:      end of stream"):
        await against(leaves, made(CLIENT, ("server", b"\x81\x02hi")))


@pytest.mark.loops("clock")
@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_an_end_of_another_kind(how: Any) -> None:
    async def handler(session: Any) -> None:
        await session.receive()
        if how == "eof":
            session.abort()

    records = [*made(CLIENT), EndRecord(connection=1, time=2, source="server", how=how)]
    with pytest.raises(ReplayMismatch, match="the end: end"):
        await against(handler, records)
    await against(handler, records, ignore=["end"])


@pytest.mark.loops("clock")
@pytest.mark.parametrize("pace", ["lockstep", "recorded", "fast"])
@pytest.mark.parametrize("how", ["eof", "reset", "abort"])
async def test_all_is_compared_before_the_end_of_the_played_side(how: Any, pace: Pace) -> None:
    """However it ends: a server that answers is right, also later than in the recording, and one that does not not."""

    async def late(session: Any) -> None:
        await session.receive()
        await asyncio.sleep(2)
        session.write_bytes(b"\x81\x02hi")
        async for _ in session:
            pass

    last = EndRecord(connection=1, time=3, source="client", how=how)
    records = [*made(CLIENT, ("server", b"\x81\x02hi")), last]
    for handler in (answering(b"\x81\x02hi"), late):
        came = await against(handler, records, pace=pace, timeout=5)
        assert [step.payload for step in came if isinstance(step, FrameRecord)] == [b"hi"]
    for wrong, got in ((answering(), "nothing"), (answering(b"\x81\x02ho"), "TEXT FIN 2 bytes 'ho'")):
        with pytest.raises(ReplayMismatch, match=f"expected: TEXT FIN 2 bytes 'hi'\n    got:      {got}"):
            await against(wrong, records, pace=pace, timeout=5)


@pytest.mark.loops("clock")
async def test_a_frame_too_many() -> None:
    with pytest.raises(ReplayMismatch, match="behind the recording\n    expected: nothing\n    got:      TEXT"):
        await against(answering(b"\x81\x02hi\x81\x03you"), made(CLIENT, ("server", b"\x81\x02hi")))


@pytest.mark.loops("clock")
async def test_the_connection_ends_before_something_is_sent() -> None:
    server, client = memory_pair()
    await end(server, client)
    with pytest.raises(ReplayMismatch, match=r"ended before this could be sent:\n  TEXT FIN masked 2 bytes 'hi'"):
        await replay(made(CLIENT), client)


@pytest.mark.loops("clock")
async def test_the_other_side_does_not_read() -> None:
    server, client = memory_pair()
    server.pause_reading()
    wire = masked(2, bytes(100_000))
    with pytest.raises(ReplayMismatch, match="did not read for 5 seconds"):
        await replay(made(("client", wire), ("client", wire)), client, timeout=5)
    await end(server, client)


# ---- time ---------------------------------------------------------------------------------


@pytest.mark.loops("clock")
async def test_recorded_pace() -> None:
    """Frames leave at their times, whether or not the other side has answered."""
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def handler(session: Any) -> None:
        start = loop.time()
        async for _ in session:
            times.append(round(loop.time() - start, 3))

    records = [replace(record, time=time) for record, time in zip(made(CLIENT, CLIENT, CLIENT), (100, 103, 110))]
    server, client = memory_pair()
    running = loop.create_task(run_session(server, handler))
    await replay(records, client, pace="recorded")
    await asyncio.sleep(1)
    await end(client)
    await running
    assert times == [0, 3, 10]


# ---- arguments ----------------------------------------------------------------------------


async def test_frames_whose_payload_is_missing() -> None:
    cut, whole = (replace(made(CLIENT)[0], payload=payload) for payload in (b"h", b"hi"))
    redacted = replace(whole, payload=b"(hidden)", redacted=True)
    for record, why in ((cut, "truncated"), (redacted, "redacted")):
        server, client = memory_pair()
        with pytest.raises(ValueError, match=f"frame 1 was {why}"):
            await replay([record], client)
        await replay([record], client, incomplete="pad")
        frame = await bounded_wait(server.receive())
        assert frame.payload == {"truncated": b"h\0", "redacted": b"(h"}[why]
        await end(server, client)


async def test_frames_to_compare_whose_payload_is_missing() -> None:
    """They are refused, unless it is clear that they are compared in part, or not."""
    expected = made(CLIENT, ("server", b"\x81\x02hi"))
    cut = replace(expected[1], payload=b"h")
    for changed, why in (
        (cut, "truncated"),
        (replace(expected[1], payload=b"(x)", redacted=True), "redacted"),
        (replace(expected[1], payload=b"**", redacted=True), "redacted"),
    ):
        records = [expected[0], changed]
        with pytest.raises(ValueError, match=f"frame 2 was {why} and cannot be compared"):
            await against(answering(b"\x81\x02hi"), records)
        for how in ({"incomplete": "pad"}, {"ignore": ["payload"]}):
            await against(answering(b"\x81\x02hi"), records, **how)
            with pytest.raises(ReplayMismatch, match="length"):
                await against(answering(b"\x81\x03hi!"), records, **how)
    with pytest.raises(ReplayMismatch, match="payload"):
        await against(answering(b"\x81\x02ho"), [expected[0], replace(cut, payload=b"hi")], incomplete="pad")
    with pytest.raises(ReplayMismatch, match="payload"):
        await against(answering(b"\x81\x02xi"), [expected[0], cut], incomplete="pad")


async def test_bytes_that_are_missing() -> None:
    """``redact`` has failed."""
    missing = BytesRecord(connection=1, time=2, source="server", data=b"")
    with pytest.raises(ValueError, match="the last bytes of the server were redacted and cannot be compared"):
        await against(answering(), [*made(CLIENT), missing])
    with pytest.raises(ValueError, match="the last bytes of the client were redacted and cannot be played"):
        await against(answering(), [*made(CLIENT), replace(missing, source="client")])


async def test_which_connection() -> None:
    first, second = made(CLIENT), [replace(record, connection=2) for record in made(("client", masked(1, b"two")))]
    server, client = memory_pair()
    with pytest.raises(ValueError, match=r"has 2 connections, so connection= must be one of \[1, 2\]"):
        await replay([*first, *second], client)
    with pytest.raises(ValueError, match=r"has no connection 3, only \[1, 2\]"):
        await replay([*first, *second], client, connection=3)
    with pytest.raises(ValueError, match="has 0 connections"):
        await replay([], client)
    await replay([*first, *second], client, connection=2)
    assert (await bounded_wait(server.receive())).text == "two"
    await end(server, client)


@pytest.mark.parametrize(
    ("target", "how", "error"),
    [
        (5, {}, TypeError),
        (("127.0.0.1", 80), {}, TypeError),
        ("ws://127.0.0.1/", {"source": "server"}, TypeError),
        ("ftp://127.0.0.1/", {}, ValueError),
        ("127.0.0.1:80", {}, ValueError),
        (5, {"source": "me"}, ValueError),
        (5, {"pace": "slow"}, ValueError),
        (5, {"ignore": "payload"}, ValueError),
        (5, {"ignore": ["mask"]}, ValueError),
        (5, {"timeout": 0}, ValueError),
        (5, {"timeout": None}, TypeError),
    ],
    ids=str,
)
async def test_arguments(target: Any, how: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await replay(made(CLIENT), target, **how)


async def test_managed_sessions_and_the_other_role_are_refused() -> None:
    server, client = memory_pair()
    for session, source in ((server, "client"), (client, "server")):
        with pytest.raises(ValueError, match=f"must be a session of a {source}"):
            await replay(made(CLIENT), session, source=source)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="target must be a raw session or the URL of a server"):
        await replay(made(CLIENT), rawws.DefaultWebSocketSession(client))  # type: ignore[arg-type]
    await end(server, client)


async def test_somebody_else_receives() -> None:
    server, client = memory_pair()
    receiving = asyncio.get_running_loop().create_task(client.receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await replay(made(CLIENT), client)
    await server.send("x")
    assert (await bounded_wait(receiving)).text == "x"
    await end(server, client)
