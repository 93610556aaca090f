"""The options of a session: names, types, units, ranges and defaults."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..wire.strictness import Strictness, checked_strictness
from .converters import ContentConverter
from .option_names import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

OnOverflow = Literal["suspend", "close"]
OnViolation = Literal["close", "raise"]
OnError = Literal["abort", "close-1011"]


def check_seconds(name: str, value: float | timedelta | None, *, needed: bool = False) -> float | None:
    """Check a duration.

    Args:
        name: The name of the option, for the text of the error.
        value: Seconds, a timedelta or None.
        needed: The text of the error does not suggest None. Default: False.

    Returns:
        Seconds, or None for None.

    Raises:
        TypeError: ``value`` is something else.
        ValueError: It is not finite, or not more than 0.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        allowed = "seconds or a timedelta" if needed else "seconds, a timedelta or None"
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if not isfinite(value) or value <= 0:
        off = "" if needed else ", or None to switch it off"
        raise ValueError(f"{name} must be more than 0 seconds{off}, not {value!r}")
    return float(value)


def check_count(name: str, value: object) -> None:
    """Check a number of things, or None for no limit. Raise TypeError or ValueError."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, or None for no limit, not {value}")


def check_size(name: str, value: object, least: int = 1) -> None:
    """Check a number of bytes, or None for no limit. Raise TypeError or ValueError."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a number of bytes or None, not {value!r}")
    if value < least:
        count = "1 byte" if least == 1 else f"{least} bytes"
        raise ValueError(f"{name} must be at least {count}, or None for no limit, not {value}")


def check_bool(name: str, value: object) -> None:
    """Check a switch. Raise TypeError if it is not True or False: 0 or "no" would be a mistake of the caller's."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _check_choice(name: str, value: object, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")


def names_of(options: type[SessionOptions]) -> frozenset[str]:
    """Return the names of the options of a class."""
    return frozenset(option.name for option in dataclasses.fields(options) if option.init)


def check_names(given: Iterable[str], valid: Collection[str]) -> None:
    """Check the names of options that were given as keywords. Raise TypeError for those that are not ``valid``."""
    unknown = sorted(set(given).difference(valid))
    if unknown:
        listed = ", ".join(map(repr, unknown))
        names = ", ".join(sorted(valid))
        raise TypeError(f"unknown option {listed}; the options are {names}{did_you_mean(unknown, valid)}")


@dataclass(frozen=True)
class ChannelConfig:
    """The limits of one direction of a session. ``bounded()`` makes one, ``UNLIMITED`` is another.

    Args:
        capacity: Frames that may wait. None: no limit.
        max_bytes: Payload bytes that may wait. None: no limit. An empty channel always takes one frame, however large;
            ``max_frame_size`` limits that one.
        on_overflow: The reaction to the limit. "suspend": on ``incoming`` the socket is not read, so TCP slows the
            peer down (its pings and its Close wait, too); on ``outgoing`` ``send()`` waits. "close": the frame is
            refused and the session ends with ChannelOverflow; frames that wait can still be received.
            Default: "suspend".
    """

    capacity: int | None
    max_bytes: int | None
    on_overflow: OnOverflow = "suspend"

    def __post_init__(self) -> None:
        check_count("capacity", self.capacity)
        check_count("max_bytes", self.max_bytes)
        if self.on_overflow not in ("suspend", "close"):
            raise ValueError(f'on_overflow must be "suspend" or "close", not {self.on_overflow!r}')


def bounded(
    capacity: int | None = 1024, on_overflow: OnOverflow = "suspend", *, max_bytes: int | None = 2**20
) -> ChannelConfig:
    """Limit a channel, for the options ``incoming`` and ``outgoing``. The limit that is reached first counts.

    Args:
        capacity: Frames that may wait. None: no limit. Default: 1024.
        on_overflow: "suspend" or "close", see ``ChannelConfig``. Default: "suspend".
        max_bytes: Payload bytes that may wait. None: no limit. Default: 1 MiB.

    Returns:
        The limits, for use with any number of sessions.

    Raises:
        TypeError: A limit is not an int.
        ValueError: A limit is less than 1, or ``on_overflow`` is unknown.
    """
    return ChannelConfig(capacity, max_bytes, on_overflow)


UNLIMITED = ChannelConfig(None, None)
"""No limit. A peer or a sender can then fill the memory of the process."""


def random_payload() -> bytes:
    """Return ``[ping <64 hex digits> ping]``. A peer cannot answer it without having received it."""
    return b"[ping %b ping]" % secrets.token_hex(32).encode()


@dataclass(frozen=True)
class Periodic:
    """Ping every ``ping_interval`` seconds, whatever else is sent or received.

    Args:
        any_data_is_alive: Any bytes that arrive while a Pong is due count as an answer. False: only the Pong does.
            Default: False.
        payload: A function that makes the payload of each Ping, at most 125 bytes. Only a Pong with the same payload
            answers it. Default: ``random_payload``.
    """

    any_data_is_alive: bool = False
    payload: Callable[[], bytes] = random_payload


@dataclass(frozen=True)
class WhenIdle(Periodic):
    """Ping only after ``ping_interval`` seconds in which nothing arrived.

    Args:
        any_data_is_alive: See ``Periodic``. Default: True.
        payload: See ``Periodic``. Default: ``random_payload``.
    """

    any_data_is_alive: bool = True


Observe = Callable[[Any], object]
"""The type of the option ``observe``: a function of a raw session, which is of the kind of the route or client."""

MIB = 2**20
BOUNDED = bounded()
PERIODIC = Periodic()


class SessionOptionsDict(TypedDict, total=False):
    """The options of a session as keyword arguments, for ``**options: Unpack[SessionOptionsDict]``.

    ``SessionOptions`` says what each of them means.
    """

    max_frame_size: int | None
    frame_streaming_threshold: int | None
    max_message_size: int | None
    masking: bool | None
    strict: Strictness
    incoming: ChannelConfig
    outgoing: ChannelConfig
    close_timeout: float | timedelta
    ping_interval: float | timedelta | None
    timeout: float | timedelta | None
    on_violation: OnViolation
    on_error: OnError
    converter: ContentConverter | None
    keepalive: Periodic
    auto_pong: bool
    auto_close: bool
    max_fragments: int | None
    max_control_rate: int | None
    idle_timeout: float | timedelta | None
    max_lifetime: float | timedelta | None
    write_timeout: float | timedelta | None
    observe: Observe | None


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """The options of one session. They are checked when they are made, and cannot be changed.

    A duration is a number of seconds or a ``timedelta``.

    Args:
        max_frame_size: Payload bytes that a received frame may have. A larger one is refused when its header arrives.
            None: no limit. Default: 4 MiB.
        frame_streaming_threshold: Payload bytes above which a raw session delivers a data frame that does not arrive at
            once as FrameChunks, while it arrives. ``max_frame_size`` limits the frame all the same. On a managed
            session any number makes a message that does not arrive at once wait in pieces, until ``receive()`` or
            ``receive_stream()`` takes it. None: all frames are whole, and messages wait in pieces only for streams.
            Default: None.
        max_message_size: Payload bytes that a received message may have, on a managed session. None: no limit.
            Default: 4 MiB.
        masking: Mask the frames that are sent. None: as RFC 6455 demands, so clients do and servers do not.
            Default: None.
        strict: Refuse frames that break RFC 6455, section 5. "hop", for gateways: refuse wrong masks, lengths that are
            not in the shortest form and control frames of more than 125 bytes; deliver and send all else as it stands.
            False: deliver all that can be parsed. Default: True.
        incoming: Limits on received frames that wait for the handler. Default: ``bounded()``, which is 1024 frames and
            1 MiB, and stops reading there.
        outgoing: Limits on sent frames that wait for the transport. Default: ``bounded()``, which is 1024 frames and
            1 MiB, and makes ``send()`` wait there.
        close_timeout: Seconds that each step of closing may take: to deliver what was sent, to receive the peer's
            Close, to receive the end of the TCP stream. Then the connection is aborted. Default: 10.
        ping_interval: Seconds between pings, on a managed session. A ping may be up to 1/32 of the interval late, at
            most 1 s, because sessions share timers. None: no pings. Default: None.
        timeout: Seconds in which a ping of ``ping_interval`` must be answered, else the session is closed with 1011.
            None: pings need no answer. Default: 15.
        on_violation: The reaction to a peer that breaks the protocol. "close": send the matching Close (1002, 1009) and
            raise the error from ``receive()``. "raise": only raise it, so the handler can send another Close.
            Default: "close".
        on_error: The reaction to an exception of the handler, on a raw session. "abort": abort the connection.
            "close-1011": send a Close with 1011 and end the connection. Default: "abort".
        converter: Turns values into frames and back, for ``send_serialized()`` and ``receive_deserialized()``, such as
            ``JSONConverter()``. None: these methods raise ConverterNotFound. Default: None.
        keepalive: The kind of pings: ``Periodic()`` or ``WhenIdle()``. Default: ``Periodic()``.
        auto_pong: Answer each Ping with a Pong, on a managed session. Default: True.
        auto_close: Answer the peer's Close with a Close, on a managed session. Default: True.
        max_fragments: Frames that a received message may consist of, on a managed session. None: no limit.
            Default: 131072.
        max_control_rate: Control frames that the peer may send in one second, on a managed session. None: no limit.
            Default: 1000.
        idle_timeout: Seconds in which at least one byte must arrive while the handler runs, else the session is closed
            with 1001. May be up to 25 % late. None: no limit. Default: None.
        max_lifetime: Seconds after which the session is closed with 1001 while its handler runs. None: no limit.
            Default: None.
        write_timeout: Seconds that the peer may read nothing while more than 64 KiB wait to be sent, else the
            connection is aborted. None: no limit. Default: None (60 on the routes of a server).
        observe: A function that gets each raw session, also that below a managed one, before its first byte, such as
            a ``Recorder`` of ``aiohttp_rawws.recording``. If it raises, that is reported to the loop. Default: None.

    Raises:
        TypeError: An option has a wrong type.
        ValueError: An option is out of range.
    """

    max_frame_size: int | None = 4 * MIB
    frame_streaming_threshold: int | None = None
    max_message_size: int | None = 4 * MIB
    masking: bool | None = None
    strict: Strictness = True
    incoming: ChannelConfig = BOUNDED
    outgoing: ChannelConfig = BOUNDED
    close_timeout: float = 10.0
    ping_interval: float | None = None
    timeout: float | None = 15.0
    on_violation: OnViolation = "close"
    on_error: OnError = "abort"
    converter: ContentConverter | None = None
    keepalive: Periodic = PERIODIC
    auto_pong: bool = True
    auto_close: bool = True
    max_fragments: int | None = 131072
    max_control_rate: int | None = 1000
    idle_timeout: float | None = None
    max_lifetime: float | None = None
    write_timeout: float | None = None
    observe: Observe | None = None

    if TYPE_CHECKING:  # a field is read as seconds, and can be given as a timedelta

        def __init__(self, **options: Unpack[SessionOptionsDict]) -> None: ...

    def __post_init__(self) -> None:
        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        check_size("max_frame_size", self.max_frame_size)
        check_size("frame_streaming_threshold", self.frame_streaming_threshold, least=0)
        check_size("max_message_size", self.max_message_size)
        for name in ("incoming", "outgoing"):
            if not isinstance(getattr(self, name), ChannelConfig):
                raise TypeError(f"{name} must be bounded(...) or UNLIMITED, not {getattr(self, name)!r}")
        if self.close_timeout is None:
            raise TypeError("close_timeout cannot be None: closing a session must not wait forever")
        settle("close_timeout", check_seconds("close_timeout", self.close_timeout, needed=True))
        for name in ("ping_interval", "timeout", "idle_timeout", "max_lifetime", "write_timeout"):
            settle(name, check_seconds(name, getattr(self, name)))
        check_count("max_fragments", self.max_fragments)
        check_count("max_control_rate", self.max_control_rate)
        if not isinstance(self.keepalive, Periodic):
            raise TypeError(f"keepalive must be Periodic(...) or WhenIdle(...), not {self.keepalive!r}")
        if self.masking is not None and not isinstance(self.masking, bool):
            raise TypeError(f"masking must be True, False or None, not {self.masking!r}")
        checked_strictness(self.strict)
        for name in ("auto_pong", "auto_close"):
            check_bool(name, getattr(self, name))
        if self.observe is not None and not callable(self.observe):
            raise TypeError(f"observe must be a function of a session, not {self.observe!r}")
        if isinstance(self.converter, type):
            raise TypeError(f"converter must be an object, such as JSONConverter(), not {self.converter!r}")
        for method in ("is_applicable", "serialize", "deserialize"):
            if self.converter is not None and not callable(getattr(self.converter, method, None)):
                raise TypeError(f"converter needs a method {method}(), which {self.converter!r} does not have")
        _check_choice("on_violation", self.on_violation, "close", "raise")
        _check_choice("on_error", self.on_error, "abort", "close-1011")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Make options from a mapping of names to values.

        Raises:
            TypeError: A name is not that of an option, or a value has a wrong type.
            ValueError: A value is out of range.
        """
        check_names(given, names_of(cls))
        return cls(**given)

    def replace(self, **changes: Unpack[SessionOptionsDict]) -> Self:
        """Return a copy with other values for some options.

        Raises:
            TypeError: A name is not that of an option, or a value has a wrong type.
            ValueError: A value is out of range.
        """
        given: dict[str, Any] = {**changes}  # the fields themselves take seconds only
        check_names(given, names_of(type(self)))
        return dataclasses.replace(self, **given)
