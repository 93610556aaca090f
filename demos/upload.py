"""Upload: drop a file, see it stream to the disk of the server as one message, and fetch it back.

The socket is a managed session, and each file is one message: ``receive_stream()`` takes it while it arrives, so a file
of any size needs no more memory than a small one. The server reports how far it is. ``send_stream()`` is the way back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from typing import IO

from aiohttp import web

import aiohttp_rawws as rawws

from . import site

PATH = "/upload"
TITLE = "Upload"
SUMMARY = "Drop a file: it streams to the disk of the server as one message, with its progress, and back."

LARGEST = 4 * 2**30  # bytes of a file
BETWEEN_REPORTS = 0.1  # seconds

routes = rawws.RouteTableDef()
routes.get(PATH)(site.page("upload.html"))


# ``max_frame_size``: a browser may send a file in one frame. ``frame_streaming_threshold``: the handler calls both
# ``receive()``, for orders, and ``receive_stream()``, so a message waits in pieces until one of them takes it.


@routes.websocket(PATH + "/socket", max_frame_size=None, frame_streaming_threshold=64 * 1024)
async def socket(session: rawws.DefaultWebSocketServerSession) -> None:
    with tempfile.TemporaryFile() as file:
        async for message in session:
            if message.text == "upload":
                await take(session, file)
            elif message.text == "download":
                await give(session, file)


async def take(session: rawws.DefaultWebSocketServerSession, file: IO[bytes]) -> None:
    """Write the next message to ``file`` while it arrives, and report it."""
    file.seek(0)
    file.truncate()
    digest = hashlib.sha256()
    began = reported = time.monotonic()
    async with session.receive_stream(max_size=LARGEST) as incoming:
        async for chunk in incoming:
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
            if time.monotonic() - reported > BETWEEN_REPORTS:
                reported = time.monotonic()
                await session.send(json.dumps({"received": incoming.received}))
    seconds = time.monotonic() - began
    report = {"received": incoming.received, "seconds": seconds, "sha256": digest.hexdigest()}
    await session.send(json.dumps(report))


async def give(session: rawws.DefaultWebSocketServerSession, file: IO[bytes]) -> None:
    """Send ``file`` as one message, which is read meanwhile."""
    file.seek(0)
    await session.send_stream(file)


def install(app: web.Application) -> None:
    """Add the demo to an application. Call ``rawws.setup()`` on it first."""
    app.add_routes(routes)


def init(argv: list[str] | None = None) -> web.Application:
    """Make an application with this demo alone. ``python -m aiohttp.web`` calls this."""
    app = site.new_application()
    rawws.setup(app)
    app.router.add_get("/", site.redirect(PATH))
    install(app)
    return app


if __name__ == "__main__":
    site.run(init(), __doc__)
