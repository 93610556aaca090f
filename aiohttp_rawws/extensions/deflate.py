"""permessage-deflate (RFC 7692): its configuration, and the extension of one connection."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any, ClassVar

from ..errors import ProtocolViolation
from ..wire.codec import Frame, FrameChunk, FrameHeader, with_payload
from ..wire.codes import Opcode
from .base import WebSocketExtension, WebSocketExtensionFactory
from .compressor_pool import CompressorPool
from .deflate_parameters import MAX_WINDOW_BITS, NAME, DeflateParameters, read_answer, read_offer
from .header import WebSocketExtensionHeader
from .inflate import TAIL, Compressor, Inflater, ZlibBackend

MIN_WINDOW_BITS = 9  # zlib has no smaller one for raw DEFLATE
KIB = 1024
MIB = 1024 * KIB

# A message of at most so many bytes is one DEFLATE block even at memory level 5. Behind each message the hash table is
# cleared; at level 8 it has 64 KiB instead of 8, which is a fifth of the time of a message of 1 KiB.
SMALL = 2 * KIB
SMALL_MEM_LEVEL = 5

# Members of enums as names of the module: in Python 3.11 `Opcode.TEXT` takes longer than calling a function.
CONTINUATION, TEXT, BINARY = Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY

Predicate = Callable[[Frame], bool]


@dataclass(frozen=True, kw_only=True, eq=False)
class PerMessageDeflate(WebSocketExtensionFactory):
    """Configuration of permessage-deflate, for servers and clients. All connections share it; it is immutable.

    *Context takeover* means that a side keeps its window from one message to the next. That compresses better, and
    holds memory for each connection: up to 300 KiB for sending and 44 KiB for receiving. Without it, connections share
    a few compressors. For our own side a setting is a decision; for the peer it is a request made in the handshake.

    Args:
        client_no_context_takeover: The client begins each message with an empty window. Default: False.
        server_no_context_takeover: The server begins each message with an empty window. Default: False.
        server_max_window_bits: The server's window is at most 2 ** bits bytes, 9 to 15. A server uses the smaller of
            this and what the client asks for. Default: None (15).
        client_max_window_bits: The client's window is at most 2 ** bits bytes, 9 to 15. A client that did not offer the
            parameter keeps 15. Default: None (15).
        compression_level: The level of the backend; for zlib -1 to 9. Default: None (the default of the backend).
        mem_level: How much memory a compressor uses, 1 to 9. Default: None (the default of the backend; for zlib 8,
            which is 128 KiB).
        compress_if_bigger_than: Compress only messages of more bytes than this. Default: None (all messages).
        compress_if: A function, or a list of functions, that get the first frame of a message. Compress the message if
            all of them return true. ``compress_if_bigger_than`` looks at the first frame, too. Default: none.
        max_inflated_size: Bytes that a received message may have when inflated. It is checked while inflating. None:
            any number. Default: 4 MiB.
        max_ratio: Inflated bytes that each compressed byte of a received message may give, checked at any point behind
            the first 64 KiB. DEFLATE reaches 1032. Default: None (any number).
        executor_above: Compress payloads of more bytes than this in a thread. None: none of them. Default: 16 KiB.
        backend: A module with the functions ``compressobj`` and ``decompressobj`` of zlib. Default: None (on routes the
            backend that aiohttp uses, elsewhere zlib).

    Raises:
        ValueError: An option is out of range. The error names it.
        TypeError: An option has the wrong type. The error names it.
    """

    name: ClassVar[str] = NAME
    rsv1: ClassVar[bool] = True

    client_no_context_takeover: bool = False
    server_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None
    compression_level: int | None = None
    mem_level: int | None = None
    compress_if_bigger_than: int | None = None
    compress_if: Predicate | Iterable[Predicate] = ()
    max_inflated_size: int | None = 4 * MIB
    max_ratio: float | None = None
    executor_above: int | None = 16 * KIB
    backend: ZlibBackend | None = None
    # by window bits, and whether they are for small messages
    _pools: dict[tuple[int, bool], CompressorPool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compress_if", _predicates(self.compress_if))
        for option in ("client_no_context_takeover", "server_no_context_takeover"):
            if not isinstance(getattr(self, option), bool):
                raise TypeError(f"{option} must be True or False, not {getattr(self, option)!r}")
        _check_int("server_max_window_bits", self.server_max_window_bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS)
        _check_int("client_max_window_bits", self.client_max_window_bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS)
        _check_int("compression_level", self.compression_level, -1, 9)
        _check_int("mem_level", self.mem_level, 1, 9)
        _check_int("compress_if_bigger_than", self.compress_if_bigger_than, 0)
        _check_int("max_inflated_size", self.max_inflated_size, 1)
        _check_int("executor_above", self.executor_above, 0)
        ratio: object = self.max_ratio
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float, NoneType)):
            raise TypeError(f"max_ratio must be a number or None, not {ratio!r}")
        if ratio is not None and not ratio >= 1:
            raise ValueError(f"max_ratio must be at least 1, or None for any, not {ratio!r}")
        for function in ("compressobj", "decompressobj"):
            if not callable(getattr(self.zlib, function, None)):
                raise TypeError(f"backend needs a function {function}(), which {self.backend!r} does not have")
        try:  # now, not with the first message: isal, for example, has the levels 0 to 3 only
            self.new_compressor(MAX_WINDOW_BITS)
        except ValueError as error:
            raise ValueError(f"backend refuses compression_level or mem_level: {error}") from error

    def replace(self, **changes: Any) -> PerMessageDeflate:
        """Make a configuration that differs in the options given.

        Args:
            changes: Options of ``PerMessageDeflate()``.
        """
        return dataclasses.replace(self, **changes)

    @property
    def zlib(self) -> ZlibBackend:
        """The backend in use."""
        return zlib if self.backend is None else self.backend

    @property
    def parameters(self) -> DeflateParameters:
        """The parameters that this configuration asks for."""
        return DeflateParameters(
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            _unless_default(self.server_max_window_bits),
            _unless_default(self.client_max_window_bits),
        )

    def new_compressor(self, window_bits: int, *, small: bool = False) -> Compressor:
        """Make a compressor with an empty window.

        Args:
            window_bits: The window is 2 ** bits bytes.
            small: It is for a message of at most ``SMALL`` bytes. Default: False.
        """
        options = {"wbits": -window_bits}
        if self.compression_level is not None:
            options["level"] = self.compression_level
        if small:
            options["memLevel"] = min(self.mem_level or SMALL_MEM_LEVEL, SMALL_MEM_LEVEL)
        elif self.mem_level is not None:
            options["memLevel"] = self.mem_level
        return self.zlib.compressobj(**options)

    def compressor_pool(self, window_bits: int, *, small: bool = False) -> CompressorPool:
        """Return the pool from which connections without context takeover borrow. Arguments as for
        ``new_compressor()``."""
        pool = self._pools.get((window_bits, small))
        if pool is None:
            compressor = self.new_compressor(window_bits, small=small)
            pool = CompressorPool(compressor, _flush_mode(self.zlib, "Z_FULL_FLUSH"))
            pool = self._pools.setdefault((window_bits, small), pool)  # another thread may have been faster
        return pool

    def compresses(self, frame: Frame) -> bool:
        """Return whether to compress a message that begins with ``frame``."""
        threshold = self.compress_if_bigger_than
        if threshold is not None and len(frame.payload) <= threshold:
            return False
        assert isinstance(self.compress_if, tuple)
        return not self.compress_if or all(predicate(frame) for predicate in self.compress_if)

    # ---- negotiation

    def accept(
        self, offer: WebSocketExtensionHeader
    ) -> tuple[WebSocketExtensionHeader, WebSocketDeflateExtension] | None:
        agreed = self.parameters.accept(read_offer(offer))
        if agreed is None:
            return None
        return agreed.to_header(), WebSocketDeflateExtension(self, agreed, server=True)

    def client_offers(self) -> Sequence[WebSocketExtensionHeader]:
        return [self.parameters.to_offer()]

    def accept_response(self, response: WebSocketExtensionHeader) -> WebSocketDeflateExtension:
        answer = read_answer(response)
        self.parameters.check_answer(answer)
        return WebSocketDeflateExtension(self, answer, server=False)


class _Message(Enum):
    """The message that is open in one direction."""

    NONE = "no message"
    PLAIN = "a message that is not compressed"
    COMPRESSED = "a compressed message"


NONE, PLAIN, COMPRESSED = _Message


class WebSocketDeflateExtension(WebSocketExtension):
    """permessage-deflate on one connection.

    Sending and receiving share nothing that changes, so ``process_outgoing()`` may run in a thread meanwhile. A
    compressor or decompressor is made when the first message needs it. Without context takeover it is borrowed from the
    configuration for each message. With context takeover a frame that ``process_outgoing()`` has returned must be sent,
    because later frames build on it.

    Attributes:
        parameters: The agreement of the handshake.
        compressor_bits: The window for sending is 2 ** bits bytes.
        decompressor_bits: The window for receiving is 2 ** bits bytes.
        keeps_compressor: The window for sending is kept from one message to the next.
        keeps_decompressor: The window for receiving is kept from one message to the next.
    """

    factory: PerMessageDeflate
    compressor_bits: int
    decompressor_bits: int
    keeps_compressor: bool
    keeps_decompressor: bool

    def __init__(self, factory: PerMessageDeflate, parameters: DeflateParameters, *, server: bool) -> None:
        super().__init__(factory)
        self.parameters = parameters
        server_bits = parameters.server_max_window_bits or MAX_WINDOW_BITS
        client_bits = parameters.client_max_window_bits or MAX_WINDOW_BITS
        if server:
            self.compressor_bits, self.decompressor_bits = server_bits, client_bits
            self.keeps_compressor = not parameters.server_no_context_takeover
            self.keeps_decompressor = not parameters.client_no_context_takeover
        else:
            # A client keeps to its own settings even if the server's answer does not mention them; in the offer they
            # were a hint that it would (sections 7.1.1.2 and 7.1.2.2).
            self.compressor_bits = min(client_bits, factory.client_max_window_bits or MAX_WINDOW_BITS)
            self.decompressor_bits = server_bits
            self.keeps_compressor = not (parameters.client_no_context_takeover or factory.client_no_context_takeover)
            self.keeps_decompressor = not parameters.server_no_context_takeover
        self._sync_flush = _flush_mode(factory.zlib, "Z_SYNC_FLUSH")
        self._pool: CompressorPool | None = None
        self._small_pool: CompressorPool | None = None
        if not self.keeps_compressor and self.compressor_bits >= MIN_WINDOW_BITS:
            self._pool = factory.compressor_pool(self.compressor_bits)
            self._small_pool = factory.compressor_pool(self.compressor_bits, small=True)
        self._compresses_all = factory.compress_if_bigger_than is None and factory.compress_if == ()
        self._compressor: Compressor | None = None
        self._outgoing = NONE
        self._outgoing_kind = CONTINUATION
        self._inflater = Inflater(
            factory.zlib,
            self.decompressor_bits,
            keep_context=self.keeps_decompressor,
            limit=factory.max_inflated_size,
            max_ratio=factory.max_ratio,
        )
        self._incoming = NONE
        self._frame: FrameHeader | None = None  # the frame whose chunks are coming, as it is passed on
        self._offset = 0  # inflated bytes of that frame

    # ---- outgoing

    def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        opcode = frame.opcode
        begins = self._outgoing is NONE
        if begins:
            if opcode not in (TEXT, BINARY):
                return frame  # a reserved opcode, or a continuation of nothing
            compressed = self._compresses(frame, compress)
            self._outgoing_kind = opcode
        elif opcode not in (CONTINUATION, self._outgoing_kind):
            return frame  # another message inside this one: the encoder refuses it, and nothing changes here
        else:
            compressed = self._outgoing is COMPRESSED
        if frame.fin:
            self._outgoing = NONE
        elif begins:
            self._outgoing = COMPRESSED if compressed else PLAIN
        if not compressed:
            return frame
        # "RSV1 ... set on the first frame of a compressed message" (section 6.1), and on no other.
        return with_payload(frame, self._deflate(frame.payload, frame.fin), rsv1=begins)

    def transform_whole(self, frame: Frame) -> Frame:
        if frame.opcode not in (TEXT, BINARY) or not self._compresses(frame, None):
            return frame
        return with_payload(frame, self._deflate_whole(frame.payload), rsv1=True)

    def needs_thread(self, frame: Frame, compress: bool | None = None) -> bool:
        threshold = self.factory.executor_above
        if threshold is None or len(frame.payload) <= threshold:
            return False
        if self._outgoing is NONE:
            return self._compresses(frame, compress)
        return self._outgoing is COMPRESSED

    @property
    def outgoing_key(self) -> Hashable | None:
        return None if self.keeps_compressor else (self.factory, self.compressor_bits)

    def _compresses(self, frame: Frame, compress: bool | None) -> bool:
        # A server may answer with client_max_window_bits=8, which zlib does not support. Any message may be sent
        # uncompressed (section 6), so all of them are.
        if self.compressor_bits < MIN_WINDOW_BITS:
            return False
        if compress is None:
            return self._compresses_all or self.factory.compresses(frame)
        return compress

    def _deflate(self, payload: bytes, fin: bool) -> bytes:
        """Compress the next part of a message, and flush it: a fragment is sent to arrive."""
        # A compressor that raises is dropped: it may hold part of a message that is never sent.
        compressor, self._compressor = self._compressor, None
        pool = self._pool
        if compressor is None:
            if fin and pool is not None:
                return self._deflate_whole(payload)
            if pool is not None:
                compressor = pool.take()
            if compressor is None:
                compressor = self.factory.new_compressor(self.compressor_bits)
        data = compressor.compress(payload)
        if fin and pool is not None:
            flushed = compressor.flush(pool.full_flush)
            pool.give_back(compressor)
        else:
            flushed = compressor.flush(self._sync_flush)
            self._compressor = compressor
        return _without_tail(data, flushed) if fin else data + flushed

    def _deflate_whole(self, payload: bytes) -> bytes:
        """Compress a whole message with an empty window, whatever is open on this connection."""
        small = len(payload) <= SMALL
        pool = self._small_pool if small else self._pool
        compressor = None if pool is None else pool.take()
        if compressor is None:
            compressor = self.factory.new_compressor(self.compressor_bits, small=small)
        data = compressor.compress(payload)
        if pool is None:
            return _without_tail(data, compressor.flush(self._sync_flush))
        flushed = compressor.flush(pool.full_flush)
        pool.give_back(compressor)
        return _without_tail(data, flushed)

    # ---- incoming

    def process_incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        """Inflate the frames of a compressed message.

        Args:
            item: A frame, or a piece of a frame that is still arriving.

        Returns:
            The inflated frame, or pieces of it that are inflated while they are taken.

        Raises:
            ProtocolViolation: RSV1 is set on a continuation.
            InvalidPayload: The data does not inflate. Also while the pieces are taken.
            FrameTooBig: ``max_inflated_size`` or ``max_ratio`` was exceeded. Also while the pieces are taken.
        """
        header = item if isinstance(item, Frame) else item.header
        if header.opcode > BINARY:
            return (item,)  # reserved opcodes, which only lenient sessions deliver
        if isinstance(item, Frame):
            if not self._enter(item, ends_message=item.fin):
                return (item,)
            pieces = self._inflater.inflate(item.payload, end=item.fin)
            if isinstance(pieces, bytes):
                return (with_payload(item, pieces, rsv1=False),)
            first, second = next(pieces, b""), next(pieces, None)
            if second is None:
                return (with_payload(item, first, rsv1=False),)
            return self._chunks(_as_header(item), 0, chain((first, second), pieces), last=True)
        if self._frame is None:
            self._frame = dataclasses.replace(item.header, rsv1=False, length=0)
            self._offset = 0
            compressed = self._enter(item.header, ends_message=False)
        else:
            compressed = self._incoming is COMPRESSED
        ends_message = item.last and item.header.fin
        if ends_message:
            self._incoming = NONE
        frame = self._frame
        if item.last:
            self._frame = None
        if not compressed:
            return (item,)
        pieces = self._inflater.inflate(item.payload, end=ends_message)
        if isinstance(pieces, bytes):
            pieces = iter((pieces,) if pieces else ())
        return self._chunks(frame, self._offset, pieces, last=item.last)

    def _enter(self, header: Frame | FrameHeader, *, ends_message: bool) -> bool:
        """Note that a frame begins. Return whether it is compressed."""
        if header.opcode is CONTINUATION:
            if header.rsv1:
                raise ProtocolViolation("RSV1 is set on a continuation frame")
        else:
            if self._incoming is COMPRESSED:  # it was never finished, which only lenient sessions allow
                self._inflater.reset()
            self._incoming = COMPRESSED if header.rsv1 else PLAIN
        compressed = self._incoming is COMPRESSED
        if ends_message:
            self._incoming = NONE
        return compressed

    def _chunks(self, frame: FrameHeader, offset: int, pieces: Iterator[bytes], *, last: bool) -> Iterator[FrameChunk]:
        held = next(pieces, b"")
        for piece in pieces:
            yield FrameChunk(frame, held, offset, False)
            offset += len(held)
            held = piece
        self._offset = offset + len(held)
        if held or last:
            yield FrameChunk(frame, held, offset, last)


def _as_header(frame: Frame) -> FrameHeader:
    """Return the header of a frame that becomes chunks: without RSV1, and its length is not known yet."""
    return FrameHeader(
        frame.opcode,
        0,
        frame.kind,
        frame.fin,
        rsv2=frame.rsv2,
        rsv3=frame.rsv3,
        masking_key=frame.masking_key,
    )


def _without_tail(data: bytes, flushed: bytes) -> bytes:
    """Join the end of a message. Section 7.2.1: a message that ends in an empty uncompressed block loses the last four
    bytes of it; after anything else such a block is begun, of which one byte remains. A flush of nothing may give
    nothing."""
    return data + (flushed[:-4] if flushed.endswith(TAIL) else flushed + b"\x00")


def _flush_mode(backend: ZlibBackend, name: str) -> int:
    mode: int = getattr(backend, name, getattr(zlib, name))
    return mode


def _predicates(given: object) -> tuple[Predicate, ...]:
    if callable(given):
        return (given,)
    several = tuple(given) if isinstance(given, Iterable) else (given,)
    for predicate in several:
        if not callable(predicate):
            raise TypeError(f"compress_if must be a callable or a list of them, not {predicate!r}")
    return several


def _check_int(option: str, value: object, low: int, high: int | None = None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a number or None, not {value!r}")
    if value < low or high is not None and value > high:
        allowed = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{option} must be {allowed}, or None, not {value}")


def _unless_default(window_bits: int | None) -> int | None:
    return None if window_bits == MAX_WINDOW_BITS else window_bits
