"""The server under load: ``python -m tests.soak.server``, on a free port that it prints."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools.faults import echo, listening_echo, managed_echo


async def slow_reader(session: Any) -> None:
    """Echoes, and takes its time between frames, so that its peer is slowed down."""
    async for item in session:
        await asyncio.sleep(0.002)
        if item.opcode is rawws.Opcode.CLOSE:
            await session.send(rawws.Frame.close(1000))
            return
        await session.send(rawws.Frame.pong(item.payload) if item.opcode is rawws.Opcode.PING else item)


def pumping(port: Callable[[], int], **how: Any) -> Callable[[rawws.WebSocketServerSession], Awaitable[None]]:
    """A handler that is a gateway to ``/raw``."""

    async def handler(session: rawws.WebSocketServerSession) -> None:
        async with aiohttp.ClientSession() as http:
            behind = await rawws.connect_raw(http, f"ws://127.0.0.1:{port()}/raw", close_timeout=2.0)
            await rawws.pump(session, behind, **how)

    return handler


def same(item: Any, source: object) -> Any:
    return item


async def later(item: Any, source: object) -> Any:
    await asyncio.sleep(0)
    return item


async def main() -> None:
    app = web.Application()

    def port() -> int:
        return int(runner.addresses[0][1])

    rawws.setup(app, close_timeout=2.0)
    app.add_routes(
        [
            rawws.websocket_raw("/raw", echo),
            rawws.websocket_raw("/listen", listening_echo),
            rawws.websocket_raw("/slow", slow_reader),
            rawws.websocket_raw("/pump", pumping(port)),
            rawws.websocket_raw("/pump-frames", pumping(port, on_frame=same)),
            rawws.websocket_raw("/pump-later", pumping(port, on_frame=later)),
            rawws.websocket("/managed", managed_echo),
            rawws.websocket("/deflate", managed_echo, extensions=[rawws.PerMessageDeflate()]),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the other side hangs up
    assert runner.server is not None
    for _ in range(500):
        if not runner.server.connections and not app[rawws.WEBSOCKETS].sessions:
            break
        await asyncio.sleep(0.01)
    left = len(runner.server.connections), len(app[rawws.WEBSOCKETS].sessions)
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("rawws")]
    print(f"left: {left[0]} connections, {left[1]} sessions, {len(tasks)} tasks", flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        loop = uvloop.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
