"""``setup(app, **options)``, which installs the plugin, and the plugin's middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_app import Application  # OpenTelemetry puts a subclass of it in the place of web.Application

from .options import PluginOptionsDict, WebSocketOptions
from .plugin import WEBSOCKETS, WebSockets
from .supervisor import SUPERVISOR, Supervisor
from .upgrade import UpgradeWatch, WebSocketUpgrade, upgrade_watch

if TYPE_CHECKING:
    from typing_extensions import Unpack


def setup(app: web.Application, **options: Unpack[PluginOptionsDict]) -> WebSockets:
    """Install the plugin in ``app``: options for its routes, a view of its live sessions, an orderly shutdown.

    Call it once, on the outermost application, before the application is started or added to another. An inner
    application may have a plugin of its own, whose options and sessions are then separate.

    Args:
        app: The application.
        options: Options of ``WebSocketOptions``, as keywords.

    Returns:
        The plugin, which is also under ``app[WEBSOCKETS]``.

    Raises:
        TypeError: ``app`` is not an application, or an option is unknown or of the wrong type.
        ValueError: An option is out of range.
        RuntimeError: It was called before on this application, or too late.
    """
    if not isinstance(app, Application):
        raise TypeError(f"setup() needs a web.Application, not {app!r}")
    if WEBSOCKETS in app:
        raise RuntimeError("setup() was called on this application before")
    if app.frozen or app.pre_frozen:
        raise RuntimeError("setup() must be called before the application is started or added to another")
    supervisor = Supervisor(WebSocketOptions.of(options))
    app[SUPERVISOR] = supervisor
    app[WEBSOCKETS] = supervisor.plugin
    app.middlewares.insert(0, finish_upgrades)

    async def on_startup(app: web.Application) -> None:
        supervisor.freeze()

    async def on_shutdown(app: web.Application) -> None:
        await supervisor.shutdown()

    app.on_startup.append(on_startup)
    app.on_shutdown.append(on_shutdown)
    return supervisor.plugin


@web.middleware
async def finish_upgrades(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Prepare an upgrade that a handler returns, and keep what is raised or returned after the 101 from aiohttp.

    An upgrade is prepared after all other middlewares, so that they can add headers to the 101, and before the aiohttp
    handler is done: then aiohttp would take it for a declined one, and read the frames behind the handshake as HTTP.
    """
    if (outer := upgrade_watch.get()) is not None and outer.protocol is request.protocol:
        return await handler(request)  # an outer application has the plugin, too
    watch = UpgradeWatch(request.protocol)
    token = upgrade_watch.set(watch)
    try:
        response = await handler(request)
    except Exception as exc:
        if watch.upgrade is None:
            raise
        return await watch.upgrade.instead_of(exc)
    finally:
        upgrade_watch.reset(token)
    if watch.upgrade is not None:
        return watch.upgrade if response is watch.upgrade else await watch.upgrade.instead_of(response)
    if isinstance(response, WebSocketUpgrade) and not response.prepared:
        try:
            await response.prepare(request)
        except ConnectionError:
            pass  # the client is gone before the 101; raised, it would be logged as an error of the handler
    return response
