"""A gateway of ours: bytes pass as they are. With GATEWAY_FRAMES set, a callback sees each frame."""

from __future__ import annotations

import os
from typing import Any

import aiohttp
import ours
from gateway import upstream
from serving import HOST

import aiohttp_rawws as rawws

port = upstream()
on_frame: Any = (lambda item, source: item) if os.environ.get("GATEWAY_FRAMES") else None
options: Any = {"max_frame_size": None, "strict": "hop", "frame_streaming_threshold": 64 * 1024}


async def gateway(session: rawws.WebSocketServerSession) -> None:
    async with aiohttp.ClientSession() as http:
        behind = await rawws.connect_raw(http, f"ws://{HOST}:{port}/", **options)
        await rawws.pump(session, behind, on_frame=on_frame)


ours.run(rawws.websocket_raw("/", gateway, **options))
