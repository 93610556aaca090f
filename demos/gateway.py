"""A gateway: HTTP and WebSockets on one port, in front of another server.

``python -m demos.gateway http://127.0.0.1:8888`` serves the application at that address. Bodies are streamed both ways,
those of requests inflated, and WebSockets go through ``proxy_upgrade()``. Without an address it stands in front of a
small server of its own, whose page shows what arrives there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

import aiohttp_rawws as rawws

from . import site

PATH = "/gateway/"
TITLE = "Gateway"
SUMMARY = "HTTP and WebSockets on one port, in front of another server: a reverse proxy in one file."

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300)

# Fields about one connection (RFC 9110, section 7.6.1). The gateway and the upstream server have a connection of their
# own. aiohttp has answered Expect.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"}
HOP_BY_HOP |= {"te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect"}

# Fields by which a client could pretend to be another one.
CLAIMS = re.compile(r"x[-_]forwarded[-_].*|forwarded|x[-_]real[-_]ip", re.IGNORECASE)

# aiohttp writes no others: control characters, and bytes that are not UTF-8.
SENDABLE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


class Gateway:
    """A gateway to one server.

    Args:
        base: The URL of the server.
        strip: The part of the path that is left out. Default: empty.
    """

    def __init__(self, base: URL, strip: str = "") -> None:
        self.base = base
        self.strip = strip
        self.http: aiohttp.ClientSession

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Keep the connections to the server while ``app`` runs, for ``app.cleanup_ctx``."""
        # Each WebSocket holds a connection, so there is no limit on them here. A jar would mix the cookies of clients.
        connector = aiohttp.TCPConnector(limit=0)
        # The environment (proxies, and the passwords in .netrc) must not change what clients ask for.
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, timeout=TIMEOUT, trust_env=False
        ) as self.http:
            yield

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Handle any request."""
        url = rawws.upstream_url(self.base, request, strip=self.strip)
        if rawws.is_upgrade(request):
            return await rawws.proxy_upgrade(request, self.http, url)
        body = Body(request) if request.body_exists else None
        try:
            answer = await self.http.request(
                request.method,
                url,
                headers=request_fields(request),
                data=body,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                allow_redirects=False,
                auto_decompress=False,
            )
        except asyncio.TimeoutError:
            raise web.HTTPGatewayTimeout(text=f"{self.base.origin()} did not answer in time\n") from None
        except aiohttp.ClientError as error:
            if request.content.exception() is not None:
                raise web.HTTPBadRequest(text="the body of the request is broken\n") from None
            raise web.HTTPBadGateway(text=f"{self.base.origin()} cannot be reached: {error}\n") from None
        async with answer:
            if body is not None:
                body.answer = answer
            if answer.status == 101:
                answer.close()
                raise web.HTTPBadGateway(text=f"{self.base.origin()} switches protocols, but nobody has asked for it\n")
            return await relay(request, answer)


class Body:
    """The body of a request, which can be sent once.

    If it breaks off, or if the answer is complete before it is, the connection to the server is closed.

    Attributes:
        answer: The answer, if its head came before the body was complete.
    """

    answer: aiohttp.ClientResponse | None = None

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.is_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # The client repeats a PUT or DELETE on another connection if the first one is lost, with what is left of the
        # body.
        if self.is_begun:
            raise ConnectionResetError("the connection was lost while a body was sent")
        self.is_begun = True
        try:
            async for chunk in self.request.content.iter_any():
                yield chunk
        except Exception:
            if self.answer is not None:
                self.answer.close()  # the server may wait for the rest of the body before it goes on
            raise


def end_to_end(fields: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return a copy without the fields that are about one connection. ``Connection`` may name more of them."""
    named = {name.strip().lower() for line in fields.getall("Connection", ()) for name in line.split(",")} - {"host"}
    kept = [(name, value) for name, value in fields.items() if name.lower() not in HOP_BY_HOP | named]
    kept = [(name, value) for name, value in kept if SENDABLE.fullmatch(value)]
    # aiohttp's client takes a name that comes again in another case for a new value of the field.
    spellings: dict[str, str] = {}
    return CIMultiDict((spellings.setdefault(name.lower(), name), value) for name, value in kept)


def request_fields(request: web.Request) -> CIMultiDict[str]:
    fields = end_to_end(CIMultiDict(request.headers))
    for name in {name for name in fields if CLAIMS.fullmatch(name)}:
        fields.popall(name)
    fields.popall("Content-Length", None)
    if is_length_known(request):
        fields["Content-Length"] = str(request.content_length)
    if is_inflated(request):
        if len(request.headers.getall("Content-Encoding")) > 1:
            raise web.HTTPUnsupportedMediaType(text="Content-Encoding must be one line\n")
        fields.popall("Content-Encoding", None)
    fields["X-Forwarded-For"] = request.remote or "unknown"
    fields["X-Forwarded-Proto"] = request.scheme
    fields["X-Forwarded-Host"] = request.host
    return fields


def is_inflated(request: web.Request) -> bool:
    """Return True if aiohttp's server inflates the body. Which codings it knows depends on its version."""
    return request.body_exists and request._message.compression is not None


def is_length_known(request: web.Request) -> bool:
    """Return True if the body has as many bytes as its Content-Length says. All others go in chunks.

    A body with a Content-Encoding may be inflated. If the wrong number went on, the server would take the next request,
    that of another client, for the rest of this body.
    """
    if request.body_exists and "Content-Encoding" in request.headers:
        return False
    return request.content_length is not None and "Transfer-Encoding" not in request.headers


async def relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Send ``answer`` to the client, its body while it comes."""
    fields = end_to_end(CIMultiDict(answer.headers))
    if "Transfer-Encoding" in answer.headers:
        fields.popall("Content-Length", None)  # it does not count (RFC 9112, section 6.3)
    if answer.status == 426:  # it has to name the protocol (RFC 9110, section 15.5.22)
        fields["Upgrade"], fields["Connection"] = answer.headers.get("Upgrade", "websocket"), "Upgrade"
    reason = answer.reason if SENDABLE.fullmatch(answer.reason or "") else None
    response = web.StreamResponse(status=answer.status, reason=reason, headers=fields)
    try:
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):  # from either side
        if request.transport is not None:
            request.transport.abort()  # the client must not take this for the whole body
    return response


def install_gateway(app: web.Application, gateway: Gateway, prefix: str = "/") -> None:
    """Let ``gateway`` handle all requests of ``app`` below ``prefix``. Call ``rawws.setup()`` on it first."""
    app.cleanup_ctx.append(gateway.running)
    app.router.add_route("*", f"{prefix}{{tail:(?s:.*)}}", gateway.forward)  # %0A is a part of paths, too


# ---- a server to stand in front of ------------------------------------------------------------


async def seen(request: web.Request) -> web.Response:
    """Answer with what has arrived."""
    return web.json_response({"request": f"{request.method} {request.raw_path}", "fields": [*request.headers.items()]})


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    await session.send_json({"fields": [*session.request.headers.items()]})
    async for message in session:
        await session.send_json({"message": message.text})


def upstream() -> web.Application:
    app = web.Application()
    rawws.setup(app)
    app.add_routes([web.get("/", site.page("gateway.html")), web.get("/seen", seen), rawws.websocket("/echo", echo)])
    return app


def install(app: web.Application) -> None:
    """Add the demo to an application. Call ``rawws.setup()`` on it first."""
    gateway = Gateway(URL("http://127.0.0.1"), strip=PATH.rstrip("/"))

    async def running(app: web.Application) -> AsyncIterator[None]:
        runner = web.AppRunner(upstream(), access_log=None, shutdown_timeout=5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gateway.base = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
        yield
        await runner.cleanup()

    app.cleanup_ctx.append(running)
    install_gateway(app, gateway, PATH)


def init(argv: list[str] | None = None) -> web.Application:
    """Make an application with this demo alone. ``python -m aiohttp.web`` calls this."""
    app = site.new_application()
    rawws.setup(app)
    app.router.add_get("/", site.redirect(PATH))
    install(app)
    return app


def init_in_front_of(address: str) -> web.Application:
    """Make an application that is a gateway to ``address`` and nothing else."""
    app = web.Application()
    rawws.setup(app)
    install_gateway(app, Gateway(URL(address)))
    return app


def main() -> None:
    arguments = site.arguments(__doc__)
    arguments.add_argument("upstream", nargs="?", help="the server, such as http://127.0.0.1:8888 (one of the demo's)")
    options = arguments.parse_args()
    app = init() if options.upstream is None else init_in_front_of(options.upstream)
    site.serve(app, options)


if __name__ == "__main__":
    main()
