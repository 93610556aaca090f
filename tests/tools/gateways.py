"""A gateway in front of a server that a test has made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws

from .peers import Served, serving

HTTP = web.AppKey("HTTP", aiohttp.ClientSession)


class Gateway(Served):
    """A running gateway.

    Attributes:
        app: Its application.
        http: The ClientSession that it uses.
        errors: What its handler has raised, but refusals.
    """

    app: web.Application
    http: aiohttp.ClientSession
    errors: list[BaseException]

    @property
    def held(self) -> int:
        """Places in the connector that are taken."""
        connector: Any = self.http.connector
        return len(connector._acquired)


@asynccontextmanager
async def gateway(
    url: str | URL,
    *,
    strip: str = "",
    plugin: dict[str, Any] | None = {},  # noqa: B006
    connector: Callable[[], aiohttp.BaseConnector] | None = None,
    serve: dict[str, Any] | None = None,
    on_prepare: Callable[[web.Request, web.StreamResponse], Awaitable[None]] | None = None,
    **how: Any,
) -> AsyncIterator[Gateway]:
    """Run a gateway to ``url``, whose path is the prefix.

    Args:
        url: The base of the upstream server.
        strip: As for ``upstream_url()``.
        plugin: Options of ``setup()``. None: there is no plugin.
        connector: Makes the connector of the ClientSession.
        serve: Options of ``serving()``.
        on_prepare: A callback for ``on_response_prepare``.
        how: Options of ``proxy_upgrade()``.
    """
    errors: list[BaseException] = []
    base = URL(url)

    async def forward(request: web.Request) -> web.StreamResponse:
        try:
            target = rawws.upstream_url(base, request, strip=strip)
            return await rawws.proxy_upgrade(request, request.app[HTTP], target, **how)
        except web.HTTPException:
            raise
        except BaseException as exc:
            errors.append(exc)
            raise

    app = web.Application()
    if plugin is not None:
        rawws.setup(app, **plugin)
    app.router.add_route("*", "/{tail:(?s:.*)}", forward)
    if on_prepare is not None:
        app.on_response_prepare.append(on_prepare)
    made = None if connector is None else connector()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=made) as http:
        app[HTTP] = http
        async with serving(app, **(serve or {})) as served:
            running = Gateway(served.runner, served.host, served.port, served.unix, served.tls)
            running.app, running.http, running.errors = app, http, errors
            yield running
