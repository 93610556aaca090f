"""Routes that match upgrades to WebSocket and leave every other request of the path to the next route."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from aiohttp import web
from aiohttp.typedefs import Handler

from ..session.kinds import SessionHandler
from ..session.options import check_names, flag
from .check import Protocols, checked_protocols
from .options import OF_ROUTES, RouteOptions
from .resource import WebSocketResource
from .upgrade import WebSocketUpgrade, checked_handler, finish_upgrade

SessionHandlerT = TypeVar("SessionHandlerT", bound=SessionHandler)


def aiohttp_handler(
    handler: SessionHandler,
    *,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = False,
    managed: bool = False,
    **options: Any,
) -> Handler:
    """An aiohttp handler that upgrades the request and runs ``handler`` over the session; options are checked here."""
    checked_handler("handler", handler)
    flag("negotiate_extensions", negotiate_extensions)
    flag("managed", managed)
    check_names(options, OF_ROUTES)
    route_options = RouteOptions(options)
    protocols = checked_protocols(protocol, protocols)

    async def upgrade(request: web.Request) -> web.StreamResponse:
        response = WebSocketUpgrade(
            request, protocol, negotiate_extensions, handler, protocols=protocols, managed=managed
        )
        response.options = route_options.merged_with(response.options)
        return await finish_upgrade(response)

    # Not wraps(): its __wrapped__ and annotations would describe a function of a session.
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(handler, attribute):
            setattr(upgrade, attribute, getattr(handler, attribute))
    return upgrade


class WebSocketRouteDef(web.AbstractRouteDef):
    """What ``app.add_routes([...])`` takes: a path, and what runs on an upgrade of it."""

    __slots__ = ("handler", "name", "path", "protocol")

    def __init__(self, path: str, handler: Handler, *, protocol: str | None, name: str | None) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path must be a str, not {path!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {name!r}")
        if path and not path.startswith("/"):
            raise ValueError(f"a path starts with a slash, or is empty: {path!r}")
        self.path = path
        self.handler = handler
        self.protocol = protocol
        self.name = name

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        resource = WebSocketResource(self.path, self.handler, router=router, protocol=self.protocol, name=self.name)
        router.register_resource(resource)
        resource.put_first()
        return [resource.route]

    def __repr__(self) -> str:
        protocol = "" if self.protocol is None else f" protocol={self.protocol!r}"
        return f"<WebSocketRouteDef {self.path}{protocol} -> {getattr(self.handler, '__name__', self.handler)!r}>"


def _route(
    path: str, handler: SessionHandler, *, name: str | None, protocol: str | None, **how: Any
) -> WebSocketRouteDef:
    return WebSocketRouteDef(path, aiohttp_handler(handler, protocol=protocol, **how), protocol=protocol, name=name)


def _route_or_handler(function: str, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
    """What ``websocket_raw`` and ``websocket`` return for each of their forms."""
    if args and isinstance(args[0], str):
        path, *rest = args
        if len(rest) != 1:
            raise TypeError(f"{function}(path, handler) takes a path and a handler")
        return _route(path, rest[0], name=how.pop("name", None), protocol=how.pop("protocol", None), **how)
    if "name" in how:
        raise TypeError("a name belongs to a route with a path")
    if not args:
        aiohttp_handler(_nothing, **how)  # checks the options where they are written
        return functools.partial(aiohttp_handler, **how)
    if len(args) > 1:
        raise TypeError(f"{function}(handler) takes a handler and keywords")
    return aiohttp_handler(args[0], **how)


@overload
def websocket_raw(
    path: str,
    handler: SessionHandler,
    /,
    *,
    name: str | None = None,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = False,
    **options: Any,
) -> WebSocketRouteDef: ...


@overload
def websocket_raw(
    handler: SessionHandler,
    /,
    *,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = False,
    **options: Any,
) -> Handler: ...


@overload
def websocket_raw(
    *,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = False,
    **options: Any,
) -> Callable[[SessionHandler], Handler]: ...


def websocket_raw(*args: Any, **how: Any) -> Any:
    """A raw WebSocket route: *control frames arrive, fragments are not joined, the closing handshake is yours.*

    ``websocket_raw(path, handler)`` goes into ``app.add_routes([...])``, next to ``web.get(...)``; it matches
    upgrades only, and shares its path with other routes. ``websocket_raw(handler)``, also as the decorator
    ``@websocket_raw`` or ``@websocket_raw(...)``, makes an aiohttp handler of it, for any route of aiohttp's.

    handler: ``async def handler(session)``; the session ends when it returns.
    name: of the route, for ``app.router[name]``.
    protocol: a subprotocol; the route is passed over where it is not offered.
    protocols: a choice of subprotocols: names in the server's order, or a callable ``(request, offered)``.
    negotiate_extensions: negotiate the extensions of the options; a raw session does not apply them.
    options: override the plugin's, see ``WebSocketOptions``. Checked now: TypeError, ValueError.
    """
    return _route_or_handler("websocket_raw", args, how)


@overload
def websocket(
    path: str,
    handler: SessionHandler,
    /,
    *,
    name: str | None = None,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = True,
    **options: Any,
) -> WebSocketRouteDef: ...


@overload
def websocket(
    handler: SessionHandler,
    /,
    *,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = True,
    **options: Any,
) -> Handler: ...


@overload
def websocket(
    *,
    protocol: str | None = None,
    protocols: Protocols = None,
    negotiate_extensions: bool = True,
    **options: Any,
) -> Callable[[SessionHandler], Handler]: ...


def websocket(*args: Any, **how: Any) -> Any:
    """A managed WebSocket route: whole messages; pings, timeouts and the closing handshake are taken care of.

    Used in the forms of ``websocket_raw`` and with the same arguments. Extensions are negotiated and applied unless
    ``negotiate_extensions=False``.
    """
    return _route_or_handler("websocket", args, {"negotiate_extensions": True, **how, "managed": True})


async def _nothing(session: object) -> None:
    """A handler that stands in for one not known yet."""


class RouteTableDef(web.RouteTableDef):
    """``web.RouteTableDef`` with ``websocket_raw`` and ``websocket``."""

    def __init__(self) -> None:
        super().__init__()
        self._definitions: list[web.AbstractRouteDef] = []

    def websocket_raw(
        self,
        path: str,
        *,
        name: str | None = None,
        protocol: str | None = None,
        protocols: Protocols = None,
        negotiate_extensions: bool = False,
        **options: Any,
    ) -> Callable[[SessionHandlerT], SessionHandlerT]:
        """Decorator: a raw WebSocket route, see the function ``websocket_raw``. The handler stays as it is."""
        how = {"protocols": protocols, "negotiate_extensions": negotiate_extensions, **options}
        return self._decorator(path, name=name, protocol=protocol, **how)

    def websocket(
        self,
        path: str,
        *,
        name: str | None = None,
        protocol: str | None = None,
        protocols: Protocols = None,
        negotiate_extensions: bool = True,
        **options: Any,
    ) -> Callable[[SessionHandlerT], SessionHandlerT]:
        """Decorator: a managed WebSocket route, see the function ``websocket``. The handler stays as it is."""
        how = {"protocols": protocols, "negotiate_extensions": negotiate_extensions, **options}
        return self._decorator(path, name=name, protocol=protocol, managed=True, **how)

    def _decorator(self, path: str, **how: Any) -> Callable[[SessionHandlerT], SessionHandlerT]:
        _route(path, _nothing, **how)  # raises where the decorator stands

        def decorate(handler: SessionHandlerT) -> SessionHandlerT:
            self._definitions.append(_route(path, handler, **how))
            return handler

        return decorate

    # The base class keeps its list to itself, so every kind of route is kept here instead, in one order.

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
