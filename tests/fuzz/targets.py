"""The targets: functions of bytes that return quietly, or raise if a promise is broken."""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from multidict import CIMultiDict

from aiohttp_rawws import PerMessageDeflate
from aiohttp_rawws.errors import FrameTooBig, HandshakeError, InvalidPayload, PeerError, SessionClosed
from aiohttp_rawws.extensions.header import format_extensions, parse_extensions
from aiohttp_rawws.extensions.inflate import TAIL, Inflater
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.session.raw import WebSocketSession
from aiohttp_rawws.web.handshake import accept_key, check_request, offered_protocols
from aiohttp_rawws.web.origins import Origin
from aiohttp_rawws.wire import codec
from aiohttp_rawws.wire.codes import may_be_sent

from ..tools.twins import CODECS
from ..wire.vectors import seen

LIMIT = 4096

Target = Callable[[bytes], None]


class Taps:
    """Decisions taken from the first bytes of an input; the rest is the input proper."""

    def __init__(self, data: bytes, count: int) -> None:
        self._taps = data[:count] + bytes(max(0, count - len(data)))
        self._next = 0
        self.rest = data[count:]

    def __call__(self, below: int) -> int:
        value = self._taps[self._next] % below
        self._next += 1
        return value


# ---- frames -------------------------------------------------------------------------------


def parser(data: bytes) -> None:
    """Both codecs do the same, however the bytes are cut; limits hold; what was parsed can be sent again."""
    taps = Taps(data, 6)
    options: dict[str, Any] = {
        "masked": (True, False, None)[taps(3)],
        "strict": (False, True, "hop")[taps(3)],
        "max_frame_size": (None, 0, 125, 126, LIMIT)[taps(5)],
        "chunk_above": (None, None, 0, 100)[taps(4)],
    }
    cut, budget = taps(256), (-1, 1, 3)[taps(3)]
    stream = taps.rest
    whole = [parsed(name, options, [stream], -1) for name in CODECS]
    pieces = [stream[start : start + cut + 1] for start in range(0, len(stream), cut + 1)]
    pieced = [parsed(name, options, pieces, budget) for name in CODECS]
    assert whole.count(whole[0]) == len(whole), whole
    assert pieced.count(pieced[0]) == len(pieced), pieced
    if options["chunk_above"] is None:
        assert pieced[0] == whole[0], (pieced[0], whole[0])
    limit = options["max_frame_size"]
    assert limit is None or all(len(item[1]) <= limit for item in whole[0][0])
    if options["strict"] is True and options["chunk_above"] is None:
        sent_again(stream, options)


def parsed(name: str, options: dict[str, Any], pieces: list[bytes], budget: int) -> tuple[Any, ...]:
    parser = CODECS[name].FrameParser(**options)
    items: list[Any] = []
    for piece in [*pieces, b""]:
        target = parser.target()
        if target is not None:
            count = min(len(target), len(piece))
            target[:count] = piece[:count]
            del target
            items += parser.advance(count)
            piece = piece[count:]
        got = parser.feed(piece, -1, budget, -1)
        assert budget < 0 or len(got) <= budget + 1  # the frame that was open may come on top
        items += got
    while got := parser.feed(b""):
        items += got
    plain = [
        (seen(item), item.payload) if hasattr(item, "fin") else (str(item.header), item.payload, item.offset, item.last)
        for item in items
    ]
    return plain, parser.pending, parser.mid_frame, parser.closed, type(parser.error), str(parser.error)


def sent_again(stream: bytes, options: dict[str, Any]) -> None:
    """Strictly parsed frames, encoded with the same masking, give the bytes they were parsed from."""
    parser = codec.FrameParser(**options)
    encoder = codec.FrameEncoder(strict=True)
    wire = b""
    for frame in parser.feed(stream):
        assert isinstance(frame, codec.Frame)
        if frame.opcode.is_control and len(frame.payload) > 125:
            raise AssertionError(frame)
        encoder.masking = False
        header = encoder.encode(frame)
        key = frame.masking_key
        if key is not None:
            size = len(frame.payload)
            header = codec.encode_header(
                frame.opcode, size, fin=frame.fin, rsv1=frame.rsv1, rsv2=frame.rsv2, rsv3=frame.rsv3, masking_key=key
            ) + codec.apply_mask(frame.payload, key)
        wire += header
    assert stream.startswith(wire), (stream, wire)


# ---- extensions ---------------------------------------------------------------------------


def header(data: bytes) -> None:
    """The grammar of ``Sec-WebSocket-Extensions``: refused with HandshakeError, or written and read to the same."""
    value = data.decode("latin-1")
    try:
        found = parse_extensions([value])
    except HandshakeError as error:
        assert error.status == 400 and str(error).isascii()
        return
    assert parse_extensions([format_extensions(found)]) == found
    assert parse_extensions(value.split("\n")) == found or "\n" in value


FACTORIES = [
    PerMessageDeflate(),
    PerMessageDeflate(server_no_context_takeover=True, client_max_window_bits=10),
    PerMessageDeflate(server_max_window_bits=12, client_no_context_takeover=True),
]


def negotiation(data: bytes) -> None:
    """A server takes or declines whatever is offered; its answer is one the client's rules allow."""
    taps = Taps(data, 1)
    factory = FACTORIES[taps(len(FACTORIES))]
    value = taps.rest.decode("latin-1")
    try:
        extensions, answer = negotiate_server([factory], [value])
    except HandshakeError as error:
        assert error.status == 400
    else:
        assert (answer is None) == (not extensions)
        if answer is not None:
            (agreed,) = parse_extensions([answer])
            assert agreed.name == "permessage-deflate" in value
            names = [name for name, _ in agreed.parameters]
            assert len(set(names)) == len(names)
            assert "client_max_window_bits" not in names or "client_max_window_bits" in value
    try:
        negotiate_client([factory], [value])
    except HandshakeError:
        pass
    assert client_offer_header([factory])


FIELDS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "chat",
    "Origin": "http://localhost:8080",
    "Content-Length": "0",
}


def handshake(data: bytes) -> None:
    """A request that is right but for its lines: the first octet of each says which field it replaces or repeats."""
    headers = CIMultiDict(FIELDS)
    replaced = set()
    for line in data.decode("latin-1").split("\n"):
        if line:
            name = tuple(FIELDS)[ord(line[0]) % len(FIELDS)]
            if name not in replaced:
                del headers[name]
                replaced.add(name)
            headers.add(name, line[1:])
    try:
        key = check_request("GET", (1, 1), headers)
        protocols = offered_protocols(headers)
    except HandshakeError as error:
        assert error.status in (400, 426) and str(error)
    else:
        assert len(b64decode(key)) == 16 and len(accept_key(key)) == 28
        assert all(name.isascii() and name and not set(name) & set(" ,;") for name in protocols)
        assert len(set(protocols)) == len(protocols)
    for text in headers.getall("Origin", ()):
        origin = Origin.parse(text)
        if origin is not None:
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            port = "" if origin.port is None else f":{origin.port}"
            assert text.isascii() and Origin.parse(f"{origin.scheme}://{host}{port}") == origin, origin


def inflate(data: bytes) -> None:
    """The result of zlib, or InvalidPayload; never more than the limit; the same in one piece and in several."""
    taps = Taps(data, 3)
    keep, cut, ratio = bool(taps(2)), taps(64) + 1, (None, 2.0, 100.0)[taps(3)]
    message = taps.rest
    outcomes = []
    for step in (len(message) or 1, cut):
        inflater = Inflater(zlib, 15, keep_context=keep, limit=LIMIT, max_ratio=None if step == cut else ratio)
        outcomes.append(inflated(inflater, message, step))
    one, several = outcomes
    if ratio is None:
        assert type(one) is type(several) and (not isinstance(one, bytes) or one == several), outcomes
    if isinstance(several, bytes):
        stream = zlib.decompressobj(wbits=-15)
        expected = stream.decompress(message + TAIL, LIMIT + 1)
        assert several.startswith(expected) if stream.eof else several == expected


def inflated(inflater: Inflater, message: bytes, step: int) -> bytes | PeerError:
    result = b""
    try:
        for start in range(0, max(len(message), 1), step):
            pieces = inflater.inflate(message[start : start + step], end=start + step >= len(message))
            whole = isinstance(pieces, bytes)
            for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
                assert isinstance(piece, bytes)
                assert piece or whole
                result += piece
                assert len(result) <= LIMIT
    except (InvalidPayload, FrameTooBig) as exc:
        return exc
    return result


# ---- a session ----------------------------------------------------------------------------

_loop: asyncio.AbstractEventLoop | None = None


def session(data: bytes) -> None:
    """A session, managed or raw, with deflate or without, ends in order whatever it is sent: with a Close frame that
    may be sent, or the peer's own, with nothing beyond its limits, and with nothing reported to the loop."""
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
    reported: list[Any] = []
    _loop.set_exception_handler(lambda loop, context: reported.append(context))
    _loop.run_until_complete(asyncio.wait_for(_session(data), 5))
    assert not reported, reported


LIMITS: dict[str, Any] = {
    "max_frame_size": LIMIT,
    "max_message_size": LIMIT,
    "max_fragments": 8,
    "max_control_rate": 16,
    "close_timeout": 0.05,
}


async def _session(data: bytes) -> None:
    taps = Taps(data, 2)
    cut, kind = taps(256) + 1, taps(4)
    managed, deflate = kind < 2, kind % 2
    server, client = memory_pair(**LIMITS)
    extensions: list[Any] = []
    if deflate:
        extensions, _ = negotiate_server([PerMessageDeflate(max_inflated_size=LIMIT)], ["permessage-deflate"])
    if managed:
        talking = _messages(DefaultWebSocketSession(server, extensions=extensions))
    else:
        server.negotiated_extensions = extensions
        server.apply_extensions()
        talking = _frames(server)
    task = asyncio.create_task(talking)
    for start in range(0, len(taps.rest), cut):
        try:
            client.write_bytes(taps.rest[start : start + cut])
        except SessionClosed:
            break  # it has had enough
        if cut < 128:
            await asyncio.sleep(0)
    client.transport.write_eof()
    error = await task
    state = server.close_state
    assert state.lost
    assert state.sent is None or state.sent.code == 1005 or may_be_sent(state.sent.code)
    if error is not None:
        assert may_be_sent(error.close_code) and str(error)
        assert state.sent is not None and state.sent.code == error.close_code, state
    client.abort()
    await client.wait_closed()


async def _messages(session: DefaultWebSocketSession) -> PeerError | None:
    """The error of the peer, if there is one."""
    session.start()
    error = None
    try:
        async for message in session:
            assert message.fin and len(message.payload) <= LIMIT and not message.opcode.is_control
            if message.opcode == 1:
                message.text  # noqa: B018 - raises if it is not UTF-8
    except PeerError as exc:
        error = exc
    await session.wait_closed()
    return error


async def _frames(session: WebSocketSession) -> PeerError | None:
    error, size = None, 0
    try:
        async for frame in session:
            if frame.opcode.is_control:
                assert frame.fin and len(frame.payload) <= 125
                continue
            size = len(frame.payload) + (size if frame.opcode == 0 and session.extensions else 0)
            assert size <= LIMIT  # of a frame, and of what one compressed message becomes
    except PeerError as exc:
        error = exc
    await session.end()
    return error


TARGETS: dict[str, Target] = {
    function.__name__: function for function in (parser, header, negotiation, handshake, inflate, session)
}
