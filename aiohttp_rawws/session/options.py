"""What a session can be told: names, units, ranges and defaults in one place."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from .converters import ContentConverter

if TYPE_CHECKING:
    from typing_extensions import Self

OnOverflow = Literal["suspend", "close"]


@dataclass(frozen=True)
class ChannelConfig:
    """The limits of one direction; made by ``bounded()``, or ``UNLIMITED``.

    Args:
        capacity: Frames that may wait. None: any number.
        max_bytes: Payload bytes that may wait. None: any number. An empty channel always admits one frame, however
            large; ``max_frame_size`` limits that one.
        on_overflow: "suspend" makes the producer wait: incoming stops reading the socket, so the peer feels it through
            TCP (its pings and its Close wait, too); outgoing makes ``send()`` wait. "close" ends the channel with
            ChannelOverflow: what waits stays readable, the frame too many is refused. Default: "suspend".
    """

    capacity: int | None
    max_bytes: int | None
    on_overflow: OnOverflow = "suspend"

    def __post_init__(self) -> None:
        for name, value in (("capacity", self.capacity), ("max_bytes", self.max_bytes)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int or None, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, or None for no limit, not {value}")
        if self.on_overflow not in ("suspend", "close"):
            raise ValueError(f'on_overflow must be "suspend" or "close", not {self.on_overflow!r}')


def bounded(
    capacity: int | None = 1024, on_overflow: OnOverflow = "suspend", *, max_bytes: int | None = 2**20
) -> ChannelConfig:
    """Limit a channel to ``capacity`` frames and ``max_bytes`` payload bytes, whichever is reached first.

    See ``ChannelConfig``. Defaults: 1024 frames, 1 MiB, "suspend".
    """
    return ChannelConfig(capacity, max_bytes, on_overflow)


UNLIMITED = ChannelConfig(None, None)
"""No limit: the channel takes what comes. Memory is then for the application to watch."""


def random_payload() -> bytes:
    """``[ping <64 hex digits> ping]``: a peer that has not seen it cannot answer it."""
    return b"[ping %b ping]" % secrets.token_hex(32).encode()


@dataclass(frozen=True)
class Periodic:
    """Ping every ``ping_interval`` seconds, whatever else is going on.

    Args:
        any_data_is_alive: Bytes of any kind that arrive while a Pong is awaited count as a sign of life. Default: False
            (only the Pong counts).
        payload: Makes the payload of each Ping, at most 125 bytes. Only a Pong with the same payload counts. Default:
            random.
    """

    any_data_is_alive: bool = False
    payload: Callable[[], bytes] = random_payload


@dataclass(frozen=True)
class WhenIdle(Periodic):
    """Ping only after ``ping_interval`` seconds in which nothing arrived.

    Args:
        any_data_is_alive: See ``Periodic``. Default: True.
    """

    any_data_is_alive: bool = True


MIB = 2**20
BOUNDED = bounded()
PERIODIC = Periodic()

OnViolation = Literal["close", "raise"]
OnError = Literal["abort", "close-1011"]


def seconds(name: str, value: float | timedelta | None, *, needed: bool = False) -> float | None:
    """A duration in seconds as float; None stays None. For the error's text: ``name``, and whether the duration is
    ``needed``, so that None is not to be suggested."""
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


def count(name: str, value: int | None) -> int | None:
    """A number of things; None = any number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a number or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, or None for no limit, not {value}")
    return value


def size(name: str, value: int | None) -> int | None:
    """A size in bytes; None = unlimited."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a number of bytes or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 byte, or None for no limit, not {value}")
    return value


def flag(name: str, value: object) -> None:
    """A choice between two."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _one_of(name: str, value: object, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")


def names_of(options: type[SessionOptions]) -> frozenset[str]:
    """The names of the options there are."""
    return frozenset(option.name for option in dataclasses.fields(options) if option.init)


def check_names(given: Iterable[str], valid: Collection[str]) -> None:
    """Raise TypeError where one of ``given`` is not among ``valid``."""
    unknown = sorted(set(given).difference(valid))
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise TypeError(f"unknown option {listed}; the options are {', '.join(sorted(valid))}")


@dataclass(frozen=True)
class SessionOptions:
    """Options of one session, checked when they are made (ValueError, TypeError).

    max_frame_size: payload bytes of one received frame, refused at its header; None = unlimited. 4 MiB.
    max_message_size: bytes of a whole received message on a managed session; None = unlimited. 4 MiB.
    masking: mask outgoing frames; None = as RFC 6455 says for the role (clients do, servers do not).
    strict: refuse what RFC 6455 section 5 refuses; False delivers what can be delivered.
    incoming, outgoing: bounds of the two directions. 1024 frames and 1 MiB, suspending.
    close_timeout: seconds that ending may take: a flush, the peer's Close, the end of the TCP stream. 10.
    ping_interval: seconds between the pings of a managed session; None = no pings. A ping may leave a thirty-second
        of it later, a second at most: sessions share timers. None.
    timeout: seconds a ping of ``ping_interval`` may stay unanswered; None = for ever. 15.
    keepalive: how the pings are made: ``Periodic()`` or ``WhenIdle()``.
    auto_pong, auto_close: whether a managed session answers a Ping with a Pong, a Close with a Close.
    max_fragments: frames that one message of a managed session may come in; None = any number. 131072.
    max_control_rate: control frames that a managed session takes within a second; None = any number. 1000.
    idle_timeout: seconds in which something has to arrive while a handler runs; None = for ever. None.
    max_lifetime: seconds a handler may keep its session; None = for ever. None.
    write_timeout: seconds that a peer may take nothing while more waits for it than the transport should hold;
        None = for ever. None, and 60 on the routes of a server.
    on_violation: "close" answers a violation with its Close frame (1002, 1009) and raises it from
        ``receive()``; "raise" leaves the Close to the handler.
    converter: turns values into frames and back for ``send_serialized`` and ``receive_deserialized``. None.
    on_error: what a raw handler's exception does to the connection: "abort" it, or "close-1011".
    """

    max_frame_size: int | None = 4 * MIB
    max_message_size: int | None = 4 * MIB
    masking: bool | None = None
    strict: bool = True
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

    def __post_init__(self) -> None:
        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen for everybody else

        size("max_frame_size", self.max_frame_size)
        size("max_message_size", self.max_message_size)
        for name in ("incoming", "outgoing"):
            if not isinstance(getattr(self, name), ChannelConfig):
                raise TypeError(f"{name} must be bounded(...) or UNLIMITED, not {getattr(self, name)!r}")
        if self.close_timeout is None:
            raise TypeError("close_timeout cannot be None: ending a session must not wait for ever")
        settle("close_timeout", seconds("close_timeout", self.close_timeout, needed=True))
        for name in ("ping_interval", "timeout", "idle_timeout", "max_lifetime", "write_timeout"):
            settle(name, seconds(name, getattr(self, name)))
        count("max_fragments", self.max_fragments)
        count("max_control_rate", self.max_control_rate)
        if not isinstance(self.keepalive, Periodic):
            raise TypeError(f"keepalive must be Periodic(...) or WhenIdle(...), not {self.keepalive!r}")
        if self.masking is not None and not isinstance(self.masking, bool):
            raise TypeError(f"masking must be True, False or None, not {self.masking!r}")
        for name in ("strict", "auto_pong", "auto_close"):
            flag(name, getattr(self, name))
        if isinstance(self.converter, type):
            raise TypeError(f"converter must be an object, such as JSONConverter(), not {self.converter!r}")
        for method in ("is_applicable", "serialize", "deserialize"):
            if self.converter is not None and not callable(getattr(self.converter, method, None)):
                raise TypeError(f"converter needs a method {method}(), which {self.converter!r} has not")
        _one_of("on_violation", self.on_violation, "close", "raise")
        _one_of("on_error", self.on_error, "abort", "close-1011")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options ``given`` by name. Raises TypeError for a name that is no option, naming those that are."""
        check_names(given, names_of(cls))
        return cls(**given)

    def replace(self, **changes: Any) -> Self:
        """A copy with ``changes``. Raises TypeError for a name that is no option, naming those that are."""
        check_names(changes, names_of(type(self)))
        return dataclasses.replace(self, **changes)
