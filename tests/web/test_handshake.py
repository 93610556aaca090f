"""The checks of the opening handshake (RFC 6455, section 4.2.1) and its answer (section 4.2.2)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aiohttp_rawws import HandshakeError
from aiohttp_rawws.web import handshake

from ..tools import peers


def headers(changes: dict[str, str | None] | None = None, *more: tuple[str, str]) -> CIMultiDictProxy[str]:
    fields = {**peers.UPGRADE, **(changes or {})}
    given = CIMultiDict({name: value for name, value in fields.items() if value is not None})
    given.extend(more)
    return CIMultiDictProxy(given)


def check(changes: dict[str, str | None] | None = None, *more: tuple[str, str], **how: Any) -> str:
    method, version = how.pop("method", "GET"), how.pop("version", (1, 1))
    return handshake.check_request(method, version, headers(changes, *more), **how)


def refused(*args: Any, **how: Any) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        check(*args, **how)
    return caught.value


def test_a_good_handshake_gives_the_key() -> None:
    assert check() == peers.KEY


def test_accept_key_of_the_rfc() -> None:
    assert handshake.accept_key(peers.KEY) == peers.ACCEPT
    assert handshake.accept_key(f" {peers.KEY} ") == peers.ACCEPT


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Connection": "upgrade"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "keep-alive ,\tUPGRADE , "},
        {"Sec-WebSocket-Key": f" {peers.KEY}\t"},
    ],
    ids=str,
)
def test_equivalent_handshakes(changes: dict[str, str | None]) -> None:
    assert check(changes) == peers.KEY


def test_an_empty_body_is_none() -> None:
    assert check({"Content-Length": "0"}) == peers.KEY


def test_repeated_lines_are_one_list() -> None:
    assert check({"Connection": "keep-alive"}, ("Connection", "Upgrade")) == peers.KEY
    assert check({"Upgrade": "h2c"}, ("upgrade", "websocket")) == peers.KEY


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ({"method": "POST"}, 405, "GET, not POST"),
        ({"method": "HEAD"}, 405, "GET, not HEAD"),
        ({"version": (1, 0)}, 400, "HTTP/1.1"),
        ({"has_body": True}, 400, "body"),
        ({"changes": {"Content-Length": "3"}}, 400, "body"),
        ({"changes": {"Transfer-Encoding": "chunked"}}, 400, "body"),
    ],
    ids=str,
)
def test_requests_that_cannot_upgrade(how: dict[str, Any], status: int, text: str) -> None:
    error = refused(**how)
    assert (error.status, text in str(error)) == (status, True)


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"Upgrade": None, "Connection": None}, 426, "upgrade"),
        ({"Upgrade": None}, 426, "upgrade"),
        ({"Upgrade": "h2c"}, 426, "upgrade"),
        ({"Upgrade": "websockets"}, 426, "upgrade"),
        ({"Upgrade": "Websoc\N{KELVIN SIGN}et"}, 426, "upgrade"),
        ({"Connection": None}, 400, "Connection"),
        ({"Connection": "keep-alive"}, 400, "Connection"),
        ({"Connection": "Upgraded"}, 400, "Connection"),
        ({"Sec-WebSocket-Version": None}, 426, "missing"),
        ({"Sec-WebSocket-Version": "8"}, 426, "version 8"),
        ({"Sec-WebSocket-Version": "013"}, 426, "version 013"),
        ({"Sec-WebSocket-Version": "13, 8"}, 426, "version 13, 8"),
        ({"Sec-WebSocket-Key": None}, 400, "missing"),
        ({"Sec-WebSocket-Key": ""}, 400, "0 bytes"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j"}, 400, "15 bytes"),
        ({"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()}, 400, "17 bytes"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400, "not base64"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j!Q=="}, 400, "not base64"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j\xe9Q=="}, 400, "not base64"),
    ],
    ids=str,
)
def test_each_field_is_checked(changes: dict[str, str | None], status: int, text: str) -> None:
    error = refused(changes)
    assert (error.status, text in str(error)) == (status, True), str(error)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 200])
def test_the_length_of_the_key(size: int) -> None:
    """16 bytes if strict; some charging stations send 32."""
    key = base64.b64encode(bytes(range(size))).decode()
    fields: dict[str, str | None] = {"Sec-WebSocket-Key": key}
    assert check(fields, strict=False) == key
    if size == 16:
        assert check(fields) == key
    else:
        error = refused(fields)
        assert (error.status, f"{size} bytes" in str(error)) == (400, True)


@pytest.mark.parametrize("key", [None, "", "dGhlIHNhbXBsZSBub25jZQ", "a b", "\x01", "dGhlIHNhbXBsZSBub25j!Q=="])
def test_a_lenient_key_is_base64(key: str | None) -> None:
    assert refused({"Sec-WebSocket-Key": key}, strict=False).status == 400


def test_a_repeated_key_is_refused() -> None:
    error = refused({}, ("sec-websocket-key", peers.KEY))
    assert (error.status, "more than once" in str(error)) == (400, True)


def test_refusals_carry_what_the_client_needs() -> None:
    assert refused({"Upgrade": None}).headers == {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert refused({"Sec-WebSocket-Version": "8"}).headers["Sec-WebSocket-Version"] == "13"
    assert refused(method="PUT").headers == {"Allow": "GET"}


def test_offered_protocols() -> None:
    assert handshake.offered_protocols(headers()) == ()
    assert handshake.offered_protocols(headers({"Sec-WebSocket-Protocol": "chat, super"})) == (
        "chat",
        "super",
    )
    repeated = headers({"Sec-WebSocket-Protocol": "b,a"}, ("Sec-WebSocket-Protocol", "c, a"))
    assert handshake.offered_protocols(repeated) == ("b", "a", "c")
    assert handshake.offered_protocols(headers({"Sec-WebSocket-Protocol": " , "})) == ()


@pytest.mark.parametrize("name", ["a b", 'say "hi"', "a/b", "caf\xe9", "a;b", "a\x7fb"])
def test_invalid_names_of_subprotocols(name: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        handshake.offered_protocols(headers({"Sec-WebSocket-Protocol": f"chat, {name}"}))
    assert caught.value.status == 400


def test_the_servers_order_decides() -> None:
    assert handshake.first_served(["b", "a"], ("a", "b")) == "b"
    assert handshake.first_served(["Chat"], ("chat",)) is None


def test_a_selection_must_have_been_offered() -> None:
    assert handshake.checked_selection(None, ("a",)) is None
    assert handshake.checked_selection("a", ("a", "b")) == "a"
    for chosen in ("c", "A", 1, ["a"]):
        with pytest.raises(RuntimeError, match="did not offer"):
            handshake.checked_selection(chosen, ("a", "b"))
