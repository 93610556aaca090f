"""What only real sockets show of a raw session."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools import peers


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_a_handler_that_only_sends_ends_when_the_peer_resets(managed):
    ended = asyncio.Event()

    async def flood(session):
        try:
            while True:
                await session.send(b"x" * 1000)
        except rawws.ConnectionLost:
            ended.set()
            raise

    app = web.Application()
    app.add_routes([rawws.websocket("/", flood) if managed else rawws.websocket_raw("/", flood)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open()
        reading = asyncio.ensure_future(peer.read(3 * 2**20))  # both ends share the loop: the flood must give way
        await asyncio.wait_for(reading, 20)
        peer.reset()
        await asyncio.wait_for(ended.wait(), 20)
        await served.idle()
