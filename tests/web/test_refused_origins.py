"""The first refusals of origins are warnings that say what to do."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws.web import refused_origins
from aiohttp_rawws.web.refused_origins import WARNINGS

from ..tools.peers import serving

ELSEWHERE = "http://localhost:5173"
PROXY = "Behind a proxy, let it keep the Host of the browser (nginx: proxy_set_header Host $http_host)."


async def handler(session: Any) -> None:
    """Never run."""


def application(**options: Any) -> tuple[web.Application, rawws.WebSockets]:
    app = web.Application()
    plugin = rawws.setup(app)
    app.add_routes([rawws.websocket("/chat", handler, **options)])
    return app, plugin


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    return caplog


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    records = [record for record in caplog.records if "(origins)" in record.getMessage()]
    return [(record.levelno, re.sub(r":\d+:", ":4711:", record.getMessage(), count=1)) for record in records]


async def test_the_first_ones(refusals: pytest.LogCaptureFixture) -> None:
    app, plugin = application()
    async with serving(app) as served:
        for _ in range(WARNINGS + 2):
            assert (
                await served.ask("/chat?token=secret", {"Origin": ELSEWHERE, "Host": "localhost:8080"})
            ).status == 403
    assert plugin.refused == {"origins": WARNINGS + 2}
    about = (
        "Refused a WebSocket, GET /chat from 127.0.0.1:4711: "
        f"its origin is '{ELSEWHERE}', its host 'localhost:8080' (origins)"
    )
    cure = f'. If this page may connect, set origins=["same-origin", "{ELSEWHERE}"]. {PROXY}'
    loud, quiet = (logging.WARNING, f"{about}{cure}"), (logging.INFO, about)
    last = (logging.WARNING, f"{about}{cure} Further ones are logged at INFO.")
    assert lines(refusals) == [loud] * (WARNINGS - 1) + [last, quiet, quiet]


async def test_the_cure_lets_the_page_in() -> None:
    app, plugin = application(origins=["same-origin", ELSEWHERE])
    async with serving(app) as served:
        assert (await served.ask("/chat", {"Origin": ELSEWHERE, "Host": "localhost:8080"})).status == 101
    assert not plugin.refused


def pages(origin: str, request: web.BaseRequest) -> bool:
    return False


CURES: dict[str, tuple[Any, str, str]] = {
    "a list": (
        ["https://example.org"],
        ELSEWHERE,
        f'If this page may connect, set origins=[..., "{ELSEWHERE}"].',
    ),
    "a list with same-origin": (
        ["same-origin", "https://example.org"],
        ELSEWHERE,
        f'If this page may connect, set origins=[..., "{ELSEWHERE}"]. {PROXY}',
    ),
    "a pattern": (
        re.compile("https://.*"),
        ELSEWHERE,
        f'If this page may connect, set origins=[..., "{ELSEWHERE}"].',
    ),
    "a function": (pages, ELSEWHERE, "The function in origins= has refused it."),
    "null": (["https://example.org"], "null", 'If this page may connect, set origins=[..., "null"].'),
    "no origin": ("same-origin", "x y'\x85\x1b", "That is not an origin as browsers send it."),
}


@pytest.mark.parametrize("case", CURES)
async def test_cures(case: str, refusals: pytest.LogCaptureFixture) -> None:
    origins, origin, cure = CURES[case]
    app, _ = application(origins=origins)
    async with serving(app) as served:
        assert (await served.ask("/chat", {"Origin": origin})).status in (400, 403)
    for level, line in lines(refusals):
        assert level == logging.WARNING
        assert line.endswith(f"(origins). {cure}")
        assert line.isascii() and line.isprintable()


async def test_two_fields(refusals: pytest.LogCaptureFixture) -> None:
    app, _ = application()
    async with serving(app) as served:
        assert (await served.ask("/chat", {"Origin": "http://127.0.0.1", "origin": "http://127.0.0.1"})).status == 403
    ((level, line),) = lines(refusals)
    assert level == logging.WARNING
    assert line.endswith("its origin is 'http://127.0.0.1, http://127.0.0.1', its host '127.0.0.1' (origins). "
                         "No browser sends two Origin fields.")  # fmt: skip


async def test_each_plugin_counts_its_own(refusals: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        app, _ = application()
        async with serving(app) as served:
            for _ in range(WARNINGS):
                await served.ask("/chat", {"Origin": ELSEWHERE})
    assert [level for level, _ in lines(refusals)] == [logging.WARNING] * 2 * WARNINGS


async def test_without_a_plugin(refusals: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_origins, "_without_plugin", Counter())
    for _ in range(2):
        app = web.Application()
        app.add_routes([rawws.websocket("/chat", handler)])
        async with serving(app) as served:
            for _ in range(WARNINGS - 1):
                assert (await served.ask("/chat", {"Origin": ELSEWHERE})).status == 403
    assert [level for level, _ in lines(refusals)] == [logging.WARNING] * WARNINGS + [logging.INFO] * (WARNINGS - 2)


async def test_on_a_low_level_server(refusals: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_origins, "_without_plugin", Counter())

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handler)

    async with serving(web.Server(answer)) as served:
        assert (await served.ask("/chat", {"Origin": ELSEWHERE})).status == 403
    assert [level for level, _ in lines(refusals)] == [logging.WARNING]
