"""The interface of an extension, and the pipeline that frames pass through (RFC 6455, section 9)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar, Protocol, TypeVar

from ..errors import HandshakeError, ProtocolViolation
from ..wire.codec import Frame, FrameChunk, FrameHeader
from ..wire.codes import Opcode
from .header import WebSocketExtensionHeader

FIRST_CONTROL = Opcode.CLOSE  # comparing with it takes a third of the time of `is_control`
NO_BITS = (False, False, False)


class WebSocketExtensionFactory(ABC):
    """An extension as the application configures it. It makes a ``WebSocketExtension`` for each connection.

    All connections share it, so it must not change once it is in use. A subclass sets these attributes.

    Attributes:
        name: The token that it is negotiated under.
        rsv1: It uses the first reserved bit of data frames. Default: False.
        rsv2: It uses the second reserved bit. Default: False.
        rsv3: It uses the third reserved bit. Default: False.
    """

    name: ClassVar[str]
    rsv1: ClassVar[bool] = False
    rsv2: ClassVar[bool] = False
    rsv3: ClassVar[bool] = False

    @property
    def rsv(self) -> tuple[bool, bool, bool]:
        """The reserved bits that it uses."""
        return (self.rsv1, self.rsv2, self.rsv3)

    # ---- the server's side

    def accept_offer(
        self, offers: Sequence[WebSocketExtensionHeader]
    ) -> tuple[WebSocketExtensionHeader, WebSocketExtension] | None:
        """Choose among the offers of a client. Unless overridden, choose the first that ``accept()`` takes.

        Args:
            offers: The offers of this name, in the client's order of preference.

        Returns:
            The header to answer with and the extension of this connection. None: decline all offers, and go on without
            the extension.
        """
        for offer in offers:
            try:
                accepted = self.accept(offer)
            except HandshakeError:  # an invalid offer is declined like any other
                continue
            if accepted is not None:
                return accepted
        return None

    @abstractmethod
    def accept(self, offer: WebSocketExtensionHeader) -> tuple[WebSocketExtensionHeader, WebSocketExtension] | None:
        """Accept or decline one offer of a client.

        Args:
            offer: The offer.

        Returns:
            As ``accept_offer()``. None declines the offer.

        Raises:
            HandshakeError: The offer is invalid, which declines it as well.
        """

    # ---- the client's side

    @abstractmethod
    def client_offers(self) -> Sequence[WebSocketExtensionHeader]:
        """Return what a client offers, all under ``name``, the most preferred first. Empty: offer nothing."""

    @abstractmethod
    def accept_response(self, response: WebSocketExtensionHeader) -> WebSocketExtension:
        """Make the extension of this connection from the server's answer.

        Args:
            response: The answer.

        Returns:
            The extension.

        Raises:
            HandshakeError: The answer does not fit what ``client_offers()`` returned.
        """


class WebSocketExtension:
    """An extension on one connection. This base class changes nothing.

    It receives data frames only, never control frames. Sending and receiving may run at the same time in different
    threads, so they must not share anything that changes; of each, one call is made at a time. An extension ends with
    its connection: there is nothing to close.

    Attributes:
        factory: The configuration that made it.
    """

    def __init__(self, factory: WebSocketExtensionFactory) -> None:
        self.factory = factory

    @property
    def name(self) -> str:
        """The token that it was negotiated under."""
        return self.factory.name

    def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Transform a frame that is sent: a whole message or a fragment.

        Args:
            frame: The frame.
            compress: The sender asks to compress this message, or not to. It counts on the first frame of a message,
                and only for extensions that compress. Default: None (as configured).

        Returns:
            The frame to send.
        """
        return frame

    def transform_whole(self, frame: Frame) -> Frame:
        """Transform a whole message for any number of connections, whatever this connection is sending.

        It is only called if ``outgoing_key`` is not None, and the result is sent to all connections with that key. So
        it must depend on the frame and the key alone, and change nothing: a message in fragments may be open here.

        Args:
            frame: A text or binary message in one frame.

        Returns:
            The frame to send.
        """
        raise NotImplementedError(f"{type(self).__name__} has an outgoing_key, and needs a transform_whole()")

    def process_incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        """Transform a received item.

        A frame may become chunks of that frame. Then their header is that of the frame without the bits of this
        extension, with length 0 if the length is not known yet; ``offset`` counts the bytes that come out, and the last
        chunk has ``last`` set.

        Args:
            item: A frame, or a piece of a frame that is still arriving.

        Returns:
            The items for the next extension: none, the item itself, or several. They may be computed while
            they are taken. The caller takes all of them before it passes the next item.

        Raises:
            PeerError: The peer sent something invalid. No more items are passed then.
        """
        return (item,)

    def needs_thread(self, frame: Frame, compress: bool | None = None) -> bool:
        """Return whether ``process_outgoing()`` takes so long for this frame that it should run in a thread.

        If this is True, the caller passes ``compress=True`` on, so that the question is not asked again.

        Args:
            frame: The frame.
            compress: As for ``process_outgoing()``.
        """
        return False

    @property
    def outgoing_key(self) -> Hashable | None:
        """The key of all that the result for a whole message depends on, besides the message.

        Connections whose keys are equal send the same bytes for the same message, so one ``transform_whole()`` serves
        all of them. None: the result depends on what this connection sent before.
        """
        return None


ExtensionT = TypeVar("ExtensionT", bound=WebSocketExtension)
ExtensionT_co = TypeVar("ExtensionT_co", bound=WebSocketExtension, covariant=True)


class MakesExtension(Protocol[ExtensionT_co]):
    """The part of a factory that says which class its extensions are of."""

    def accept_response(self, response: WebSocketExtensionHeader) -> ExtensionT_co: ...


ExtensionOf = type[ExtensionT] | MakesExtension[ExtensionT] | type[MakesExtension[ExtensionT]]
"""The argument of ``session.extension()``: the class of an extension, its factory, or the class of that."""


class ExtensionPipeline:
    """The extensions of one connection, in the order of the server's answer (RFC 6455, section 9.1).

    Frames that are sent pass through them in that order, received ones in reverse order. Control frames pass unchanged.
    Sending and receiving may run at the same time; of each, one call is made at a time.
    """

    def __init__(self, extensions: Iterable[WebSocketExtension] = ()) -> None:
        """
        Args:
            extensions: The extensions. Default: none.

        Raises:
            ValueError: Two of them have the same name or use the same reserved bit.
        """
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
        """Find an extension.

        Args:
            which: Its name, its factory, or a class that it or its factory is an instance of.

        Returns:
            The first that fits, or None.
        """
        for extension in self._extensions:
            if isinstance(which, type):
                if isinstance(extension, which) or isinstance(extension.factory, which):
                    return extension
            elif extension.name == (which if isinstance(which, str) else which.name):
                return extension
        return None

    def outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Transform a frame that is sent.

        Args:
            frame: The frame. A control frame is returned as it is.
            compress: As for ``WebSocketExtension.process_outgoing()``.

        Returns:
            The frame to send.

        Raises:
            ValueError: A data frame has a reserved bit set that belongs to an extension.
        """
        if not self._extensions or frame.opcode >= FIRST_CONTROL:
            return frame
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._check_bits(frame)
        for extension in self._extensions:
            frame = extension.process_outgoing(frame, compress)
        return frame

    def outgoing_whole(self, frame: Frame) -> Frame:
        """Transform a whole message for all connections with the same ``outgoing_key``.

        It does not matter whether this connection has a message open, and nothing changes here.

        Args:
            frame: A message in one frame. A control frame is returned as it is.

        Returns:
            The frame to send.

        Raises:
            ValueError: The frame is a fragment, or has a reserved bit set that belongs to an extension.
            RuntimeError: ``outgoing_key`` is None: the result would be valid for this connection only.
        """
        if frame.opcode >= FIRST_CONTROL:
            return frame
        if not frame.fin or frame.opcode is Opcode.CONTINUATION:
            raise ValueError("only a whole message can be transformed for several connections, not a fragment")
        if self.outgoing_key is None:
            raise RuntimeError("what an extension makes of a message depends on what this connection sent before")
        self._check_bits(frame)
        for extension in self._extensions:
            frame = extension.transform_whole(frame)
        return frame

    def _check_bits(self, frame: Frame) -> None:
        for number, is_set, owned in zip((1, 2, 3), (frame.rsv1, frame.rsv2, frame.rsv3), self._owned):
            if is_set and owned:
                raise ValueError(f"RSV{number} is set by an extension, not by the sender")

    def incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        """Transform a received item.

        Args:
            item: A frame, or a piece of a frame that is still arriving.

        Returns:
            The items to deliver. Take all of them before the next call. They may be computed meanwhile, and raise then.

        Raises:
            ProtocolViolation: A reserved bit is set that no extension uses (section 5.2).
            PeerError: As for ``WebSocketExtension.process_incoming()``.
        """
        header = item.header if isinstance(item, FrameChunk) else item
        is_control = header.opcode >= FIRST_CONTROL
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
        """Return whether ``outgoing()`` should run in a thread; see ``WebSocketExtension.needs_thread()``."""
        if frame.opcode < FIRST_CONTROL:
            for extension in self._extensions:  # any() takes three times as long, for its generator
                if extension.needs_thread(frame, compress):
                    return True
        return False

    @property
    def outgoing_key(self) -> Hashable | None:
        """The key of all that the result for a whole message depends on, see ``WebSocketExtension``.

        An empty tuple if there are no extensions. None: the result depends on what this connection sent before.
        """
        keys = tuple(extension.outgoing_key for extension in self._extensions)
        return None if None in keys else keys


def _violation(header: Frame | FrameHeader, allowed: tuple[bool, ...]) -> ProtocolViolation:
    """The error for a reserved bit that is set and not allowed."""
    bits = zip((1, 2, 3), (header.rsv1, header.rsv2, header.rsv3), allowed)
    number = next(number for number, is_set, is_allowed in bits if is_set and not is_allowed)
    where = "on a control frame" if header.opcode.is_control else "but no extension uses it"
    return ProtocolViolation(f"RSV{number} is set {where}")


def check_conflicts(factories: Iterable[WebSocketExtensionFactory]) -> None:
    """Check that extensions go together.

    Args:
        factories: The extensions.

    Raises:
        ValueError: Two of them have the same name or use the same reserved bit.
    """
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
