"""``proxy_upgrade()``: from the request of a client to two sessions, one on each side of a gateway.

The order of events:

1. The arguments and the client's handshake are checked: its fields, ``origins``, ``before_upgrade``, limits.
2. The upstream server is asked (``upstream.py``), while the client is watched (``watch.py``). If it refuses, its answer
   is the client's, and nothing more happens.
3. The client gets its 101, with the subprotocol, the extensions and the fields of the upstream server's.
4. ``handle`` runs over the two sessions. Frames that arrived early, from either side, wait in them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from aiohttp import web
from aiohttp.typedefs import LooseHeaders, StrOrURL
from multidict import CIMultiDict
from yarl import URL

from ..errors import HandshakeError
from ..session.options import SessionOptions, check_bool, check_names, check_seconds, names_of
from ..web import handshake
from ..web.answer import Answer
from ..web.client_options import ConnectOptions
from ..web.client_session import WebSocketClientSession
from ..web.options import OF_ROUTES, RouteOptionsDict
from ..web.origins import compile_origins
from ..web.refusal import as_refusal, close_after_refusal, refusal
from ..web.server_session import WebSocketServerSession
from ..web.upgrade import WebSocketUpgrade
from ..wire.codes import CloseCode, CloseReason
from .answer import fields_of_answer
from .fields import OF_THE_REQUEST, Forwarded, add_forwarded, end_to_end, undecodable
from .pump import OnFrame, check_on_loss, pump
from .target import check_host
from .upstream import Refused, Way, open_upstream
from .watch import ClientHasLeft, discard_input, while_connected

if TYPE_CHECKING:
    from typing_extensions import Unpack

PairHandler = Callable[[WebSocketServerSession, WebSocketClientSession], Awaitable[object]]
"""An async function of the session with the client and that with the upstream server. Its result is ignored."""

EditHeaders = Callable[[web.BaseRequest, CIMultiDict[str]], Awaitable[object] | None]
"""A function of the request and of the fields that go to the upstream server, which it may change."""

# The client and the upstream server know their own limits, and the page may be of any origin that the latter allows.
DEFAULTS: dict[str, Any] = {
    "max_frame_size": None,
    "frame_streaming_threshold": 64 * 1024,
    "strict": "hop",
    "origins": None,
}

NAMES = OF_ROUTES - {"extensions", "masking"}
OF_BOTH = names_of(SessionOptions) - {"masking"}

_SAME_ORIGIN = compile_origins("same-origin")


async def proxy_upgrade(
    request: web.BaseRequest,
    client_session: aiohttp.ClientSession,
    url: StrOrURL,
    *,
    headers: EditHeaders | None = None,
    preserve_host: bool = True,
    forwarded: Forwarded = "x-forwarded",
    trust: Container[str] = (),
    connect_timeout: float | timedelta | None = 10.0,
    redirects: Literal["relay", "refuse"] = "relay",
    on_frame: OnFrame | None = None,
    on_loss: Literal["mirror"] | CloseReason = "mirror",
    half_open_timeout: float | timedelta | None = 300.0,
    handle: PairHandler | None = None,
    ssl: SSLContext | bool | aiohttp.Fingerprint = True,
    server_hostname: str | None = None,
    proxy: StrOrURL | None = None,
    proxy_headers: LooseHeaders | None = None,
    **options: Unpack[RouteOptionsDict],
) -> web.StreamResponse:
    """Open a WebSocket to the upstream server for the one that ``request`` asks for, and connect the two.

    The upstream server is asked first. Its subprotocol, its extensions and the other fields of its 101 are those that
    the client gets. If it refuses, the client gets its answer: status, fields and body. After that the connection of
    the client is closed.

    The fields of the request go on as they are. Left out are those about one connection, which ``Connection`` names
    too, and claims about the client by ``X-Forwarded-...``, ``Forwarded`` and ``X-Real-IP`` unless it is trusted.

    Args:
        request: The request of the client.
        client_session: The ClientSession to use, with a ``DummyCookieJar`` and without ``trust_env``. Each session
            holds one of the connections of its connector until it ends, so the connector's limit is one on sessions.
        url: The URL to ask for, such as ``upstream_url()`` returns. A ``yarl.URL`` is used as it is.
        headers: A function ``(request, fields)``, sync or async, that changes the fields of the request to the upstream
            server. Those of the handshake are set after it. It may raise a ``web.HTTPException``. Default: None.
        preserve_host: The upstream server gets the ``Host`` of the client. False: that of ``url``, and an ``Origin`` of
            the same host is rewritten likewise. Default: True.
        forwarded: The fields that name the client: "x-forwarded" (``X-Forwarded-For``, ``-Proto``, ``-Host``),
            "rfc7239" (``Forwarded``), or None (none is added, and none left out). Default: "x-forwarded".
        trust: The addresses of proxies in front of this one, "unix" for those on Unix sockets. Their claims about
            their client go on, and this one's are added to them. Default: ``()``.
        connect_timeout: Seconds in which the upstream server must answer. Then the client gets 504, or 503 if there was
            no free connection to ask it on. It is also the limit on its silence inside of the body of a refusal. None:
            no limit. Default: 10.
        redirects: "relay": a redirect is an answer like others. "refuse": the client gets 502. None is ever followed.
            Default: "relay".
        on_frame: A function of each frame, see ``pump()``. Default: None (bytes go both ways as they came).
        on_loss: "mirror" or a CloseReason, see ``pump()``. Default: "mirror".
        half_open_timeout: Seconds in which at least one byte must move while one direction is over and the other is
            not, see ``pump()``. None: no limit. Default: 300.
        handle: ``async def handle(client, upstream)``, a function of the two raw sessions, instead of ``pump()``, whose
            arguments above do not matter then. When it returns, both end. Default: None.
        ssl: The TLS settings of the way to the upstream server, as in ``ConnectOptions``. Default: True.
        server_hostname: The name that its certificate must have. Default: None (that of the URL).
        proxy: The URL of an HTTP proxy on this way. Default: None.
        proxy_headers: Fields of the request to that proxy. Default: None.
        options: Override options of the plugin, see ``WebSocketOptions``. Those of a session hold for both. Here
            ``origins`` and ``max_frame_size`` are None by default, ``frame_streaming_threshold`` is 64 KiB and
            ``strict`` is "hop": the upstream server and its client decide about these things. ``idle_timeout`` is
            that of ``pump()``, for bytes in either direction.

    Returns:
        The response for the aiohttp handler to return. It has been sent.

    Raises:
        web.HTTPException: The handshake is refused here: by its own faults or an option (4xx), because there is no
            upstream server or no valid answer from it (502), because the server or the connector is full, or the
            server shuts down (503), because the upstream server took too long (504).
        TypeError: An argument has a wrong type, or an option is unknown.
        ValueError: The cookie jar of ``client_session`` keeps cookies, it has ``trust_env``, the URL is not absolute,
            or an option is out of range.
    """
    check_names(options, NAMES)
    check_bool("preserve_host", preserve_host)
    for name, function in (("headers", headers), ("on_frame", on_frame), ("handle", handle)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function or None, not {function!r}")
    check_on_loss(on_loss)
    half_open = check_seconds("half_open_timeout", half_open_timeout)
    for name, is_given in (("on_frame", on_frame is not None), ("on_loss", on_loss != "mirror")):
        if is_given and handle is not None:
            raise TypeError(f"{name} is for pump(), which handle= replaces")
    if forwarded not in ("x-forwarded", "rfc7239", None):
        raise ValueError(f'forwarded must be "x-forwarded", "rfc7239" or None, not {forwarded!r}')
    if isinstance(trust, str) or not isinstance(trust, Container):
        raise TypeError(f"trust must be a list of addresses, not {trust!r}")
    way = Way(
        client_session=client_session,
        url=URL(url) if isinstance(url, str) else url,
        connect_timeout=check_seconds("connect_timeout", connect_timeout),
        redirects=redirects,
        ssl=ssl,
        server_hostname=server_hostname,
        proxy=proxy,
        proxy_headers=proxy_headers,
    )
    pair = Pair(handle or pump)
    upgrade = WebSocketUpgrade(request, handle=pair.run, answer=Answer(), **{**DEFAULTS, **options})
    if handle is None:
        # A session sees the bytes of one direction, and pump() those of both.
        pair.handle = partial(
            pump,
            on_frame=on_frame,
            on_loss=on_loss,
            half_open_timeout=half_open,
            idle_timeout=upgrade.options.idle_timeout,
        )
        upgrade.options = upgrade.options.replace(idle_timeout=None)
    if await is_refused(upgrade):
        return upgrade.finished()
    try:
        fields = await _upstream_fields(request, way.url, headers, preserve_host, forwarded, trust)
        connect_options = ConnectOptions(
            protocols=handshake.offered_protocols(request.headers),
            offer=(),
            **{name: getattr(upgrade.options, name) for name in OF_BOTH},
        )
        asking = open_upstream(request, way, fields, connect_options)
        pair.upstream = await while_connected(request, upgrade.hold_reading, asking, WebSocketClientSession.abort)
        return await _connect(request, upgrade, pair.upstream)
    except ClientHasLeft:
        return has_left()
    except Refused as refused_upstream:
        return refused_upstream.response
    except BaseException as exc:
        if pair.upstream is not None:
            pair.upstream.abort()
        if upgrade.prepared:
            raise
        # Whatever answers the client, such as a middleware with a limit of time: what follows may be frames.
        close_after_refusal(request)
        discard_input(request)
        if isinstance(exc, HandshakeError):
            raise as_refusal(request, refusal(request, exc)) from None
        if isinstance(exc, web.HTTPException):
            as_refusal(request, exc)
        raise


async def is_refused(upgrade: WebSocketUpgrade) -> bool:
    """Check the handshake of the client.

    Returns:
        True if the response that refuses it is in ``upgrade``.

    Raises:
        web.HTTPException: This response.
    """
    refused = await upgrade.check()
    if isinstance(refused, web.HTTPException):
        raise refused
    return refused is not None


class Pair:
    """The two sessions of a gateway.

    Attributes:
        handle: The handler of both.
        upstream: That with the upstream server, as soon as there is one.
    """

    __slots__ = ("handle", "upstream")

    def __init__(self, handle: PairHandler) -> None:
        self.handle: PairHandler = handle
        self.upstream: WebSocketClientSession | None = None

    async def run(self, client: WebSocketServerSession) -> None:
        """Run the handler over both sessions. The end of that with the upstream server begins with its return."""
        upstream = self.upstream
        assert upstream is not None
        try:
            await self.handle(client, upstream)
        except Exception as exc:
            if not upstream.owns(exc):
                if not client.owns(exc):
                    upstream.close_nowait(CloseCode.INTERNAL_ERROR)
                raise
        finally:
            upstream.connection.end_reported = True
            upstream.connection.disconnect()


async def _connect(
    request: web.BaseRequest, upgrade: WebSocketUpgrade, upstream: WebSocketClientSession
) -> web.StreamResponse:
    """Send the 101, run the handler, and wait until both sessions have ended."""
    upgrade.headers.extend(fields_of_answer(upstream.response))
    extensions = upstream.response.headers.getall("Sec-WebSocket-Extensions", ())
    upgrade.answer = Answer(upstream.protocol, extensions)
    if await is_refused(upgrade):  # the server is full now, or shuts down
        upstream.abort()
        return upgrade.finished()
    try:
        await upgrade.prepare(request)
    except ConnectionError:
        upstream.abort()
        return has_left()
    upgrade.accompany(upstream)
    running = await upgrade.begin()
    if running is not None:
        await running
    await upstream.wait_closed()
    return upgrade.finished()


async def _upstream_fields(
    request: web.BaseRequest,
    url: URL,
    headers: EditHeaders | None,
    preserve_host: bool,
    forwarded: Forwarded,
    trust: Container[str],
) -> CIMultiDict[str]:
    """Return the fields of the request to the upstream server, without those of the handshake of this hop.

    Raises:
        web.HTTPException: A field cannot be sent on, or ``headers`` refuses the client.
    """
    fields = end_to_end(request.headers, OF_THE_REQUEST)
    check_host(request)
    if undecodable(fields):
        raise as_refusal(request, web.HTTPBadRequest(text="A header field is not UTF-8\n"))
    if not preserve_host:
        fields.popall("Host", None)
        origins = fields.getall("Origin", ())
        assert _SAME_ORIGIN is not None
        if len(origins) == 1 and await _SAME_ORIGIN(origins[0], request):
            fields["Origin"] = origin_of(url)
    add_forwarded(fields, request, forwarded, trust)
    if headers is not None:
        result = headers(request, fields)
        if isawaitable(result):
            await result
    return fields


def origin_of(url: URL) -> str:
    """Return the ``Origin`` of a page on the server of ``url``."""
    return str(url.with_scheme("https" if url.scheme in ("https", "wss") else "http").origin())


def has_left() -> web.Response:
    """Return the response for a client that has left, which only the access log sees."""
    return web.Response(status=499, reason="Client Closed Request")
