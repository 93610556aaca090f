"""The resource behind a WebSocket route: it matches upgrades only, and has its place in aiohttp's index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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

# While a router is asked whether anything else serves a request: the WebSocket resources that passed it over.
_passing_over: ContextVar[list[WebSocketResource] | None]
_passing_over = ContextVar("aiohttp_rawws.passing_over", default=None)


class RefusedMatch(web.UrlMappingMatchInfo):
    """The match of a request that only WebSocket routes would serve, were it an upgrade they accept."""

    __slots__ = ("_refusal",)

    def __init__(self, match: web.UrlMappingMatchInfo, route: web.AbstractRoute, refusal: web.HTTPException) -> None:
        super().__init__(dict(match), route)
        self._refusal = refusal

    @property
    def http_exception(self) -> web.HTTPException:
        return self._refusal


async def _refuse(request: web.Request) -> web.StreamResponse:
    # One handler for all of them: aiohttp caches the middleware chain of each handler it sees.
    exception = request.match_info.http_exception
    assert exception is not None
    raise as_refusal(request, exception)


class WebSocketResource(web.AbstractResource):
    """One path with a route that matches upgrades only, and only those that offer ``protocol`` if it names one.

    Paths, patterns and prefixes are the business of a resource of aiohttp's own, kept inside.
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
        self.route = web.ResourceRoute("GET", handler, self)
        self._inner.register_route(self.route)
        self._refusing = web.ResourceRoute("GET", _refuse, self)
        self._indexed_twice = False

    # ---- matching ---------------------------------------------------------------------

    async def resolve(self, request: web.Request) -> Resolved:
        match, allowed = await self._inner.resolve(request)
        if match is None:
            return None, allowed  # another path; or another method, which the router answers with 405
        offered = handshake.elements(request.headers, "Sec-WebSocket-Protocol")
        miss: HandshakeError | None = None
        try:
            handshake.check_upgrade(request.method, request.version, request.headers)
        except HandshakeError as error:
            miss = error
        else:
            if self.protocol is None or self.protocol in offered:
                return match, allowed
        passed_over = _passing_over.get()
        if passed_over is not None:
            passed_over.append(self)
            return None, allowed
        # The router would answer 404 if nothing else matched. Ask it, and if so say what is wrong instead.
        passed_over = [self]
        token = _passing_over.set(passed_over)
        try:
            other = await self._router.resolve(request)
        finally:
            _passing_over.reset(token)
        if other.http_exception is None:
            return other, allowed
        if miss is None:
            served = dict.fromkeys(resource.protocol for resource in passed_over if resource.protocol is not None)
            miss = handshake.not_offered(list(served), offered)
        return RefusedMatch(match, self._refusing, refusal(request, miss)), allowed

    def raw_match(self, path: str) -> bool:
        """Never: ``add_get(path)`` behind us would land in here instead of in a resource of its own."""
        return False

    # ---- order ------------------------------------------------------------------------

    def add_prefix(self, prefix: str) -> None:
        # aiohttp takes each resource of an application that is mounted out of the index, gives it its prefix, and
        # appends it again, in the order of registration, which undoes ours. So it is made again here, among those
        # that have their turn behind them. That puts us into the index, and aiohttp will append us once more: a
        # second entry that only sees what the first has passed over, and is taken out the next time.
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
        """Move before the pages of the same path, wherever they were registered."""
        resources = list(self._router.resources())
        if any(_shape(resource) == _shape(self) for resource in resources if resource is not self):
            _put_sockets_first(self._router, resources)

    def take_out(self) -> None:
        """Out of the router's index."""
        self._router.unindex_resource(self)
        if self._indexed_twice:
            self._router.unindex_resource(self)
            self._indexed_twice = False

    # ---- the rest, as aiohttp has it --------------------------------------------------

    @property
    def canonical(self) -> str:
        return self._inner.canonical

    def url_for(self, **parts: str) -> URL:
        return self._inner.url_for(**parts)

    def get_info(self) -> Any:
        return self._inner.get_info()

    def freeze(self) -> None:
        self._inner.freeze()

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter((self.route,))

    def __repr__(self) -> str:
        protocol = "" if self.protocol is None else f" protocol={self.protocol!r}"
        return f"<WebSocketResource {self.canonical}{protocol}>"


def _shape(resource: web.AbstractResource) -> str | None:
    """What two resources of the same path have in common: ``/{room}`` and ``/{name}`` match the same requests."""
    if isinstance(resource, MatchedSubAppResource):
        return None  # a rule, not a path; the router keeps these apart
    return re.sub(r"\{[^{}]*\}", "{}", resource.canonical)


def _put_sockets_first(router: web.UrlDispatcher, resources: Sequence[web.AbstractResource]) -> None:
    """Index ``resources`` again, in their order but for this: in the place of the first resource of each shape come
    the WebSockets of that shape, those with a subprotocol first."""
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
            resource.take_out()
        else:
            router.unindex_resource(resource)
            ordered.append(resource)
    for resource in ordered:
        router.index_resource(resource)
