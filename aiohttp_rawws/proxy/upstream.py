"""The upstream half of a gateway: the request, the answer, and what each failure is to the client."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Literal

import aiohttp
from aiohttp import web
from aiohttp.typedefs import LooseHeaders, StrOrURL
from multidict import CIMultiDict, MultiMapping
from yarl import URL

from ..errors import HandshakeError
from ..session.logtext import shortened
from ..web import handshake
from ..web.client import drop, shown
from ..web.client_connection import take_over
from ..web.client_handshake import check_answer, new_key
from ..web.client_options import RESERVED_FIELDS, ConnectOptions
from ..web.client_redirect import REDIRECTS
from ..web.client_session import WebSocketClientSession
from ..web.deadline import deadline
from ..web.logtext import described, described_error
from .answer import relay_refusal
from .fields import unsendable
from .target import check_server

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

# The client's own fields go on; aiohttp adds none of these.
AUTOMATIC_FIELDS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

# An element of a list: a comma may be in a quoted string.
_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way to the upstream server.

    Attributes:
        client_session: The ClientSession to use.
        url: The URL, with path and query.
        connect_timeout: Seconds in which the upstream server must answer, or None.
        redirects: "relay" or "refuse".
        ssl, server_hostname, proxy, proxy_headers: As in ``ConnectOptions``.
    """

    client_session: aiohttp.ClientSession
    url: URL
    connect_timeout: float | None = 10.0
    redirects: Literal["relay", "refuse"] = "relay"
    ssl: SSLContext | bool | aiohttp.Fingerprint = True
    server_hostname: str | None = None
    proxy: StrOrURL | None = None
    proxy_headers: LooseHeaders | None = None

    def __post_init__(self) -> None:
        check_client_session(self.client_session)
        check_server(self.url)
        if self.redirects not in ("relay", "refuse"):
            raise ValueError(f'redirects must be "relay" or "refuse", not {self.redirects!r}')


def check_client_session(client_session: object) -> None:
    """Raise TypeError or ValueError if a gateway cannot use ``client_session``."""
    if not isinstance(client_session, aiohttp.ClientSession):
        raise TypeError(f"the second argument must be an aiohttp.ClientSession, not {client_session!r}")
    if not isinstance(client_session.cookie_jar, aiohttp.DummyCookieJar):
        raise ValueError(
            "the cookie jar of this ClientSession would send the cookies of one client for another: "
            "use ClientSession(cookie_jar=aiohttp.DummyCookieJar())"
        )
    if getattr(client_session, "auth", None) is not None:  # aiohttp 4 has no such argument
        raise ValueError("the ClientSession has auth=, which the client's own Authorization contradicts: use headers=")
    if client_session.trust_env:
        raise ValueError(
            "the ClientSession has trust_env=True, so passwords of .netrc would be sent for clients that have none: "
            "use proxy= for the proxy of the environment"
        )
    for name in client_session.headers:
        if name.lower() in RESERVED_FIELDS:
            raise ValueError(f"the ClientSession has a default field {name}, which belongs to the handshake")


def checked_upstream_fields(fields: CIMultiDict[str], key: str) -> CIMultiDict[str]:
    """Return the fields that go to the upstream server, with the handshake of this hop.

    Raises:
        ValueError: A field is not valid.
    """
    spellings: dict[str, str] = {}
    checked: CIMultiDict[str] = CIMultiDict()
    for name, value in fields.items():
        if not handshake.is_field(name, value):
            raise ValueError(f"{name!r}: {value!r} is not a valid header field for the upstream server")
        # aiohttp takes the same name in another case for a new value of the field.
        checked.add(spellings.setdefault(name.lower(), name), value)
    fields = checked
    fields["Upgrade"] = "websocket"
    fields["Connection"] = "Upgrade"
    fields["Sec-WebSocket-Version"] = handshake.VERSION
    fields["Sec-WebSocket-Key"] = key
    return fields


def check_extensions(answer: aiohttp.ClientResponse, *offers: MultiMapping[str]) -> None:
    """Check that a 101 has no extension that was not offered (RFC 6455, section 4.1).

    Parameters are between client and server, and not checked.

    Args:
        answer: The 101.
        offers: The fields of the requests: both hops must have offered it.

    Raises:
        HandshakeError: It has one, or the field cannot be sent to the client.
    """
    if "sec-websocket-extensions" in map(str.lower, unsendable(answer.headers)):
        raise HandshakeError(502, "Sec-WebSocket-Extensions is not UTF-8, or has a control character")
    accepted = extension_names(answer.headers)
    for offer in offers if accepted else ():
        for name in accepted - extension_names(offer):
            raise HandshakeError(502, f"the server chose the extension {name!a}, which was not offered")


def extension_names(fields: MultiMapping[str]) -> set[str]:
    """Return the names in ``Sec-WebSocket-Extensions``."""
    elements = _ELEMENT.findall(",".join(fields.getall("Sec-WebSocket-Extensions", ())))
    return {name for element in elements if (name := element.partition(";")[0].strip(" \t"))}


def has_plain_body(fields: MultiMapping[str]) -> bool:
    """Check that a body can go on: it has one length, and no coding on this hop but chunks (RFC 9112, section 6)."""
    codings = handshake.elements(fields, "Transfer-Encoding")
    lengths = fields.getall("Content-Length", ())
    return all(coding.lower() == "chunked" for coding in codings) and len(set(lengths)) <= 1


class Refused(Exception):
    """The client gets another answer than 101.

    Attributes:
        response: This answer. It has been sent already if the upstream server gave it.
    """

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__(response.status)
        self.response = response


async def open_upstream(
    request: web.BaseRequest, way: Way, fields: CIMultiDict[str], options: ConnectOptions
) -> WebSocketClientSession:
    """Open a session with the upstream server, or relay its refusal to the client.

    Args:
        request: The request of the client.
        way: The way to the upstream server.
        fields: The fields of the request to it.
        options: The options of the session.

    Raises:
        Refused: The upstream server refused, and the client has its answer.
        HandshakeError: There is no answer (502, 504), or none that can be relayed (502), or no connection (503).
    """
    key = new_key()
    fields = checked_upstream_fields(fields, key)
    limit = deadline(way.connect_timeout)
    try:
        async with limit:
            response = await _ask(way, fields)
    except asyncio.TimeoutError:
        if is_full(way.client_session, way.url):
            text = (
                "The connector of the ClientSession is full, so %s was not asked, %s. Each WebSocket holds a connection"
            )
            logger.warning(text, shortened(shown(way.url)), described(request))
            raise HandshakeError(503, "The gateway is full") from None
        logger.warning("%s did not answer in time, %s", shortened(shown(way.url)), described(request))
        raise HandshakeError(504, "The upstream server did not answer in time") from None
    except (aiohttp.ClientError, OSError) as exc:
        text = "Cannot reach %s, %s: %s"
        logger.warning(text, shortened(shown(way.url)), described(request), described_error(exc))
        raise HandshakeError(502, "The upstream server cannot be reached") from None
    if response.status != 101:
        if response.status in REDIRECTS and way.redirects == "refuse":
            response.close()
            logger.warning("%s answered with a redirect, %s", shortened(shown(way.url)), described(request))
            raise HandshakeError(502, "The upstream server answered with a redirect")
        if not has_plain_body(response.headers):
            response.close()
            logger.warning(
                "%s answered with a body that cannot go on, %s", shortened(shown(way.url)), described(request)
            )
            raise HandshakeError(502, "The upstream server answered with no valid body")
        raise Refused(await relay_refusal(request, response, way.connect_timeout, options.write_timeout))
    try:
        agreed = check_answer(response.headers, key, options)
        check_extensions(response, request.headers, fields)
        session = take_over(way.client_session, response, agreed, options, (), False)
    except (HandshakeError, ConnectionError) as error:
        drop(response)
        logger.warning("%s answered badly, %s: %s", shortened(shown(way.url)), described(request), shortened(error))
        raise HandshakeError(502, "The upstream server answered with no valid handshake") from None
    except BaseException:
        drop(response)
        raise
    assert isinstance(session, WebSocketClientSession)
    return session


def is_full(client_session: aiohttp.ClientSession, url: URL) -> bool:
    """Check if all connections of the connector are in use. A request that has had one has given it back by now."""
    connector = client_session.connector
    if connector is None:
        return False
    if 0 < connector.limit <= len(getattr(connector, "_acquired", ())):
        return True
    in_use: dict[Any, Any] = getattr(connector, "_acquired_per_host", {})
    counts = [len(used) for key, used in in_use.items() if (key.host, key.port) == (url.raw_host, url.port)]
    return 0 < connector.limit_per_host <= sum(counts)


async def _ask(way: Way, fields: Mapping[str, str]) -> aiohttp.ClientResponse:
    given = way.client_session.timeout
    return await way.client_session.request(
        "GET",
        way.url,
        headers=fields,
        skip_auto_headers=AUTOMATIC_FIELDS,
        allow_redirects=False,
        raise_for_status=False,
        auto_decompress=False,
        proxy=way.proxy,
        proxy_headers=way.proxy_headers,
        ssl=way.ssl,
        server_hostname=way.server_hostname,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=given.connect, sock_connect=given.sock_connect, sock_read=given.sock_read
        ),
    )
