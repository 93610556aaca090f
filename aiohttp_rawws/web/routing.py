"""``websocket_raw``, ``websocket`` and ``RouteTableDef``: routes that match upgrades only.

Every other request of the same path goes to the next route that matches it. ``upgrade_handler`` makes a handler for
aiohttp's own routes instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from aiohttp import web
from aiohttp.typedefs import Handler

from ..session.kinds import SessionHandler
from ..session.options import check_bool, check_names
from .check import ProtocolChoice, checked_protocols
from .handlers import ManagedHandler, ManagedHandlerT, RawHandler, RawHandlerT
from .options import OF_ROUTES, RouteOptions, RouteOptionsDict
from .resource import WebSocketResource
from .upgrade import WebSocketUpgrade, checked_handler

if TYPE_CHECKING:
    from typing_extensions import Unpack

MADE_HERE = "__rawws_upgrade__"  # an attribute of the aiohttp handlers that are made here
IS_MADE_HERE = "an aiohttp handler made by upgrade_handler(), websocket() or websocket_raw() without a path"


def aiohttp_handler(
    handler: SessionHandler,
    *,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = False,
    managed: Any = False,
    **options: Unpack[RouteOptionsDict],
) -> Handler:
    """Make an aiohttp handler that upgrades the request and runs ``handler`` over the session.

    The arguments are those of ``websocket_raw()``, and ``managed``: run it over a managed session.

    Raises:
        TypeError: ``handler`` is not a function, or an option is unknown or of the wrong type.
        ValueError: An option is out of range.
    """
    checked_handler("handler", handler)
    if hasattr(handler, MADE_HERE):
        raise TypeError(f"handler must be an async function of a session, not {handler!r}, {IS_MADE_HERE}")
    check_bool("negotiate_extensions", negotiate_extensions)
    check_bool("managed", managed)
    check_names(options, OF_ROUTES)
    route_options = RouteOptions(options)
    protocols = checked_protocols(protocol, protocols)

    def upgrade_of(request: object) -> WebSocketUpgrade:
        if not isinstance(request, web.BaseRequest):
            name = getattr(handler, "__name__", handler)
            raise TypeError(f"{name}() takes a request, not {request!r}: it is {IS_MADE_HERE}")
        response = WebSocketUpgrade(
            request, protocol, negotiate_extensions, handle=handler, protocols=protocols, managed=managed
        )
        response.options = route_options.merged_with(response.options)
        return response

    # An argument, not a closure: aiohttp-swagger3 takes the first cell of a closure for a handler that was decorated.
    async def upgrade(
        request: web.Request, *, upgrade_of: Callable[[web.Request], WebSocketUpgrade] = upgrade_of
    ) -> web.StreamResponse:
        response = upgrade_of(request)
        running = await response.begin()  # as run(), with a coroutine less
        if running is not None:
            await running
        return response.finished()

    # Not functools.wraps(): __wrapped__ and the annotations would describe a function of a session.
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(handler, attribute):
            setattr(upgrade, attribute, getattr(handler, attribute))
    setattr(upgrade, MADE_HERE, True)
    return upgrade


@overload
def upgrade_handler(
    handler: RawHandler,
    /,
    *,
    managed: Literal[False] = False,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool | None = None,
    **options: Unpack[RouteOptionsDict],
) -> Handler: ...


@overload
def upgrade_handler(
    handler: ManagedHandler,
    /,
    *,
    managed: Literal[True],
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool | None = None,
    **options: Unpack[RouteOptionsDict],
) -> Handler: ...


@overload
def upgrade_handler(
    *,
    managed: Literal[False] = False,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool | None = None,
    **options: Unpack[RouteOptionsDict],
) -> Callable[[RawHandler], Handler]: ...


@overload
def upgrade_handler(
    *,
    managed: Literal[True],
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool | None = None,
    **options: Unpack[RouteOptionsDict],
) -> Callable[[ManagedHandler], Handler]: ...


def upgrade_handler(*args: Any, **keywords: Any) -> Any:
    """Make an aiohttp handler, which takes a request, of a function that takes a session.

    It is for aiohttp's own routes: ``app.router.add_get("/chat", upgrade_handler(chat))``. It upgrades every request,
    and answers those that ask for no upgrade with 426. As a decorator, ``@upgrade_handler`` or
    ``@upgrade_handler(managed=True)``, it changes the function that it decorates.

    Args:
        handler: ``async def handler(session)``. The session ends when it returns.
        managed: Run ``handler`` over a managed session. Default: False (a raw one).
        protocol: A subprotocol that the client must offer. Default: None.
        protocols: A choice of subprotocols instead of ``protocol``, see ``websocket_raw()``. Default: None.
        negotiate_extensions: Negotiate the extensions of the options. Default: None (for managed sessions).
        options: Override options of the plugin, see ``WebSocketOptions``.

    Raises:
        TypeError: ``handler`` is not a function, or is an aiohttp handler already, or an option is unknown or of the
            wrong type.
        ValueError: An option is out of range.
    """
    if keywords.get("negotiate_extensions") is None:
        keywords["negotiate_extensions"] = keywords.get("managed", False) is True
    if args and isinstance(args[0], str):
        raise TypeError("upgrade_handler() takes no path: websocket() and websocket_raw() make routes")
    return _handler_or_decorator("upgrade_handler", args, keywords)


class WebSocketRouteDef(web.AbstractRouteDef):
    """A WebSocket route for ``app.add_routes([...])``, made by ``websocket_raw(path, handler)`` and ``websocket()``."""

    __slots__ = ("handler", "name", "path", "protocol")

    def __init__(self, path: str, handler: Handler, *, protocol: str | None, name: str | None) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path must be a str, not {path!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {name!r}")
        if path and not path.startswith("/"):
            raise ValueError(f"path must start with a slash or be empty, not {path!r}")
        self.path: str = path
        self.handler: Handler = handler
        self.protocol: str | None = protocol
        self.name: str | None = name

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        if type(router).add_route is not web.UrlDispatcher.add_route:
            # The router of a tool, such as aiohttp-swagger3, which passes on what its add_route() gets and has no
            # resources itself. So this route gets no resource of ours, and no page can have the same path.
            return [router.add_route("GET", self.path, self.handler, name=self.name)]
        resource = WebSocketResource(self.path, self.handler, router=router, protocol=self.protocol, name=self.name)
        router.register_resource(resource)
        resource.put_first()
        return [resource.route]

    def __repr__(self) -> str:
        protocol = "" if self.protocol is None else f" protocol={self.protocol!r}"
        return f"<WebSocketRouteDef {self.path}{protocol} -> {getattr(self.handler, '__name__', self.handler)!r}>"


def _route(
    path: str, handler: SessionHandler, *, name: str | None, protocol: str | None, **keywords: Any
) -> WebSocketRouteDef:
    upgrading = aiohttp_handler(handler, protocol=protocol, **keywords)
    return WebSocketRouteDef(path, upgrading, protocol=protocol, name=name)


def _route_or_handler(function: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Return a route or an aiohttp handler, as the form of the call asks for."""
    if args and isinstance(args[0], str):
        path, *rest = args
        if len(rest) != 1:
            raise TypeError(f"{function}(path, handler) takes a path and a handler")
        name, protocol = keywords.pop("name", None), keywords.pop("protocol", None)
        return _route(path, rest[0], name=name, protocol=protocol, **keywords)
    if "name" in keywords:
        raise TypeError(f"{function}() takes a name only together with a path")
    return _handler_or_decorator(function, args, keywords)


def _handler_or_decorator(function: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    if not args:
        aiohttp_handler(_nothing, **keywords)  # raise here, not when the decorator is applied
        return functools.partial(aiohttp_handler, **keywords)
    if len(args) > 1:
        raise TypeError(f"{function}(handler) takes a handler and keyword arguments")
    return aiohttp_handler(args[0], **keywords)


@overload
def websocket_raw(
    path: str,
    handler: RawHandler,
    /,
    *,
    name: str | None = None,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = False,
    **options: Unpack[RouteOptionsDict],
) -> WebSocketRouteDef: ...


@overload
def websocket_raw(
    handler: RawHandler,
    /,
    *,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = False,
    **options: Unpack[RouteOptionsDict],
) -> Handler: ...


@overload
def websocket_raw(
    *,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = False,
    **options: Unpack[RouteOptionsDict],
) -> Callable[[RawHandler], Handler]: ...


def websocket_raw(*args: Any, **keywords: Any) -> Any:
    """Make a raw WebSocket route, or an aiohttp handler that upgrades to a raw session.

    *You receive control frames, fragments stay separate, and you do the closing handshake.*

    ``websocket_raw(path, handler)`` returns a route for ``app.add_routes([...])``, next to ``web.get(...)``. It matches
    upgrades only, so other routes can have the same path.

    Without a path it is another name of ``upgrade_handler()``: ``websocket_raw(handler)``, or the decorator
    ``@websocket_raw``, makes an aiohttp handler for aiohttp's own routes. This differs from ``@routes.websocket_raw()``
    of a ``RouteTableDef``, which leaves the function as it is.

    Args:
        path: The path of the route, as in ``web.get()``.
        handler: ``async def handler(session)``. The session ends when it returns.
        name: The name of the route, for ``app.router[name]``. Only with a path. Default: None.
        protocol: A subprotocol that the client must offer. A route with a path does not match if it is not offered.
            Default: None.
        protocols: A choice of subprotocols instead of ``protocol``: names in the server's order of preference, or a
            callable ``(request, offered) -> name | None``, sync or async. If none of them is offered, the session has
            no subprotocol. Default: None.
        negotiate_extensions: Negotiate the extensions of the options. A raw session does not apply them.
            Default: False.
        options: Override options of the plugin, see ``WebSocketOptions``.

    Raises:
        TypeError: ``handler`` is not a function, or an option is unknown or of the wrong type.
        ValueError: An option is out of range.
    """
    return _route_or_handler("websocket_raw", args, keywords)


@overload
def websocket(
    path: str,
    handler: ManagedHandler,
    /,
    *,
    name: str | None = None,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = True,
    **options: Unpack[RouteOptionsDict],
) -> WebSocketRouteDef: ...


@overload
def websocket(
    handler: ManagedHandler,
    /,
    *,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = True,
    **options: Unpack[RouteOptionsDict],
) -> Handler: ...


@overload
def websocket(
    *,
    protocol: str | None = None,
    protocols: ProtocolChoice = None,
    negotiate_extensions: bool = True,
    **options: Unpack[RouteOptionsDict],
) -> Callable[[ManagedHandler], Handler]: ...


def websocket(*args: Any, **keywords: Any) -> Any:
    """Make a managed WebSocket route, or an aiohttp handler that upgrades to a managed session.

    The session receives whole messages. It answers pings, applies the extensions and does the closing handshake.

    The forms and the arguments are those of ``websocket_raw()``. ``negotiate_extensions`` is True by default. Without a
    path it is another name of ``upgrade_handler(managed=True)``.
    """
    return _route_or_handler("websocket", args, {"negotiate_extensions": True, **keywords, "managed": True})


async def _nothing(session: object) -> None:
    """A placeholder for a handler that is not known yet."""


class RouteTableDef(web.RouteTableDef):
    """``web.RouteTableDef`` with two more decorators: ``websocket_raw`` and ``websocket``."""

    def __init__(self) -> None:
        super().__init__()
        self._definitions: list[web.AbstractRouteDef] = []

    def websocket_raw(
        self,
        path: str,
        *,
        name: str | None = None,
        protocol: str | None = None,
        protocols: ProtocolChoice = None,
        negotiate_extensions: bool = False,
        **options: Unpack[RouteOptionsDict],
    ) -> Callable[[RawHandlerT], RawHandlerT]:
        """Add a raw WebSocket route, see the function ``websocket_raw()``. The decorated function is not changed."""
        keywords = {"protocols": protocols, "negotiate_extensions": negotiate_extensions, **options}
        return self._decorator(path, name=name, protocol=protocol, **keywords)

    def websocket(
        self,
        path: str,
        *,
        name: str | None = None,
        protocol: str | None = None,
        protocols: ProtocolChoice = None,
        negotiate_extensions: bool = True,
        **options: Unpack[RouteOptionsDict],
    ) -> Callable[[ManagedHandlerT], ManagedHandlerT]:
        """Add a managed WebSocket route, see the function ``websocket()``. The decorated function is not changed."""
        keywords = {"protocols": protocols, "negotiate_extensions": negotiate_extensions, **options}
        return self._decorator(path, name=name, protocol=protocol, managed=True, **keywords)

    def _decorator(self, path: str, **keywords: Any) -> Callable[[Any], Any]:
        _route(path, _nothing, **keywords)  # raise here, not when the decorator is applied

        def decorate(handler: Any) -> Any:
            self._definitions.append(_route(path, handler, **keywords))
            return handler

        return decorate

    # The list of the base class is private. So all routes are kept in a list here, in the order of their definition.

    def route(self, method: str, path: str, **kwargs: Any) -> Any:
        def decorate(handler: Any) -> Any:
            self._definitions.append(web.route(method, path, handler, **kwargs))
            return handler

        return decorate

    def static(self, prefix: str, path: Any, **kwargs: Any) -> None:
        self._definitions.append(web.static(prefix, path, **kwargs))

    @overload
    def __getitem__(self, index: int) -> web.AbstractRouteDef: ...

    @overload
    def __getitem__(self, index: slice) -> list[web.AbstractRouteDef]: ...

    def __getitem__(self, index: int | slice) -> web.AbstractRouteDef | list[web.AbstractRouteDef]:
        return self._definitions[index]

    def __iter__(self) -> Iterator[web.AbstractRouteDef]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def __contains__(self, item: object) -> bool:
        return item in self._definitions

    def __repr__(self) -> str:
        return f"<RouteTableDef count={len(self)}>"
