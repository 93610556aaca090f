"""The handshake of a gateway, between a client and an upstream server made of bytes. The ids are those of the
requirements; those about refusals are in ``test_upgrade_refusals.py``."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping
from yarl import URL

import aiohttp_rawws as rawws

from ..tools import peers
from ..tools.gateways import gateway
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import KEY, LOSES_TAILS, TEXT, close_frame, frame, request_bytes
from ..tools.waiting import eventually

TIMEOUT = 20.0

# Each test here takes a handshake over TCP on both sides.


def with_lines(request: bytes, *lines: str) -> bytes:
    """``request`` with further lines in its head."""
    head, _, rest = request.partition(b"\r\n\r\n")
    return b"\r\n".join([head, *(line.encode() for line in lines)]) + b"\r\n\r\n" + rest


class Upstream:
    """A script that accepts a session, keeps the request, and closes when the client does.

    Attributes:
        answer: The fields of its 101.
        line: The first line of the request.
        fields: The header fields of the request.
    """

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.answer = answer
        self.line = ""
        self.fields: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())

    async def __call__(self, peer: HandPeer) -> None:
        await peer.accept(self.answer)
        self.line, self.fields = peer.line, peer.fields
        while (await peer.frame_of_client())[0] != 0x88:
            pass
        await peer.send(b"\x88\x02\x03\xe8")


async def handshake(
    upstream: Upstream,
    *lines: str,
    path: str = "/",
    headers: dict[str, str | None] | None = None,
    edit: Any = None,
    **how: Any,
) -> peers.Answer:
    """Open a session through a gateway and close it. Returns the 101.

    Args:
        lines: Further lines of the request.
        headers: Changes of its fields.
        edit: The option ``headers`` of the gateway.
    """
    async with (
        hand_server(upstream) as server,
        gateway(server.url, headers=edit, **how) as served,
        served.peer() as peer,
    ):
        await peer.send(with_lines(request_bytes(path, headers), *lines))
        answer = await peer.answer()
        assert answer.status == 101, answer
        assert answer.headers["Sec-WebSocket-Accept"] == peers.ACCEPT
        await peer.finish()
        await eventually(lambda: not served.held)
        assert not served.errors
    return answer


async def test_g1_no_101_before_the_upstream_server_has_given_one() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        answer = asyncio.ensure_future(peer.answer())
        await asyncio.sleep(0.1)
        assert not answer.done()
        go.set()
        assert (await answer).status == 101
        peer.reset()
        await eventually(lambda: not served.held)


# ---- what the upstream server gets -----------------------------------------------------------


async def test_g7_subprotocols_go_on_whole_and_in_order() -> None:
    upstream = Upstream({"Sec-WebSocket-Protocol": "v2"})
    lines = ["Sec-WebSocket-Protocol: v3,v2 , v1", "sec-websocket-protocol: v0", "Sec-WebSocket-Protocol: v2"]
    answer = await handshake(upstream, *lines)
    assert upstream.fields.getall("Sec-WebSocket-Protocol") == ["v3,v2 , v1", "v0", "v2"]
    assert answer.headers.getall("Sec-WebSocket-Protocol") == ["v2"]


async def test_g7_no_subprotocol_is_chosen_here() -> None:
    answer = await handshake(Upstream(), "Sec-WebSocket-Protocol: v1", plugin={"extensions": []})
    assert "Sec-WebSocket-Protocol" not in answer.headers


async def test_g8_extensions_go_both_ways_as_they_are() -> None:
    offers = ["permessage-deflate; client_max_window_bits ,x-a", 'x-b; q="a, b";r=1']
    answers = ['permessage-deflate;server_max_window_bits="10"', "x-b ; t"]
    upstream = Upstream({"Sec-WebSocket-Extensions": answers})
    # Options of the plugin have no part in it.
    answer = await handshake(
        upstream,
        *(f"Sec-WebSocket-Extensions: {line}" for line in offers),
        plugin={"extensions": [rawws.PerMessageDeflate()]},
    )
    assert upstream.fields.getall("Sec-WebSocket-Extensions") == offers
    assert answer.headers.getall("Sec-WebSocket-Extensions") == answers


async def test_g8_compressed_frames_arrive_as_they_left() -> None:
    async def script(peer: HandPeer) -> None:
        await peer.accept({"Sec-WebSocket-Extensions": "permessage-deflate"})
        first, payload = await peer.frame_of_client()
        await peer.send(bytes([first, len(payload)]) + payload)
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.open("/", {"Sec-WebSocket-Extensions": "permessage-deflate"})
        await peer.send(frame(0x40 | TEXT, b"no deflate stream"))
        assert await peer.frame() == (0x40 | TEXT, b"no deflate stream")
        peer.reset()
        await eventually(lambda: not served.held)


async def test_g9_the_handshake_of_each_hop_is_its_own() -> None:
    upstream = Upstream()
    await handshake(upstream, "Keep-Alive: timeout=5", "Content-Length: 0")
    for name in ("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Host"):
        assert len(upstream.fields.getall(name)) == 1, name
    assert (upstream.fields["Upgrade"], upstream.fields["Connection"]) == ("websocket", "Upgrade")
    assert upstream.fields["Sec-WebSocket-Version"] == "13"
    assert upstream.fields["Sec-WebSocket-Key"] != KEY
    assert "Content-Length" not in upstream.fields


@pytest.mark.parametrize("value", ["keep-alive, Upgrade", "UPGRADE,close", " , upgrade ,, keep-alive"])
async def test_g10_lists_in_connection(value: str) -> None:
    await handshake(Upstream({"Connection": value}), headers={"Connection": value})


async def test_g10_several_lines_of_connection() -> None:
    await handshake(Upstream({"Connection": ["keep-alive", "upgrade"]}), "connection: keep-alive")


HOP = ["Keep-Alive: a", "Proxy-Connection: b", "Proxy-Authorization: c", "TE: trailers", "Trailer: d", "X-Named: e"]


async def test_g11_fields_about_one_connection_stay_there() -> None:
    hop = dict.fromkeys((*(line.partition(":")[0] for line in HOP), "X-Other"), "x")
    upstream = Upstream({**hop, "Connection": "x-named, Upgrade", "X-Kept": "1"})
    answer = await handshake(
        upstream,
        *HOP,
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "X-Kept: 2",
        headers={"Connection": "X-Named, Upgrade, HTTP2-Settings, Host"},
    )
    names = {line.partition(":")[0] for line in HOP} | {"HTTP2-Settings"}
    assert not {name for name in names if name in upstream.fields}
    assert (upstream.fields["X-Kept"], upstream.fields["Host"]) == ("2", "127.0.0.1")
    assert not {name for name in names if name in answer.headers}
    assert (answer.headers["X-Kept"], answer.headers["X-Other"]) == ("1", "x")
    assert answer.headers.getall("Connection") == ["Upgrade"]


async def test_g12_all_other_fields_are_unchanged() -> None:
    lines = [
        'Cookie: a=1; b="2, x";c= 3;;',
        "Cookie: d=4",
        "Authorization: Bearer xyz==",
        "X-Custom: one",
        "x-custom:  two, three",
        "Accept-Language: de",
        "X-Empty: ",
        "X-Text: naïve ☃",
    ]
    upstream = Upstream()
    await handshake(upstream, *lines)
    for name in {line.partition(":")[0].lower() for line in lines}:
        given = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(f"{name}:")]
        # The tool reads bytes.
        assert [text.encode("latin-1").decode() for text in upstream.fields.getall(name)] == given


async def test_g12_no_field_of_the_client_library_is_added() -> None:
    upstream = Upstream()
    await handshake(upstream, forwarded=None)
    expected = {"Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"}
    assert set(upstream.fields) == expected
    await handshake(upstream, "User-Agent: mine", "Accept-Encoding: br", "Accept: text/html", forwarded=None)
    assert set(upstream.fields) == {*expected, "User-Agent", "Accept-Encoding", "Accept"}
    assert (upstream.fields["User-Agent"], upstream.fields["Accept-Encoding"]) == ("mine", "br")


async def test_g12_a_field_that_cannot_go_on() -> None:
    async with hand_server(Upstream()) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes().replace(b"\r\n\r\n", b"\r\nX-Latin: \xe9\r\n\r\n"))
        assert (await peer.answer()).status == 400
        assert not server.connections


async def test_g13_all_cookies_reach_the_client() -> None:
    cookies = ["a=1; Path=/; HttpOnly", "b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "a=3"]
    answer = await handshake(Upstream({"Set-Cookie": cookies}))
    assert answer.headers.getall("Set-Cookie") == cookies


async def test_g13_cookies_of_one_client_are_not_sent_for_another() -> None:
    upstream = Upstream({"Set-Cookie": "secret=1"})
    async with hand_server(upstream) as server, gateway(server.url) as served:
        for _ in range(2):
            async with served.peer() as peer:
                await peer.open()
                assert "Cookie" not in upstream.fields
                await peer.finish()


async def test_g13_a_jar_that_keeps_cookies_is_refused() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ValueError, match="DummyCookieJar"):
            await rawws.proxy_upgrade(make_mocked_request("GET", "/", peers.UPGRADE), http, URL("http://127.0.0.1:1"))


async def test_g13_passwords_of_the_environment_are_not_sent_for_clients() -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=True) as http:
        with pytest.raises(ValueError, match="trust_env"):
            await rawws.proxy_upgrade(make_mocked_request("GET", "/", peers.UPGRADE), http, URL("http://127.0.0.1:1"))


# ---- Host, Origin, and who the client is ------------------------------------------------------


PAGE = {"Host": "public.example:8443", "Origin": "https://public.example:8443"}


async def test_g14_host_is_preserved() -> None:
    upstream = Upstream()
    await handshake(upstream, headers={**PAGE})
    assert {name: upstream.fields[name] for name in PAGE} == PAGE


async def test_g14_host_and_origin_are_rewritten_together() -> None:
    upstream = Upstream()
    async with hand_server(upstream) as server:
        for origin, expected in {
            PAGE["Origin"]: f"http://127.0.0.1:{server.port}",
            "https://elsewhere.example": "https://elsewhere.example",
            "null": "null",
        }.items():
            async with gateway(server.url, preserve_host=False) as served, served.peer() as peer:
                await peer.open("/", {**PAGE, "Origin": origin})
                assert upstream.fields["Host"] == f"127.0.0.1:{server.port}"
                assert upstream.fields["Origin"] == expected
                assert upstream.fields["X-Forwarded-Host"] == PAGE["Host"]
                await peer.finish()


async def test_g14_two_hosts_are_refused() -> None:
    async with hand_server(Upstream()) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(with_lines(request_bytes(), "Host: other.example"))
        assert (await peer.answer()).status == 400
        assert not server.connections


async def test_g14_a_host_that_is_none_is_refused() -> None:
    async with hand_server(Upstream()) as server, gateway(server.url) as served:
        for host in ("a/b", "user@host", 'a"b', "[::1"):
            assert (await served.ask("/", {"Host": host})).status == 400
        assert not server.connections


async def test_g15_an_origin_check_of_the_gateway_is_an_option() -> None:
    upstream = Upstream()
    await handshake(upstream, headers={"Origin": "https://elsewhere.example"}, plugin={"origins": "same-origin"})
    assert upstream.fields["Origin"] == "https://elsewhere.example"
    async with hand_server(upstream) as server, gateway(server.url, origins="same-origin") as served:
        assert (await served.ask("/", {"Origin": "https://elsewhere.example"})).status == 403
        assert not server.connections


FORGED = ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8", "X-Forwarded-Proto: https", "X-Forwarded-Host: h"]
FORGED += ["Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Forwarded-Port: 1"]
WITH_UNDERSCORES = ["X_Forwarded_For: 1.2.3.4", "X-Forwarded_Proto: https", "x_real_ip: 1.2.3.4"]  # the same for WSGI


def claims(fields: MultiMapping[str]) -> dict[str, list[str]]:
    found = {name.title() for name in fields if "forwarded" in name.lower() or "real-ip" in name.lower()}
    return {name: fields.getall(name) for name in found}


async def test_g16_claims_of_clients_are_dropped() -> None:
    upstream = Upstream()
    await handshake(upstream, *FORGED, *WITH_UNDERSCORES)
    assert not [name for name in upstream.fields if "_" in name]
    assert claims(upstream.fields) == {
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Forwarded-Proto": ["http"],
        "X-Forwarded-Host": ["127.0.0.1"],
    }
    await handshake(upstream, *FORGED, forwarded="rfc7239", headers={"Host": "a:80"})
    assert claims(upstream.fields) == {"Forwarded": ['for=127.0.0.1;proto=http;host="a:80"']}


async def test_g16_claims_of_a_trusted_proxy_go_on() -> None:
    upstream = Upstream()
    await handshake(upstream, *FORGED, trust=["127.0.0.1"])
    assert claims(upstream.fields) == {
        "X-Forwarded-For": ["1.2.3.4, 5.6.7.8, 127.0.0.1"],
        "X-Forwarded-Proto": ["https"],
        "X-Forwarded-Host": ["h"],
        "X-Forwarded-Port": ["1"],
        "X-Real-Ip": ["1.2.3.4"],
        "Forwarded": ["for=1.2.3.4"],
    }
    await handshake(upstream, *FORGED, trust=["127.0.0.1"], forwarded="rfc7239")
    assert upstream.fields.getall("Forwarded") == ['for=1.2.3.4, for=127.0.0.1;proto=http;host="127.0.0.1"']


async def test_g16_nothing_is_said_or_dropped() -> None:
    upstream = Upstream()
    await handshake(upstream, *FORGED, forwarded=None)
    assert upstream.fields.getall("X-Forwarded-For") == ["1.2.3.4", "5.6.7.8"]


async def test_fields_can_be_edited() -> None:
    def edit(request: web.BaseRequest, fields: CIMultiDict[str]) -> None:
        fields["X-User"] = "ann"
        del fields["Cookie"]
        fields["Upgrade"] = fields["Connection"] = "nonsense"

    async def edit_later(request: web.BaseRequest, fields: CIMultiDict[str]) -> None:
        await asyncio.sleep(0)
        edit(request, fields)

    for function in (edit, edit_later):
        upstream = Upstream()
        await handshake(upstream, "Cookie: a=b", edit=function)
        assert "Cookie" not in upstream.fields
        assert (upstream.fields["X-User"], upstream.fields["Upgrade"]) == ("ann", "websocket")


REFUSALS = {
    "403": web.HTTPForbidden,
    "302": lambda: web.HTTPFound("/login"),
    "error": lambda: rawws.HandshakeError(403, "no"),
}


@pytest.mark.parametrize("plugin", [{}, None], ids=["plugin", "bare"])
@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
async def test_g3_a_function_of_fields_may_refuse_the_client(error: Any, plugin: Any) -> None:
    """The connection is closed after that, too: what follows may be frames."""

    async def edit(request: web.BaseRequest, fields: CIMultiDict[str]) -> None:
        await asyncio.sleep(0)
        raise error()

    async with hand_server(Upstream()) as server, gateway(server.url, headers=edit, plugin=plugin) as served:
        async with served.peer() as peer:
            await peer.send(request_bytes(), request_bytes("/other", upgrade=False))
            answer = await peer.answer()
            assert answer.status in (302, 403) and answer.headers["Connection"] == "close"
            assert await peer.read_to_end() == b""
        assert not server.connections and not served.errors


# ---- the path -----------------------------------------------------------------------------------


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(
    "path",
    [
        "/%2F%3A%28//a",
        "/a?",
        "/a?b=+%20%26&c",
        "//evil.example/",
        "/%zz%",
        "/a/",
        "/x\\y",
        "/@h:1",
        "/;a=%2e",
        "/a%0Ab%0D",
    ],
)
async def test_g17_path_and_query_arrive_byte_for_byte(path: str) -> None:
    upstream = Upstream()
    await handshake(upstream, path=path)
    assert upstream.line.encode("latin-1") == f"GET {path.removesuffix('?')} HTTP/1.1".encode()


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("path", ["http://evil.example/", "/../x", "/%2e%2e/x", "x"])
async def test_g18_g19_no_request_leaves(path: str) -> None:
    async with hand_server(Upstream()) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes(path), b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await peer.answer()).status in (400, 404)
        assert await peer.read_to_end() == b""
        assert not server.connections


async def test_g24_a_body_is_refused() -> None:
    bodies = [({"Content-Length": "5"}, b"hello"), ({"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n")]
    async with hand_server(Upstream()) as server, gateway(server.url) as served:
        for fields, body in bodies:
            async with served.peer() as peer:
                await peer.send(request_bytes("/", fields, body=body))
                if not LOSES_TAILS:
                    assert (await peer.answer()).status == 400
                assert await peer.read_to_end() == b""
        assert not server.connections


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Upgrade": "websocket, h2c"}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Sec-WebSocket-Protocol": "a b"}, 400),
    ],
    ids=str,
)
async def test_g5_handshakes_that_are_none(fields: dict[str, str | None], status: int) -> None:
    """They are refused here: the upstream server gets a handshake of ours in any case."""
    async with hand_server(Upstream()) as server, gateway(server.url) as served:
        assert (await served.ask("/", fields)).status == status
        assert not server.connections
        assert not served.errors


async def test_a_session_of_each_side_and_the_options_of_both() -> None:
    seen: list[Any] = []

    async def handle(client: rawws.WebSocketServerSession, upstream: rawws.WebSocketClientSession) -> None:
        seen.extend([client.protocol, upstream.protocol, client.masking, upstream.masking, client.extensions])
        seen.extend([client.options.close_timeout, upstream.options.close_timeout])
        seen.extend([client.max_frame_size, upstream.max_frame_size, upstream.response.headers["X-Of-Upstream"]])
        await upstream.send("from the gateway")
        await client.send((await upstream.receive()).text)
        await client.close(4000)

    async def script(peer: HandPeer) -> None:
        await peer.accept({"X-Of-Upstream": "here", "Sec-WebSocket-Protocol": "v1"})
        _, payload = await peer.frame_of_client()
        await peer.send(bytes([0x81, len(payload)]) + payload)
        assert await peer.read_to_end() == b""

    plugin = {"close_timeout": 3.0, "max_frame_size": 5}
    async with (
        hand_server(script) as server,
        gateway(server.url, handle=handle, plugin=plugin, close_timeout=2.0) as served,
        served.peer() as peer,
    ):
        await peer.open("/", {"Sec-WebSocket-Protocol": "v1"})
        assert await peer.frame() == (TEXT, b"from the gateway")
        await peer.closed_by_server(4000)
        await peer.send(close_frame(4000))
        await peer.read_to_end()
        await eventually(lambda: not served.held)
        assert seen == ["v1", "v1", False, True, (), 2.0, 2.0, None, None, "here"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"client_session": "http"}, TypeError),
        ({"url": 5}, TypeError),
        ({"url": "/path"}, ValueError),
        ({"url": "ftp://up.example"}, ValueError),
        ({"url": "http://ann:secret@up.example"}, ValueError),
        ({"handle": 5}, TypeError),
        ({"on_frame": 5}, TypeError),
        ({"on_frame": len, "handle": len}, TypeError),
        ({"headers": {"X": "y"}}, TypeError),
        ({"forwarded": "yes"}, ValueError),
        ({"trust": "127.0.0.1"}, TypeError),
        ({"trust": 5}, TypeError),
        ({"preserve_host": "no"}, TypeError),
        ({"redirects": "follow"}, ValueError),
        ({"connect_timeout": -1}, ValueError),
        ({"connect_timeout": "1"}, TypeError),
        ({"extensions": []}, TypeError),
        ({"masking": True}, TypeError),
        ({"protocol": "a"}, TypeError),
        ({"max_frame_size": 0}, ValueError),
        ({"half_open_timeout": 0}, ValueError),
        ({"on_loss": rawws.CloseReason(1006)}, ValueError),
        ({"on_loss": rawws.CloseReason(1001), "handle": print}, TypeError),
    ],
    ids=str,
)
@pytest.mark.loops("asyncio")
async def test_mistakes(options: dict[str, Any], error: type[Exception]) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        given: dict[str, Any] = {"client_session": http, "url": "http://127.0.0.1:1/", **options}
        with pytest.raises(error) as raised:
            await rawws.proxy_upgrade(make_mocked_request("GET", "/", peers.UPGRADE), **given)
        assert "secret" not in str(raised.value)


@pytest.mark.loops("asyncio")
async def test_a_client_session_that_contradicts() -> None:
    jar = aiohttp.DummyCookieJar()
    for fields in ({"Connection": "close"}, {"Sec-WebSocket-Key": "x"}):
        async with aiohttp.ClientSession(cookie_jar=jar, headers=fields) as http:
            with pytest.raises(ValueError, match="belongs to the handshake"):
                await rawws.proxy_upgrade(make_mocked_request("GET", "/", peers.UPGRADE), http, "http://127.0.0.1:1/")
