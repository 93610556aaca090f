"""``WebSocketUpgrade``: the response that turns a request into a WebSocket.

aiohttp writes the 101; then the transport is taken over and the handler runs in ``write_eof()``, where middlewares
have had their say and whatever the handler raises can no longer be answered with HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from ..errors import HandshakeError
from ..extensions.negotiation import negotiate_server
from ..session.limits import WriteGuard
from ..session.options import check_names, flag
from ..session.streams import StreamTransport
from . import handshake
from .deadline import HandshakeTimeout, within
from .options import DEFAULTS, OF_ROUTES, WebSocketOptions
from .registry import Handle, plugin_of, run_handler
from .seats import Seat
from .sessions import DefaultWebSocketServerSession, WebSocketServerSession

logger = logging.getLogger("aiohttp_rawws")

Protocols = Iterable[str] | handshake.Select | None
ResponseT = TypeVar("ResponseT", bound=web.StreamResponse)

# Set to the connection while the plugin's outermost middleware waits for the response: it will prepare it, so that
# every middleware can still add headers to the 101.
prepares_later: ContextVar[object] = ContextVar("aiohttp_rawws.prepares_later", default=None)

_EXCEPTIONS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    403: web.HTTPForbidden,
    426: web.HTTPUpgradeRequired,
    429: web.HTTPTooManyRequests,
    503: web.HTTPServiceUnavailable,
}


def refusal(request: web.BaseRequest, error: HandshakeError) -> web.HTTPException:
    """The response to a handshake that failed, to be sent as ``last_response`` or raised."""
    if error.status == 405:
        return web.HTTPMethodNotAllowed(request.method, ["GET"], text=f"{error}\n")
    return _EXCEPTIONS[error.status](headers=error.headers, text=f"{error}\n")


def last_request(request: web.BaseRequest) -> None:
    """See to it that a refused handshake ends the connection, whichever response a middleware makes of the refusal.

    What comes behind the handshake may be frames, and must not be read as requests.
    """
    if "Upgrade" in request.headers:
        request.protocol.close()  # reads no further request, and hangs up once this one is answered


def last_response(request: web.BaseRequest, response: ResponseT) -> ResponseT:
    """``response`` as the refusal of a handshake: ``last_request``, and it says so."""
    last_request(request)
    if "Upgrade" in request.headers:
        response.force_close()  # this writes "Connection: close" where the field is not there yet
        if "Connection" in response.headers and not handshake.has_token(response.headers, "Connection", "close"):
            response.headers["Connection"] += ", close"
    return response


def checked_handle(name: str, handle: Handle | None) -> Handle:
    """``handle``. Raises TypeError for what cannot be awaited with a session, which includes classes: a view of
    aiohttp's is not a handler of ours."""
    if not callable(handle) or isinstance(handle, type):
        raise TypeError(f"{name} must be an async function of a session, not {handle!r}")
    return handle


def checked_protocols(protocol: str | None, protocols: Protocols) -> Protocols:
    """``protocols`` as a tuple or a callable. Raises TypeError or ValueError for what cannot be a subprotocol."""
    if protocol is not None:
        if protocols is not None:
            raise TypeError("give protocol= (one that is required) or protocols= (a choice), not both")
        if not handshake.is_token(protocol):
            raise ValueError(f"protocol must be a token of RFC 9110, not {protocol!r}")
    if protocols is None or callable(protocols):
        return protocols
    if isinstance(protocols, (str, bytes)) or not isinstance(protocols, Iterable):
        raise TypeError(f"protocols must be a list of names or a callable, not {protocols!r}")
    names = tuple(protocols)
    for name in names:
        if not handshake.is_token(name):
            raise ValueError(f"protocols: {name!r} is not a token of RFC 9110")
    return names


class _Claim:
    """What ``RequestHandler.set_parser()`` wants of a parser; it gets the bytes that came behind the handshake."""

    def __init__(self) -> None:
        self.early: list[bytes] = []

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.early.append(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        """Called when the connection is lost; the session hears of that by itself."""


class WebSocketUpgrade(web.StreamResponse):
    """A response that upgrades ``request`` to a WebSocket session, raw unless told otherwise, and runs ``handle``.

    Return it from any handler. The handshake is checked when it is prepared; where it fails, the refusal is sent in
    its place. The session ends when ``handle`` returns (see ``run_session``, ``run_managed``).

    protocol: a subprotocol that the client must offer. Names are case-sensitive.
    install_extensions: negotiate the extensions of the options. A raw session does not apply them.
    handle: ``async def handle(session)``.
    protocols: instead of ``protocol``, a choice: names in the server's order of preference, or a callable
        ``(request, offered) -> name | None``, sync or async. None of them offered: no subprotocol.
    managed: run ``handle`` over a managed session, which applies the extensions.
    options: override those of the plugin, see ``WebSocketOptions``.
    Bytes sent behind the handshake, before its answer, reach the session if the response is prepared before the
    handler returns: the plugin's middleware and the route decorators see to that.
    """

    _refusal: web.StreamResponse | None = None  # on the class: the base class asks for it while it is being made

    def __init__(
        self,
        request: web.BaseRequest,
        protocol: str | None = None,
        install_extensions: bool = False,
        handle: Handle | None = None,
        *,
        protocols: Protocols = None,
        managed: bool = False,
        **options: Any,
    ) -> None:
        flag("install_extensions", install_extensions)
        flag("managed", managed)
        check_names(options, OF_ROUTES)
        handle = checked_handle("handle", handle)
        super().__init__(status=101)
        self._request = request
        self._protocol = protocol
        self._protocols = checked_protocols(protocol, protocols)
        self._install_extensions = install_extensions
        self._handle = handle
        self._managed = managed
        # Here, in the handler, the request belongs to the innermost application; later it may be the outermost.
        self._app = request.app if isinstance(request, web.Request) else None
        self._plugin = plugin_of(request)
        base = DEFAULTS if self._plugin is None else self._plugin.options
        self._options = base.replace(**options) if options else base
        self._negotiated: list[Any] = []
        self._extensions_field: str | None = None
        self._checked = False
        self._session: WebSocketServerSession | None = None
        self._to_run: WebSocketServerSession | None = None
        self._write_handshake_fields()

    @property
    def request(self) -> web.BaseRequest:
        return self._request

    @property
    def protocol(self) -> str | None:
        """The subprotocol: the required one, or the one chosen of ``protocols`` once the handshake was checked."""
        return self._protocol

    @property
    def install_extensions(self) -> bool:
        return self._install_extensions

    @property
    def handle(self) -> Handle:
        return self._handle

    @property
    def negotiated_extensions(self) -> tuple[Any, ...]:
        """What the handshake agreed on, once it was checked; empty unless ``install_extensions``."""
        return tuple(self._negotiated)

    @property
    def options(self) -> WebSocketOptions:
        """Those of the plugin, under what this upgrade was given. May be set until the handshake is checked."""
        return self._options

    @options.setter
    def options(self, value: WebSocketOptions) -> None:
        if self._checked:
            raise RuntimeError("the handshake has been checked already, by the options as they were")
        self._options = value

    @property
    def session(self) -> WebSocketServerSession | None:
        """The raw session, from the takeover on."""
        return self._session

    # ---- the response -----------------------------------------------------------------
    # Once refused, it is the refusal that is sent, and these tell aiohttp (and the access log) about that.

    @property
    def prepared(self) -> bool:
        return super().prepared if self._refusal is None else self._refusal.prepared

    @property
    def status(self) -> int:
        return super().status if self._refusal is None else self._refusal.status

    @property
    def reason(self) -> str:
        return super().reason if self._refusal is None else self._refusal.reason

    @property
    def headers(self) -> CIMultiDict[str]:
        return super().headers if self._refusal is None else self._refusal.headers

    @property
    def keep_alive(self) -> bool | None:
        return super().keep_alive if self._refusal is None else self._refusal.keep_alive

    @property
    def body_length(self) -> int:
        """The bytes sent as frames, for the access log."""
        if self._refusal is not None:
            return self._refusal.body_length
        return 0 if self._session is None else self._session.stats.bytes_sent

    @property
    def content_length(self) -> None:
        """None: a 101 has no content (RFC 9110, section 15.2)."""
        return None

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        if value is not None:
            raise RuntimeError("a 101 response has no content")

    def trailers(self) -> None:
        """None: a 101 has no trailers."""

    def enable_compression(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: middlewares that compress everything must leave a 101 alone."""

    def enable_chunked_encoding(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing, for the same reason."""

    # ---- the handshake ----------------------------------------------------------------

    async def check(self) -> web.StreamResponse | None:
        """Check the handshake, once. Returns None if it stands, else the response that refuses it.

        Raises what a callable of the options raised, unless that is a ``web.HTTPException``.
        """
        refused = self._refusal
        if not self._checked:
            self._checked = True
            try:
                refused = await self._check_in_time()
            except HandshakeError as error:
                refused = refusal(self._request, error)
            except web.HTTPException as exception:
                refused = exception
            except Exception:
                self._checked = False
                last_request(self._request)
                raise
        if refused is None and self._plugin is not None:
            full = self._plugin.refusal(self._request.remote)
            if full is not None:
                refused = refusal(self._request, full)
        if refused is not None:
            self._refusal = last_response(self._request, refused)
        return refused

    async def _check_in_time(self) -> web.StreamResponse | None:
        options = self._options
        timeout = options.handshake_timeout
        if timeout is None or not any(map(callable, (options.origins, options.before_upgrade, self._protocols))):
            return await self._check()  # nothing in it can wait
        try:
            return await within(timeout, self._check())
        except HandshakeTimeout:
            self._count("handshake_timeout")
            logger.info(
                "Refused a WebSocket of %s to %s: the handshake took longer than %s seconds (handshake_timeout)",
                self._request.remote,
                self._request.path,
                timeout,
            )
            raise HandshakeError(503, "The handshake took too long") from None

    def _count(self, option: str) -> None:
        if self._plugin is not None:
            self._plugin.on_limit(option)

    async def _check(self) -> web.StreamResponse | None:
        request = self._request
        handshake.check_request(request.method, request.version, request.headers, has_body=request.body_exists)
        await self._check_origin()
        offered = handshake.offered_protocols(request.headers)
        await self._choose_protocol(offered)
        refused = await self._ask_before_upgrade()
        if refused is None and self._install_extensions and self._options.extensions:
            self._negotiated, self._extensions_field = negotiate_server(
                self._options.extensions, request.headers.getall("Sec-WebSocket-Extensions", ())
            )
        return refused

    async def _ask_before_upgrade(self) -> web.StreamResponse | None:
        before_upgrade = self._options.before_upgrade
        if before_upgrade is None:
            return None
        result: object = before_upgrade(self._request)
        if isawaitable(result):
            result = await result
        if result is None or isinstance(result, web.StreamResponse):
            return result
        try:
            extra: CIMultiDict[Any] = CIMultiDict(result)  # type: ignore[arg-type]  # it judges what it is given
        except (TypeError, ValueError) as exc:
            raise TypeError(f"before_upgrade must return None, header fields or a response, not {result!r}") from exc
        for name, value in extra.items():
            if name.lower() in handshake.RESERVED_FIELDS:
                raise ValueError(f"before_upgrade cannot set {name}: it belongs to the handshake")
            if not handshake.is_field(name, value):
                raise ValueError(f"before_upgrade cannot set {name!r} to {value!r}: that is no header field")
        self.headers.extend(extra)
        return None

    async def _check_origin(self) -> None:
        check = self._options.origin_check
        origins = self._request.headers.getall("Origin", ())
        if check is None or not origins:
            return
        if len(origins) > 1 or not await check(origins[0], self._request):
            logger.info(
                "Refused a WebSocket of %s to %s://%s%s from the origin %s",
                self._request.remote,
                self._request.scheme,
                self._request.host,
                self._request.path,
                ascii(", ".join(origins)),
            )
            self._count("origins")
            raise HandshakeError(403, "This origin may not open a WebSocket here")

    async def _choose_protocol(self, offered: tuple[str, ...]) -> None:
        if self._protocol is not None:
            if self._protocol not in offered:
                raise handshake.not_offered([self._protocol], offered)
        elif callable(self._protocols):
            chosen = self._protocols(self._request, offered)
            if isawaitable(chosen):
                chosen = await chosen
            self._protocol = handshake.checked_selection(chosen, offered)
        elif self._protocols is not None:
            self._protocol = handshake.first_served(tuple(self._protocols), offered)

    def _write_handshake_fields(self) -> None:
        headers = self.headers
        for name in handshake.RESERVED_FIELDS:
            headers.popall(name, None)
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        key = self._request.headers.get("Sec-WebSocket-Key")
        if key is not None:
            headers["Sec-WebSocket-Accept"] = handshake.accept_key(key)
        if self._protocol is not None:
            headers["Sec-WebSocket-Protocol"] = self._protocol
        if self._extensions_field is not None:
            headers["Sec-WebSocket-Extensions"] = self._extensions_field

    # ---- how aiohttp sends it ---------------------------------------------------------

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Check the handshake, send the 101 and take the transport over; or send the refusal. Once."""
        if self.prepared:
            # aiohttp prepares again whatever a handler returns.
            return await (super().prepare(request) if self._refusal is None else self._refusal.prepare(request))
        given = super().headers
        try:
            refused = await self.check()
        except Exception:
            # Where this is called after the handler has returned, aiohttp would hang up without an answer.
            logger.exception("Error in the handshake of a WebSocket on %s", self._request.path)
            refused = self._refusal = last_response(request, web.HTTPInternalServerError())
        if refused is not None:
            self._hand_on_headers(given, refused)
            return await refused.prepare(request)
        self._write_handshake_fields()
        self.force_close()  # else the TCP connection would go on as HTTP after the session
        # No await since check() found room: two handshakes cannot both take the last seat.
        seat = None if self._plugin is None else self._plugin.seat(self._request.remote)
        try:
            writer = await super().prepare(request)
            self._take_over(request, seat)
        except BaseException:
            if seat is not None:
                seat.give_back()
            raise
        return writer

    def _hand_on_headers(self, given: CIMultiDict[str], refused: web.StreamResponse) -> None:
        """What handlers and middlewares put on the upgrade belongs on the response that takes its place."""
        for name, value in given.items():
            known = name.lower()
            if known in handshake.RESERVED_FIELDS or known == "content-type":
                continue
            if name not in refused.headers or known == "set-cookie":
                refused.headers.add(name, value)
        for name, morsel in super().cookies.items():
            refused.cookies[name] = morsel

    def _take_over(self, request: web.BaseRequest, seat: Seat | None) -> None:
        # No await in here: between the claim and the session's start no byte may come in.
        http: Any = request.protocol
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("The connection was lost before the WebSocket was open")
        claim = _Claim()
        http.set_parser(claim)  # accepts the upgrade, hands over the early bytes and resumes reading
        http.keep_alive(False)  # drops the timer that waits for the next request
        session = self._new_session(transport, http, seat)
        self._session = self._to_run = session
        session.start(claim.early)

    def write_eof(self, data: bytes = b"") -> Coroutine[Any, Any, None]:
        """Run the handler over the session until both have ended. aiohttp awaits this once."""
        if self._refusal is not None:
            return self._refusal.write_eof()
        session, self._to_run = self._to_run, None
        return super().write_eof() if session is None else self._run(session)

    # ---- the session ------------------------------------------------------------------

    def upgrade(self, transport: Any, writer: Any = None, *, early: Iterable[bytes] = ()) -> asyncio.Task[None]:
        """Run the session over any transport, or with two arguments over a pair of asyncio streams.

        No handshake is made. early: bytes of frames that were received before. Returns the task that runs the
        handler and ends with the session; cancelling it aborts the session.
        """
        if writer is not None:
            transport = StreamTransport(transport, writer)
        session = self._new_session(transport)
        self._session = session
        session.start(early)
        return asyncio.create_task(self._run(session), name="rawws-session")

    def _new_session(
        self, transport: asyncio.Transport, host: Any = None, seat: Seat | None = None
    ) -> WebSocketServerSession:
        if seat is not None or self._options.write_timeout is not None:
            host = WriteGuard(
                transport,
                self._options.write_timeout,
                host=host,
                on_limit=None if self._plugin is None else self._plugin.on_limit,
                on_lost=None if seat is None else seat.give_back,
            )
        session = WebSocketServerSession(
            transport,
            request=self._request,
            app=self._app,
            protocol=self._protocol,
            options=self._options,
            host=host,
        )
        session.negotiated_extensions = self._negotiated
        return session

    async def _run(self, raw: WebSocketServerSession) -> None:
        # As few coroutines as can be between aiohttp and the handler: each is resumed for each frame that is waited
        # for, and takes a quarter KiB meanwhile.
        session = DefaultWebSocketServerSession(raw, self._negotiated) if self._managed else raw
        plugin = self._plugin
        if plugin is None:
            await run_handler(session, self._handle)
        else:
            handle = plugin.enter(session, self._handle)
            try:
                await run_handler(session, handle, plugin.on_limit)
            finally:
                await plugin.leave(session)
        if self.prepared:  # not before the session: it may wait for the transport
            await super().write_eof()


async def respond(upgrade: WebSocketUpgrade) -> web.StreamResponse:
    """What a handler should do with an upgrade to return: check it where middlewares see the refusal, and prepare it
    unless the plugin's middleware will."""
    refused = await upgrade.check()
    if isinstance(refused, web.HTTPException):
        raise refused
    if refused is not None:
        return refused
    if prepares_later.get() is not upgrade.request.protocol:
        try:
            await upgrade.prepare(upgrade.request)
        except ConnectionError:
            pass  # the client is gone before the 101: aiohttp will notice, and not log it as a handler's error
    return upgrade
