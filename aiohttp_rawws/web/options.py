"""The options of the plugin and of a route: those of a session, of the handshake and of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..extensions.base import WebSocketExtensionFactory, check_conflicts
from ..extensions.deflate import PerMessageDeflate
from ..session.options import SessionOptions, SessionOptionsDict, check_count, check_seconds, names_of
from ..wire.codes import CloseReason, may_be_sent
from .origins import OriginCheck, Origins, compile_origins

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

BeforeUpgradeResult = Mapping[str, str] | Iterable[tuple[str, str]] | web.StreamResponse | None
BeforeUpgrade = Callable[[web.Request], BeforeUpgradeResult | Awaitable[BeforeUpgradeResult]]

try:  # the choice of aiohttp.set_zlib_backend() holds here, too; aiohttp has it since 3.12
    from aiohttp.compression_utils import ZLibBackend
except ImportError:
    ZLibBackend = None  # type: ignore[assignment]

PLUGIN_ONLY = frozenset({"max_sessions", "max_sessions_per_address", "shutdown_code", "shutdown_reason"})


class RouteOptionsDict(SessionOptionsDict, total=False):
    """The options of a route as keyword arguments: those of a session, and those of the handshake.

    ``WebSocketOptions`` says what each of them means.
    """

    origins: Origins
    before_upgrade: BeforeUpgrade | None
    extensions: Iterable[WebSocketExtensionFactory]
    handshake_timeout: float | timedelta | None
    disconnect_grace: float | timedelta | None


class PluginOptionsDict(RouteOptionsDict, total=False):
    """The options of ``setup()`` as keyword arguments: those of a route, and those of the server."""

    max_sessions: int | None
    max_sessions_per_address: int | None
    shutdown_code: int
    shutdown_reason: str


@dataclass(frozen=True, kw_only=True)
class WebSocketOptions(SessionOptions):
    """The options of ``setup()`` and of a route: those of ``SessionOptions``, and these.

    Args:
        origins: The web pages that may connect, by their ``Origin``. "same-origin"; a list of origins and patterns such
            as ``"https://*.example.org"``; a compiled pattern; a callable ``(origin, request) -> bool``, sync or async.
            None: all pages. Default: "same-origin".
        before_upgrade: A callable ``(request)``, sync or async, that runs before the 101 is sent. It returns None,
            further header fields for the 101 (a mapping, or pairs of name and value), or a response that refuses. It
            may raise ``web.HTTPException`` or ``HandshakeError``. None: no such callable. Default: None.
        extensions: Configurations such as ``PerMessageDeflate()``, in order of preference. Routes that negotiate
            extensions use them. Default: ``()``.
        handshake_timeout: Seconds that the callables of ``origins``, ``protocols`` and ``before_upgrade`` may take
            together. Then the answer is 503. None: no limit. Default: 10.
        disconnect_grace: Seconds that a handler may go on after the loss of its connection if it does not know of the
            loss: no call of the session has returned or raised the end. Then the handler is cancelled. None: forever.
            Default: None.
        write_timeout: See ``SessionOptions``. Default: 60.
        strict: See ``SessionOptions``. False also accepts a ``Sec-WebSocket-Key`` that is base64 of another length than
            16 bytes; "hop" does not. Default: True.
        max_sessions: WebSocket connections at a time. One more is answered with 503. Only for ``setup()``. None: no
            limit. Default: None.
        max_sessions_per_address: WebSocket connections at a time from one ``request.remote``. One more is answered
            with 429. The addresses of an IPv6 network of 64 bits count together. Only for ``setup()``. None: no limit.
            Default: None.
        shutdown_code: The close code that live sessions get when the server shuts down. Only for ``setup()``.
            Default: 1001.
        shutdown_reason: The close reason that goes with it, at most 123 bytes of UTF-8. Only for ``setup()``.
            Default: "Server is going down".

    Attributes:
        origin_check: The check that ``origins`` stands for, or None for all pages.

    Raises:
        TypeError: An option has a wrong type.
        ValueError: An option is out of range.
    """

    origins: Origins = "same-origin"
    before_upgrade: BeforeUpgrade | None = None
    extensions: tuple[WebSocketExtensionFactory, ...] = ()
    handshake_timeout: float | None = 10.0
    disconnect_grace: float | None = None
    write_timeout: float | None = 60.0
    max_sessions: int | None = None
    max_sessions_per_address: int | None = None
    shutdown_code: int = 1001
    shutdown_reason: str = "Server is going down"
    origin_check: OriginCheck | None = field(init=False, repr=False, compare=False)

    if TYPE_CHECKING:

        def __init__(self, **options: Unpack[PluginOptionsDict]) -> None: ...
        def replace(self, **changes: Unpack[PluginOptionsDict]) -> Self: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "extensions", checked_extensions(self.extensions, "accept_offer"))
        if self.before_upgrade is not None and not callable(self.before_upgrade):
            raise TypeError(f"before_upgrade must be a callable or None, not {self.before_upgrade!r}")
        object.__setattr__(self, "handshake_timeout", check_seconds("handshake_timeout", self.handshake_timeout))
        object.__setattr__(self, "disconnect_grace", check_seconds("disconnect_grace", self.disconnect_grace))
        check_count("max_sessions", self.max_sessions)
        check_count("max_sessions_per_address", self.max_sessions_per_address)
        if isinstance(self.shutdown_code, bool) or not isinstance(self.shutdown_code, int):
            raise TypeError(f"shutdown_code must be a close code, not {self.shutdown_code!r}")
        if not may_be_sent(self.shutdown_code):
            raise ValueError(f"shutdown_code must be one that may be sent, such as 1001, not {self.shutdown_code!r}")
        if not isinstance(self.shutdown_reason, str):
            raise TypeError(f"shutdown_reason must be a str, not {self.shutdown_reason!r}")
        try:
            CloseReason(self.shutdown_code, self.shutdown_reason)
        except ValueError as exc:
            raise ValueError(f"shutdown_reason: {exc}") from None
        if isinstance(self.origins, Iterable) and not isinstance(self.origins, (str, bytes, bytearray)):
            object.__setattr__(self, "origins", tuple(self.origins))  # an iterator can be read only once
        object.__setattr__(self, "origin_check", compile_origins(self.origins))

    @property
    def shutdown(self) -> CloseReason:
        """``shutdown_code`` and ``shutdown_reason`` together."""
        return CloseReason(self.shutdown_code, self.shutdown_reason)


class RouteOptions:
    """The options of a route, which override those of the plugin. They are merged once, not for each request."""

    __slots__ = ("_base", "_changes", "_result")

    def __init__(self, changes: Mapping[str, Any]) -> None:
        self._changes = dict(changes)
        self._base = DEFAULTS
        self._result = DEFAULTS.replace(**changes)  # raise here, not at the first request

    def merged_with(self, base: WebSocketOptions) -> WebSocketOptions:
        """Return ``base``, overridden by the options of this route."""
        if not self._changes:
            return base
        if base is not self._base:
            self._base, self._result = base, base.replace(**self._changes)
        return self._result


def checked_extensions(extensions: object, method: str) -> tuple[WebSocketExtensionFactory, ...]:
    """Check configurations of extensions, and give them the zlib that aiohttp uses.

    Args:
        extensions: The configurations.
        method: A method that each of them must have in its role.

    Raises:
        TypeError: They are not configurations.
        ValueError: Two of them conflict.
    """
    if not isinstance(extensions, Iterable) or isinstance(extensions, (str, bytes, Mapping)):
        raise TypeError(f"extensions must be a list, such as [PerMessageDeflate()], not {extensions!r}")
    checked = tuple(map(_with_backend, extensions))
    for extension in checked:
        if isinstance(extension, type) or not callable(getattr(extension, method, None)):
            raise TypeError(f"extensions must be configurations, such as PerMessageDeflate(), not {extension!r}")
    check_conflicts(checked)
    return checked


def _with_backend(factory: Any) -> Any:
    if isinstance(factory, PerMessageDeflate) and factory.backend is None and ZLibBackend is not None:
        return factory.replace(backend=ZLibBackend)
    return factory


OF_ROUTES = names_of(WebSocketOptions) - PLUGIN_ONLY
DEFAULTS = WebSocketOptions()
