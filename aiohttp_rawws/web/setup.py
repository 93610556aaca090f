"""The plugin: ``setup(app, **options)``."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from .options import WebSocketOptions
from .plugin import WEBSOCKETS, WebSockets
from .upgrade import WebSocketUpgrade, middleware_prepares


def setup(app: web.Application, **options: Any) -> WebSockets:
    """Install the plugin in ``app``: options for its routes, a registry of live sessions, an orderly shutdown.

    Call it once, on the outermost application, before the application is started or added to another. An inner
    application may have one of its own, whose options and registry then hold there.
    options: see ``WebSocketOptions``; TypeError for an unknown one, ValueError for one out of range.
    """
    if not isinstance(app, web.Application):
        raise TypeError(f"setup() needs a web.Application, not {app!r}")
    if WEBSOCKETS in app:
        raise RuntimeError("setup() was called on this application before")
    if app.frozen or app.pre_frozen:
        raise RuntimeError("setup() comes before the application is started or added to another")
    plugin = WebSockets(WebSocketOptions.of(options))
    app[WEBSOCKETS] = plugin
    app.middlewares.insert(0, prepare_upgrades)

    async def on_startup(app: web.Application) -> None:
        plugin.freeze()

    async def on_shutdown(app: web.Application) -> None:
        await plugin.shutdown()

    app.on_startup.append(on_startup)
    app.on_shutdown.append(on_shutdown)
    return plugin


@web.middleware
async def prepare_upgrades(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Prepare an upgrade after every other middleware, but before aiohttp calls its handler done: then it would
    take an upgrade that nobody claimed for a declined one, and read the frames behind it as HTTP."""
    if middleware_prepares.get() is request.protocol:
        return await handler(request)  # an outer application has the plugin too
    token = middleware_prepares.set(request.protocol)
    try:
        response = await handler(request)
    finally:
        middleware_prepares.reset(token)
    if isinstance(response, WebSocketUpgrade) and not response.prepared:
        try:
            await response.prepare(request)
        except ConnectionError:
            pass  # gone before the 101: aiohttp will notice, and would log it as a handler's error here
    return response
