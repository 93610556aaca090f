"""What an extension is, and the pipeline that frames go through (RFC 6455, section 9)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

from ..errors import HandshakeError, ProtocolViolation
from ..wire.codec import Frame, FrameChunk, FrameHeader
from ..wire.codes import Opcode
from .header import WebSocketExtensionHeader

CLOSE = Opcode.CLOSE  # The first control frame: comparing with it takes a third of the time of `is_control`.
NO_BITS = (False, False, False)


class WebSocketExtensionFactory(ABC):
    """One extension as the application configures it; it makes a ``WebSocketExtension`` for each connection.

    Immutable once it is in use: all connections share it. A subclass says what it owns:

    name: the token it is negotiated under.
    rsv1, rsv2, rsv3: the reserved bits of data frames that it uses.
    """

    name: ClassVar[str]
    rsv1: ClassVar[bool] = False
    rsv2: ClassVar[bool] = False
    rsv3: ClassVar[bool] = False

    @property
    def rsv(self) -> tuple[bool, bool, bool]:
        """The reserved bits it owns."""
        return (self.rsv1, self.rsv2, self.rsv3)

    # ---- the server's side

    def accept_offer(
        self, offers: Sequence[WebSocketExtensionHeader]
    ) -> tuple[WebSocketExtensionHeader, WebSocketExtension] | None:
        """Choose among the client's offers of this name, which come in the client's order of preference.

        Returns the header to answer with and the extension of this connection; None = all are declined, and
        the connection goes on without. As it stands the first offer that ``accept`` takes is chosen.
        """
        for offer in offers:
            try:
                accepted = self.accept(offer)
            except HandshakeError:  # an offer that makes no sense is declined like any other
                continue
            if accepted is not None:
                return accepted
        return None

    @abstractmethod
    def accept(
        self, offer: WebSocketExtensionHeader
    ) -> tuple[WebSocketExtensionHeader, WebSocketExtension] | None:
        """Take one offer of a client, or decline it with None or a HandshakeError. See ``accept_offer``."""

    # ---- the client's side

    @abstractmethod
    def client_offers(self) -> Sequence[WebSocketExtensionHeader]:
        """What a client offers, all under ``name``, the most wanted first; empty = nothing is offered."""

    @abstractmethod
    def accept_response(self, response: WebSocketExtensionHeader) -> WebSocketExtension:
        """Make the extension of this connection from the server's answer.

        Raises HandshakeError for an answer that does not fit what ``client_offers`` gave.
        """


class WebSocketExtension:
    """An extension at work on one connection. As it stands it changes nothing.

    Only data frames come here, never control frames. ``process_outgoing`` is called by one caller at a time and
    ``process_incoming`` by one caller at a time, but the two may run at the same time in different threads: what
    they keep must be kept apart. It ends with its connection; there is nothing to close.
    """

    def __init__(self, factory: WebSocketExtensionFactory) -> None:
        self.factory = factory

    @property
    def name(self) -> str:
        """The token it was negotiated under."""
        return self.factory.name

    def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Transform a whole message or a fragment on its way out.

        compress: the sender's word for this message, None = whatever is configured; looked at on the first
            frame of a message. Extensions that do not compress have no use for it.
        """
        return frame

    def process_incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        """Transform what arrived: a frame, or a part of a frame that is still arriving.

        Returns what the next one is to see: nothing, the item itself, or several. They may be computed while
        they are taken; the caller takes all of them before it hands in the next item. A frame may become
        chunks of that frame: the last one has ``last`` set, ``offset`` counts what comes out, and their header
        is that of the frame without the extension's bits and with length 0 where the length is not known yet.
        Raises PeerError, after which nothing more is handed in.
        """
        return (item,)

    def needs_thread(self, frame: Frame, compress: bool | None = None) -> bool:
        """Whether ``process_outgoing`` takes so long for this frame that a thread should do it.

        Where this is True the caller passes ``compress=True`` on, so that the question is not asked again there.
        """
        return False

    @property
    def outgoing_key(self) -> Hashable | None:
        """What alone decides how a whole outgoing message is transformed.

        Extensions with the same key turn the same whole message into the same frame, so that it need be done
        only once for many connections. None: it depends on what was sent before.
        """
        return None


class ExtensionPipeline:
    """The extensions of one connection, in the order of the server's answer (RFC 6455, section 9.1).

    Outgoing frames go through them in that order, incoming ones in the reverse order. Control frames pass by.
    ``outgoing`` and ``incoming`` may run at the same time, each one call at a time.
    Raises ValueError for extensions that do not go together.
    """

    def __init__(self, extensions: Iterable[WebSocketExtension] = ()) -> None:
        self._extensions = tuple(extensions)
        self._reversed = self._extensions[::-1]
        self._only = self._extensions[0] if len(self._extensions) == 1 else None
        factories = [extension.factory for extension in self._extensions]
        check_conflicts(factories)
        self._owned = tuple(any(factory.rsv[bit] for factory in factories) for bit in range(3))

    def __iter__(self) -> Iterator[WebSocketExtension]:
        return iter(self._extensions)

    def __len__(self) -> int:
        return len(self._extensions)

    def find(
        self, which: str | WebSocketExtensionFactory | type[WebSocketExtensionFactory | WebSocketExtension]
    ) -> WebSocketExtension | None:
        """The extension with this name, made by this factory, or of this class; None if there is none."""
        for extension in self._extensions:
            if isinstance(which, type):
                if isinstance(extension, which) or isinstance(extension.factory, which):
                    return extension
            elif extension.name == (which if isinstance(which, str) else which.name):
                return extension
        return None

    def outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Transform one frame on its way out; a control frame comes back as it is.

        compress: see ``WebSocketExtension.process_outgoing``.
        Raises ValueError when a data frame has a reserved bit set that an extension is to set.
        """
        if not self._extensions or frame.opcode >= CLOSE:
            return frame
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            for number, is_set, owned in zip((1, 2, 3), (frame.rsv1, frame.rsv2, frame.rsv3), self._owned):
                if is_set and owned:
                    raise ValueError(f"RSV{number} is for an extension to set, not for the sender")
        for extension in self._extensions:
            frame = extension.process_outgoing(frame, compress)
        return frame

    def incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        """Transform what arrived; see ``WebSocketExtension.process_incoming`` for what to do with the result.

        Raises ProtocolViolation when a reserved bit is set that no extension uses there (section 5.2).
        """
        header = item.header if isinstance(item, FrameChunk) else item
        is_control = header.opcode >= CLOSE
        allowed = rsv1, rsv2, rsv3 = NO_BITS if is_control else self._owned
        if header.rsv1 > rsv1 or header.rsv2 > rsv2 or header.rsv3 > rsv3:
            raise _violation(header, allowed)
        if is_control or not self._extensions:
            return (item,)
        if self._only is not None:
            return self._only.process_incoming(item)
        items: Iterable[Frame | FrameChunk] = (item,)
        for extension in self._reversed:
            items = chain.from_iterable(map(extension.process_incoming, items))
        return items

    def needs_thread(self, frame: Frame, compress: bool | None = None) -> bool:
        """Whether ``outgoing`` should run in a thread for this frame; see ``WebSocketExtension.needs_thread``."""
        if frame.opcode < CLOSE:
            for extension in self._extensions:  # any() takes three times as long, for its generator
                if extension.needs_thread(frame, compress):
                    return True
        return False

    @property
    def outgoing_key(self) -> Hashable | None:
        """What alone decides how ``outgoing`` transforms a whole message; see ``WebSocketExtension``.

        An empty tuple when there are no extensions, None when it depends on what was sent before.
        """
        keys = tuple(extension.outgoing_key for extension in self._extensions)
        return None if None in keys else keys


def _violation(header: Frame | FrameHeader, allowed: tuple[bool, ...]) -> ProtocolViolation:
    """What to raise where a reserved bit is set that is not allowed."""
    bits = zip((1, 2, 3), (header.rsv1, header.rsv2, header.rsv3), allowed)
    number = next(number for number, is_set, is_allowed in bits if is_set and not is_allowed)
    where = "on a control frame" if header.opcode.is_control else "but no extension uses it"
    return ProtocolViolation(f"RSV{number} is set {where}")


def check_conflicts(factories: Iterable[WebSocketExtensionFactory]) -> None:
    """Raise ValueError where two extensions have one name or use the same reserved bit."""
    names: set[str] = set()
    owners: dict[int, str] = {}
    for factory in factories:
        if factory.name in names:
            raise ValueError(f"extension {factory.name} is installed twice")
        names.add(factory.name)
        for number, used in zip((1, 2, 3), factory.rsv):
            if used and number in owners:
                raise ValueError(f"extensions {owners[number]} and {factory.name} both use RSV{number}")
            if used:
                owners[number] = factory.name
