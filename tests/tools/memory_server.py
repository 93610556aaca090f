"""The server whose memory ``test_limits_memory.py`` watches: a process of its own, limits as they are by default.

It prints its address, and answers ``GET /peak`` with the most memory it has had in RAM so far, in bytes.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

import aiohttp_rawws as rawws

STATUS = Path("/proc/self/status")
SOCKET_BUFFER = 16 * 1024  # the kernel's own buffers are not counted, so they should not take long to fill


def peak() -> int:
    if STATUS.exists():  # Linux; its ru_maxrss is that of the process that started this one, if that is larger
        (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


async def take(session: Any) -> None:
    async for _ in session:
        pass


async def take_nothing(session: Any) -> None:
    await session.wait_closed()


async def flood(session: Any) -> None:
    payload = bytes(10_000)
    while True:
        await session.send(payload)
        await asyncio.sleep(0)


async def echo_pings(session: Any) -> None:
    def on_frame(frame: Any) -> None:
        session.send_nowait(rawws.Frame.pong(frame.payload))

    await session.listen(on_frame)


async def tell_peak(request: web.Request) -> web.StreamResponse:
    return web.Response(text=str(peak()))


async def main() -> None:
    app = web.Application()
    rawws.setup(app, extensions=[rawws.PerMessageDeflate()])
    app.add_routes(
        [
            web.get("/peak", tell_peak),
            rawws.websocket_raw("/raw", take),
            rawws.websocket_raw("/raw/stuck", take_nothing),
            rawws.websocket_raw("/raw/flood", flood),
            rawws.websocket_raw("/raw/pings", echo_pings),
            rawws.websocket("/managed", take),
            rawws.websocket("/managed/stuck", take_nothing),
            rawws.websocket("/managed/flood", flood, negotiate_extensions=False),
            rawws.websocket("/managed/pings", take, max_control_rate=None),
        ]
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # inherited by what it accepts
        listening.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
