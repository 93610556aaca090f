"""aiohttp_rawws on a route of an aiohttp application, as users write it. Shared by the ours_*.py programs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web
from serving import LARGE, listen_aiohttp, serve

import aiohttp_rawws as rawws
from aiohttp_rawws._build import COMPILED


def application(routes: Iterable[web.AbstractRouteDef], **options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app, max_frame_size=LARGE, max_message_size=LARGE, **options)
    app.add_routes(routes)
    return app


def run(*routes: web.AbstractRouteDef, **options: Any) -> None:
    async def start() -> int:
        return await listen_aiohttp(application(routes, **options))

    package = Path(rawws.__file__).parent
    if bool(os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS")) is COMPILED:
        raise SystemExit(f"the core of {package} should be the other one: compiled is {COMPILED}")
    serve(start, "aiohttp", versions={"aiohttp_rawws": rawws.__version__}, compiled=COMPILED)
