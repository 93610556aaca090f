"""Sessions as a route makes them, with a request of your choice, over memory instead of a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from ..extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from ..session.managed import DefaultWebSocketSession
from ..session.memory import MemoryTransport
from ..session.options import SessionOptions, check_bool, check_names
from ..session.raw import WebSocketSession
from ..web.options import DEFAULTS, OF_ROUTES, RouteOptions, RouteOptionsDict
from ..web.plugin import WEBSOCKETS
from ..web.server_session import DefaultWebSocketServerSession, WebSocketServerSession

if TYPE_CHECKING:
    from typing_extensions import Unpack

HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class ServerPair(NamedTuple):
    """Two connected raw sessions, made by ``server_pair()``.

    Attributes:
        server: The session for the handler of a raw route.
        client: The session of its client.
    """

    server: WebSocketServerSession
    client: WebSocketSession


class ManagedServerPair(NamedTuple):
    """Two connected managed sessions, made by ``managed_server_pair()``.

    Attributes:
        server: The session for the handler of a managed route.
        client: The session of its client. ``client.raw`` is the raw session underneath, for a test that sends and
            receives frames; use only one of them.
    """

    server: DefaultWebSocketServerSession
    client: DefaultWebSocketSession


def server_pair(
    request: web.BaseRequest | None = None,
    *,
    app: web.Application | None = None,
    protocol: str | None = None,
    negotiate_extensions: bool = False,
    client_options: SessionOptions | None = None,
    **options: Unpack[RouteOptionsDict],
) -> ServerPair:
    """Connect a raw session of a server with its client in memory: ``server, client = server_pair()``.

    Both are open. There is no handshake, so options such as ``origins`` and ``before_upgrade`` have no effect, and the
    plugin does not list the session. A loop must be running. Run a handler with ``run_session(server, handler)``; else
    end the sessions with ``await session.end()`` or ``session.abort()``.

    Args:
        request: The request of ``server.request``, such as one of ``aiohttp.test_utils.make_mocked_request()``.
            Default: None (``GET /`` with the fields of a handshake).
        app: The application of ``server.app``. If it has the plugin, the options of ``setup()`` hold. Default: None
            (that of the request; without a request an empty one).
        protocol: The subprotocol agreed on. Default: None.
        negotiate_extensions: Negotiate the option ``extensions`` with the client, which has the same. A raw session
            does not apply them. Default: False.
        client_options: The options of the client. Default: None (the defaults of ``SessionOptions``).
        options: Options of a route, for the server.

    Returns:
        The two sessions.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range.
    """
    check_bool("negotiate_extensions", negotiate_extensions)
    check_names(options, OF_ROUTES)
    if request is None:
        app = web.Application() if app is None else app
        fields = HANDSHAKE if protocol is None else HANDSHAKE | {"Sec-WebSocket-Protocol": protocol}
        request = make_mocked_request("GET", "/", fields, app=app)
    elif app is None and isinstance(request, web.Request):
        app = request.app
    base = app[WEBSOCKETS].options if app is not None and WEBSOCKETS in app else DEFAULTS
    settings = RouteOptions(options).merged_with(base)
    factories = settings.extensions if negotiate_extensions else ()
    offer = client_offer_header(factories)
    extensions, answer = negotiate_server(factories, () if offer is None else (offer,))

    first, second = MemoryTransport.pair()
    server = WebSocketServerSession(first, request=request, app=app, protocol=protocol, options=settings)
    server.negotiated_extensions = extensions
    client = WebSocketSession(second, server=False, options=client_options or SessionOptions())
    client.negotiated_extensions = negotiate_client(factories, () if answer is None else (answer,))
    server.start()
    client.start()
    return ServerPair(server, client)


def managed_server_pair(
    request: web.BaseRequest | None = None,
    *,
    app: web.Application | None = None,
    protocol: str | None = None,
    negotiate_extensions: bool = True,
    client_options: SessionOptions | None = None,
    **options: Unpack[RouteOptionsDict],
) -> ManagedServerPair:
    """Connect a managed session of a server with its client in memory: ``server, client = managed_server_pair()``.

    Run a handler with ``run_managed(server, handler)``; else end the sessions with ``await session.close()`` or
    ``session.abort()``. The arguments are those of ``server_pair()``. ``negotiate_extensions`` is True by default, and
    the sessions apply the extensions.

    Returns:
        The two sessions.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range.
    """
    server, client = server_pair(
        request,
        app=app,
        protocol=protocol,
        negotiate_extensions=negotiate_extensions,
        client_options=client_options,
        **options,
    )
    return ManagedServerPair(
        DefaultWebSocketServerSession(server, server.negotiated_extensions),
        DefaultWebSocketSession(client, extensions=client.negotiated_extensions),
    )
