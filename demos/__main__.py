"""All demos on one server, with an index page."""

from __future__ import annotations

from html import escape
from types import ModuleType

from aiohttp import web

import aiohttp_rawws as rawws

from . import gateway, raw_echo, rsv2_extension, site, upload

DEMOS: list[ModuleType] = [raw_echo, rsv2_extension, gateway, upload]


async def index(request: web.Request) -> web.Response:
    items = "\n".join(
        f'<li><a href="{escape(demo.PATH)}">{escape(demo.TITLE)}</a>'
        f"<p>{escape(demo.SUMMARY)}</p><code>python -m {escape(demo.__name__)}</code></li>"
        for demo in DEMOS
    )
    text = (site.STATIC / "index.html").read_text(encoding="utf-8").replace("<!-- demos -->", items)
    return web.Response(text=text, content_type="text/html", headers=site.HEADERS)


def init(argv: list[str] | None = None) -> web.Application:
    """Make the application with every demo. ``python -m aiohttp.web`` calls this."""
    app = site.new_application()
    rawws.setup(app)
    app.router.add_get("/", index)
    for demo in DEMOS:
        demo.install(app)
    return app


if __name__ == "__main__":
    site.run(init(), __doc__)
