"""The resource behind a WebSocket route, which matches upgrades only, and its place in the router.

aiohttp's router asks the resources of a path in the order of its index and takes the first match. So a WebSocket has to
stand before a page of the same path, and one that needs a subprotocol before one that does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_urldispatcher import MatchedSubAppResource
from yarl import URL

from ..errors import HandshakeError
from . import handshake
from .refusal import as_refusal, refusal

Resolved = tuple["web.UrlMappingMatchInfo | None", set[str]]

# Set while a resource asks the router for another match: the WebSocket resources that did not match this request.
_not_matching: ContextVar[list[WebSocketResource] | None]
_not_matching = ContextVar("aiohttp_rawws.not_matching", default=None)


class RefusedMatch(web.UrlMappingMatchInfo):
    """The match of a request whose path has WebSocket routes only, none of which accepts it."""

    __slots__ = ("_refusal",)

    def __init__(self, match: web.UrlMappingMatchInfo, route: web.AbstractRoute, refusal: web.HTTPException) -> None:
        super().__init__(dict(match), route)
        self._refusal = refusal

    @property
    def http_exception(self) -> web.HTTPException:
        return self._refusal


async def _refuse(request: web.Request) -> web.StreamResponse:
    # One function for all refusals: aiohttp caches a chain of middlewares for each handler.
    exception = request.match_info.http_exception
    assert exception is not None
    raise as_refusal(request, exception)


class WebSocketResource(web.Resource):
    """A resource of one path that matches upgrades only. An aiohttp resource inside it matches the path.

    Tools that go over all routes may add routes of other methods to it, such as the OPTIONS of CORS.

    Attributes:
        protocol: The subprotocol that a request must offer, or None.
        route: The route.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        *,
        router: web.UrlDispatcher,
        protocol: str | None,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        self.protocol = protocol
        self._router = router
        self._inner = web.UrlDispatcher().add_resource(path, name=name)
        self.route: web.ResourceRoute = self.add_route("GET", handler)
        self._refusing = web.ResourceRoute("GET", _refuse, self)
        self._indexed_twice = False

    # ---- matching ---------------------------------------------------------------------

    def register_route(self, route: web.ResourceRoute) -> None:
        super().register_route(route)
        self._inner.register_route(route)

    def _match(self, path: str) -> None:
        """The method that a subclass of ``web.Resource`` must have. ``resolve()`` does its work."""

    async def resolve(self, request: web.Request) -> Resolved:
        match, allowed = await self._inner.resolve(request)
        if match is None or match.route is not self.route:
            return match, allowed  # another path; or another method, and the router answers 405 if it has no route
        offered = handshake.elements(request.headers, "Sec-WebSocket-Protocol")
        reason: HandshakeError | None = None
        try:
            handshake.check_upgrade(request.method, request.version, request.headers)
        except HandshakeError as error:
            reason = error
        else:
            if self.protocol is None or self.protocol in offered:
                return match, allowed
        not_matching = _not_matching.get()
        if not_matching is not None:
            not_matching.append(self)
            return None, allowed
        # Without another match the router would answer 404. Ask it, and answer with the reason instead.
        not_matching = [self]
        token = _not_matching.set(not_matching)
        try:
            other = await self._router.resolve(request)
        finally:
            _not_matching.reset(token)
        if other.http_exception is None:
            return other, allowed
        if reason is None:
            served = dict.fromkeys(resource.protocol for resource in not_matching if resource.protocol is not None)
            reason = handshake.not_offered(list(served), offered)
        return RefusedMatch(match, self._refusing, refusal(request, reason)), allowed

    def raw_match(self, path: str) -> bool:
        """Return False always: else a later ``add_get(path)`` would be added to this resource."""
        return False

    # ---- order ------------------------------------------------------------------------

    def add_prefix(self, prefix: str) -> None:
        # When an application is mounted, aiohttp goes through its resources in the order of registration. Each is
        # removed from the index, gets its prefix here, and is appended to the index, so that our order is lost. It is
        # made again here for the resources that were moved so far. This one is then in the index before aiohttp
        # appends it, so it stands there twice. The second entry does no harm, and the next prefix removes it.
        router = self._router
        if self._indexed_twice:
            router.unindex_resource(self)
            self._indexed_twice = False
        self._inner.add_prefix(prefix)
        before = []
        for resource in router.resources():
            if resource is self:
                break
            before.append(resource)
        if any(_shape(resource) == _shape(self) for resource in before):
            router.index_resource(self)
            _put_sockets_first(router, [*before, self])
            self._indexed_twice = True

    def put_first(self) -> None:
        """Move this resource before the pages of the same path that were registered earlier."""
        resources = list(self._router.resources())
        if any(_shape(resource) == _shape(self) for resource in resources if resource is not self):
            _put_sockets_first(self._router, resources)

    def unindex(self) -> None:
        """Remove this resource from the router's index."""
        self._router.unindex_resource(self)
        if self._indexed_twice:
            self._router.unindex_resource(self)
            self._indexed_twice = False

    # ---- what aiohttp asks of any resource --------------------------------------------

    @property
    def canonical(self) -> str:
        return self._inner.canonical

    def url_for(self, **parts: str) -> URL:
        return self._inner.url_for(**parts)

    def get_info(self) -> Any:
        return self._inner.get_info()

    def freeze(self) -> None:
        self._inner.freeze()

    def __repr__(self) -> str:
        protocol = "" if self.protocol is None else f" protocol={self.protocol!r}"
        return f"<WebSocketResource {self.canonical}{protocol}>"


def _shape(resource: web.AbstractResource) -> str | None:
    """Return the path with its variables unnamed: ``/{room}`` and ``/{name}`` match the same requests."""
    if isinstance(resource, MatchedSubAppResource):
        return None  # it has a rule (a domain) instead of a path, and the router keeps it apart
    return re.sub(r"\{[^{}]*\}", "{}", resource.canonical)


def _put_sockets_first(router: web.UrlDispatcher, resources: Sequence[web.AbstractResource]) -> None:
    """Index ``resources`` again, with the WebSockets of each path before its pages.

    The WebSockets of a path stand where its first resource stood, those with a subprotocol first. All else keeps its
    order.
    """
    sockets: dict[str | None, list[WebSocketResource]] = {}
    for resource in resources:
        if isinstance(resource, WebSocketResource):
            sockets.setdefault(_shape(resource), []).append(resource)
    ordered: list[web.AbstractResource] = []
    for resource in resources:
        shape = _shape(resource)
        if shape is None:
            continue
        ordered += sorted(sockets.pop(shape, ()), key=lambda socket: socket.protocol is None)
        if isinstance(resource, WebSocketResource):
            resource.unindex()
        else:
            router.unindex_resource(resource)
            ordered.append(resource)
    for resource in ordered:
        router.index_resource(resource)
