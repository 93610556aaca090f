"""Our gateway, as a program: ``UPSTREAM=ws://127.0.0.1:9001 python -m tests.autobahn.gateway bytes``.

"bytes" is ``pump()`` as it is by default, "frames" one with an ``on_frame`` that changes nothing. The latter gets each
frame in pieces while it arrives, since the other side may refuse it already (cases 6.4.3 and 6.4.4).
"""

from __future__ import annotations

import os
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws

from .serving import Started, our_versions, serve

Item = rawws.Frame | rawws.FrameChunk


def same(item: Item, session: rawws.WebSocketSession) -> Item:
    return item


async def start(port: int, **how: Any) -> Started:
    upstream = URL(os.environ["UPSTREAM"])
    # No limit: each session holds a connection of the connector.
    connector = aiohttp.TCPConnector(limit=0)
    http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def forward(request: web.Request) -> web.StreamResponse:
        target = rawws.upstream_url(upstream, request)
        # The suite as a server refuses a Host with another port than its own.
        return await rawws.proxy_upgrade(request, http, target, preserve_host=False, **how)

    app = web.Application()
    rawws.setup(app)
    app.router.add_route("*", "/{tail:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return Started(runner.addresses[0][1], ["aiohttp"], our_versions())


async def start_frames(port: int) -> Started:
    return await start(port, on_frame=same, frame_streaming_threshold=0)


if __name__ == "__main__":
    serve({"bytes": start, "frames": start_frames})
