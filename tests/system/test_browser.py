"""The demo page in Chromium, used as a person uses it.

Skipped if there is no Chromium, unless RAWWS_REQUIRE_BROWSER is set. RAWWS_SCREENSHOTS=folder keeps the pictures.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ..tools.serving import serve

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
FLAGS = [  # nothing but the page: no look-ups of Google's hosts, no updates, no first-run page
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        EXECUTABLE is None and not os.environ.get("RAWWS_REQUIRE_BROWSER"),
        reason=f"no Chromium on PATH (looked for {', '.join(NAMES)}). On Debian: apt-get install chromium",
    ),
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert EXECUTABLE is not None, "RAWWS_REQUIRE_BROWSER is set, and there is no Chromium on PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS, timeout=60_000)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve("-m", "demos", "--port", "0") as address:
        yield address


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1180, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.extend([message.text] * (message.type == "error")))
    page.on("request", lambda request: problems.extend([request.url] * (not request.url.startswith(address))))
    page.goto(f"{address}/raw-echo")
    expect(page.get_by_role("status")).to_have_text("connected")
    yield page
    context.close()
    assert not problems


def rows(page: Page) -> Any:
    return page.locator("#frames tr")


def cells(page: Page, row: int) -> list[str]:
    expect(rows(page).nth(row)).to_be_visible()
    return [text.strip() for text in rows(page).nth(row).locator("td").all_inner_texts()]


def picture(page: Page, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("RAWWS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_index_leads_to_the_demo(page: Page, tmp_path: Path) -> None:
    page.get_by_role("link", name="aiohttp_rawws demos").click()
    expect(page.get_by_role("link", name="Raw echo")).to_be_visible()
    picture(page, "index", tmp_path)
    page.get_by_role("link", name="Raw echo").click()
    expect(page.get_by_role("status")).to_have_text("connected")


def test_a_message_is_shown_both_ways(page: Page) -> None:
    page.get_by_label("Message").fill("Grüße")
    page.get_by_role("button", name="Send").click()
    number, where, opcode, fin, rsv, length, key, payload = cells(page, 0)
    assert (number, where, opcode, fin, rsv, length) == ("1", "received", "1 text", "1", "0 0 0", "7")
    assert len(bytes.fromhex(key)) == 4
    assert payload.split() == ["Grüße", *"Grüße".encode().hex(" ").split()]
    assert cells(page, 1)[1:7] == ["sent", "1 text", "1", "0 0 0", "7", "none"]
    expect(rows(page)).to_have_count(2)


def test_binary_and_fragments(page: Page) -> None:
    page.get_by_label("Message").fill("abcde")
    page.get_by_label("Type").select_option("binary")
    page.get_by_label("Echoed in").select_option("2")
    page.get_by_label("Message").press("Enter")
    expect(rows(page)).to_have_count(3)
    seen = [(row[1], row[2], row[3], row[7]) for row in (cells(page, index) for index in range(3))]
    assert seen == [
        ("received", "2 binary", "1", "61 62 63 64 65"),
        ("sent", "2 binary", "0", "61 62 63"),
        ("sent", "0 continuation", "1", "64 65"),
    ]


def test_a_pong_of_the_browser_is_seen(page: Page) -> None:
    page.get_by_label("Ping payload").fill("knock")
    page.get_by_role("button", name="Ping from the server").click()
    assert cells(page, 0)[1:3] == ["sent", "9 ping"]
    pong = cells(page, 1)
    assert pong[1:3] == ["received", "10 pong"]
    assert pong[7].startswith("knock")


def test_the_browser_closes(page: Page) -> None:
    page.get_by_role("button", name="Close from the browser").click()
    expect(page.get_by_role("status")).to_have_text("closed: the browser reports code 4000 “enough seen”")
    assert cells(page, 0)[1:3] == ["received", "8 close"]
    assert cells(page, 1)[1:3] == ["sent", "8 close"]
    assert cells(page, 2) == ["session ended: Close received 4000, sent 4000"]
    page.get_by_role("button", name="Connect again").click()
    expect(page.get_by_role("status")).to_have_text("connected")
    page.get_by_role("button", name="Send").click()
    expect(rows(page)).to_have_count(5)


def test_the_server_closes(page: Page) -> None:
    page.get_by_label("Close code").fill("1013")
    page.get_by_label("Reason").fill("come back")
    page.get_by_role("button", name="Close from the server").click()
    expect(page.get_by_role("status")).to_have_text("closed: the browser reports code 1013 “come back”")
    assert cells(page, 0)[1:3] == ["sent", "8 close"]
    assert cells(page, 1)[1:3] == ["received", "8 close"]


def test_what_cannot_be_done_is_said(page: Page) -> None:
    page.get_by_label("Close code").fill("1005")
    page.get_by_role("button", name="Close from the server").click()
    expect(rows(page)).to_have_count(1)
    assert "1005" in cells(page, 0)[0]
    expect(page.get_by_role("status")).to_have_text("connected")


def test_the_page_behind_the_gateway(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/gateway/")
    expect(page.get_by_role("status")).to_have_text("connected")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#log")).to_have_text("Hello, other side\n")
    for place in ("#page", "#handshake"):
        expect(page.locator(place)).to_contain_text("X-Forwarded-For: 127.0.0.1")
    page.close()


def test_looks(page: Page, scheme: Any, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="Send").click()
    page.get_by_label("Type").select_option("binary")
    page.get_by_label("Echoed in").select_option("3")
    page.get_by_label("Message").fill("cut in three")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Ping from the server").click()
    expect(rows(page)).to_have_count(8)
    picture(page, f"raw-echo-{scheme}", tmp_path)
    page.set_viewport_size({"width": 390, "height": 844})
    picture(page, f"raw-echo-{scheme}-narrow", tmp_path)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0  # the table scrolls in its own box


def test_a_file_is_uploaded_and_comes_back(page: Page, address: str, tmp_path: Path) -> None:
    """As one message, which the handler streams to disk; the page shows what the server has written."""
    payload = random.Random(1).randbytes(2**20) * 20
    file = tmp_path / "big.bin"
    file.write_bytes(payload)
    page.goto(f"{address}/upload")
    expect(page.get_by_role("status")).to_have_text("connected")
    page.get_by_label("Drop a file here").set_input_files(file)
    expect(page.get_by_role("status")).to_have_text("the server has all of it", timeout=60_000)
    assert page.locator("#sha256").inner_text() == hashlib.sha256(payload).hexdigest()
    assert page.locator("#progress").evaluate("bar => bar.value") == 1
    page.get_by_role("button", name="Fetch it back").click()
    expect(page.get_by_role("status")).to_have_text("20.0 MiB came back", timeout=60_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the copy").click()
    assert Path(download.value.path()).read_bytes() == payload
    picture(page, "upload", tmp_path)


def test_a_file_that_is_dropped(page: Page, address: str) -> None:
    page.goto(f"{address}/upload")
    expect(page.get_by_role("status")).to_have_text("connected")
    files = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['dropped'], 'a.txt')); return data; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": files})
    expect(page.get_by_role("status")).to_have_text("the server has all of it")
    assert page.locator("#sha256").inner_text() == hashlib.sha256(b"dropped").hexdigest()
