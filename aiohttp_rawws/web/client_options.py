"""The options of a client: those of a session, of the request that opens it, and of the way to the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from aiohttp import Fingerprint
from aiohttp.typedefs import LooseHeaders, StrOrURL
from multidict import CIMultiDict

from ..extensions.base import WebSocketExtensionFactory
from ..session.options import SessionOptions, SessionOptionsDict, check_bool, check_seconds
from . import handshake
from .options import checked_extensions

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

QueryParameters = str | Mapping[str, Any] | Sequence[tuple[str, Any]] | None
"""The types that ``aiohttp`` takes as ``params``."""

RESERVED_FIELDS = handshake.RESERVED_FIELDS | {"sec-websocket-key"}

# A server takes a request with two of these for an attack, or takes either of the two.
SINGLE_FIELDS = frozenset({"host", "origin", "user-agent", "authorization"})


class TargetOptionsDict(SessionOptionsDict, total=False):
    """The options that ``connect()`` and ``reconnecting()`` have in common."""

    protocols: Iterable[str]
    require_protocol: bool
    origin: str | None
    params: QueryParameters
    extensions: Iterable[WebSocketExtensionFactory]
    offer: Iterable[str] | None
    open_timeout: float | timedelta | None
    max_redirects: int
    secret_headers: Iterable[str]
    proxy: StrOrURL | None
    proxy_headers: LooseHeaders | None
    ssl: SSLContext | bool | Fingerprint
    server_hostname: str | None


class ConnectOptionsDict(TargetOptionsDict, total=False):
    """The options of ``connect()`` and ``connect_raw()`` as keyword arguments: those of a session, and of a client.

    ``ConnectOptions`` says what each of them means.
    """

    headers: LooseHeaders | None


@dataclass(frozen=True, kw_only=True)
class ConnectOptions(SessionOptions):
    """The options of ``connect()`` and ``connect_raw()``: those of ``SessionOptions``, and these.

    Args:
        protocols: Subprotocols to offer, in order of preference. Default: ``()``.
        require_protocol: The server must choose one of ``protocols``. Default: False.
        origin: The field ``Origin``. None: no such field. Default: None.
        headers: Further fields of the request. Those of the handshake cannot be among them. Default: None.
        params: Parameters that are added to the query of the URL. Default: None.
        extensions: Configurations such as ``PerMessageDeflate()`` to offer, in order of preference. A managed session
            applies those that the server accepts, a raw one does not. Default: ``()``.
        offer: Lines of ``Sec-WebSocket-Extensions`` to send as they are, for gateways. The answer is not checked, and
            nothing is applied. Not together with ``extensions``. Default: None.
        open_timeout: Seconds in which the session must be open: DNS, TCP, proxy, TLS, redirects and the wait for the
            101. None: no limit. Default: 10.
        max_redirects: Redirects to follow. Each hop has a new key. A redirect from TLS to plain TCP is never followed.
            Default: 0 (a redirect is a refusal).
        secret_headers: Names of fields in ``headers`` that are not sent to another origin after a redirect.
            ``Authorization``, ``Cookie`` and ``Proxy-Authorization`` never are. Default: ``()``.
        proxy: The URL of an HTTP proxy. Default: None (that of the ClientSession, if it has one).
        proxy_headers: Fields of the request to the proxy. Default: None.
        ssl: The TLS settings as aiohttp has them: an ``SSLContext``, a ``Fingerprint``, False to check no certificate.
            Default: True.
        server_hostname: The name that the certificate must have. Default: None (that of the URL).

    Raises:
        TypeError: An option has a wrong type.
        ValueError: An option is out of range, or a header field belongs to the handshake.
    """

    protocols: tuple[str, ...] = ()
    require_protocol: bool = False
    origin: str | None = None
    headers: CIMultiDict[str] | None = None
    params: QueryParameters = None
    extensions: tuple[WebSocketExtensionFactory, ...] = ()
    offer: tuple[str, ...] | None = None
    open_timeout: float | None = 10.0
    max_redirects: int = 0
    secret_headers: frozenset[str] = frozenset()
    proxy: StrOrURL | None = None
    proxy_headers: LooseHeaders | None = None
    ssl: SSLContext | bool | Fingerprint = True
    server_hostname: str | None = None

    if TYPE_CHECKING:  # a field is read as one type, and can be given as several

        def __init__(self, **options: Unpack[ConnectOptionsDict]) -> None: ...
        def replace(self, **changes: Unpack[ConnectOptionsDict]) -> Self: ...

    def __post_init__(self) -> None:
        super().__post_init__()

        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        settle("protocols", checked_offers(self.protocols))
        check_bool("require_protocol", self.require_protocol)
        if self.require_protocol and not self.protocols:
            raise ValueError("require_protocol needs protocols to offer")
        settle("headers", checked_fields(self.headers))
        if self.origin is not None:
            if not handshake.is_field("Origin", self.origin):
                raise ValueError(f"origin must be a field value such as 'https://example.org', not {self.origin!r}")
            if self.headers is not None and "Origin" in self.headers:
                raise ValueError("origin and a field Origin in headers cannot be given together")
        settle("extensions", checked_extensions(self.extensions, "client_offers"))
        settle("offer", checked_lines(self.offer))
        if self.offer is not None and self.extensions:
            raise ValueError("offer and extensions cannot be given together")
        settle("open_timeout", check_seconds("open_timeout", self.open_timeout))
        if isinstance(self.max_redirects, bool) or not isinstance(self.max_redirects, int):
            raise TypeError(f"max_redirects must be an int, not {self.max_redirects!r}")
        if self.max_redirects < 0:
            raise ValueError(f"max_redirects must be at least 0, not {self.max_redirects}")
        secret: object = self.secret_headers
        if isinstance(secret, (str, bytes)) or not isinstance(secret, Iterable):
            raise TypeError(f"secret_headers must be a list of names, not {secret!r}")
        settle("secret_headers", frozenset(str(name).lower() for name in secret))


def checked_offers(protocols: object) -> tuple[str, ...]:
    """Check the subprotocols to offer.

    Raises:
        TypeError: They are not a list of str.
        ValueError: One is not a token, or is there twice (RFC 6455, section 4.1, step 10).
    """
    if isinstance(protocols, (str, bytes)) or not isinstance(protocols, Iterable):
        raise TypeError(f"protocols must be a list of names, such as ['v2', 'v1'], not {protocols!r}")
    names = tuple(protocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"protocols must be a list of names, not {names!r}")
        if not handshake.is_token(name):
            raise ValueError(f"the name of a subprotocol must be a token of RFC 9110, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"protocols has a name twice: {', '.join(names)}")
    return names


def checked_fields(headers: LooseHeaders | None) -> CIMultiDict[str] | None:
    """Check the header fields for the request of the handshake.

    Raises:
        TypeError: They are not header fields.
        ValueError: A field is invalid, belongs to the handshake, or is there twice and may be only once.
    """
    if headers is None:
        return None
    try:
        fields: CIMultiDict[Any] = CIMultiDict(headers)
    except (TypeError, ValueError) as exc:
        raise TypeError(f"headers must be a mapping or pairs of name and value, not {headers!r}") from exc
    for name, value in fields.items():
        known = name.lower()
        if known in RESERVED_FIELDS:
            options = {"sec-websocket-protocol": "protocols", "sec-websocket-extensions": "extensions or offer"}
            use = f": use {options[known]}" if known in options else ""
            raise ValueError(f"headers cannot have {name}, which belongs to the handshake{use}")
        if not handshake.is_field(name, value):
            raise ValueError(f"{name!r}: {value!r} in headers is not a valid header field")
        if known in SINGLE_FIELDS and len(fields.getall(name)) > 1:
            raise ValueError(f"headers has {name} twice")
    return fields


def checked_lines(offer: object) -> tuple[str, ...] | None:
    """Check the lines of ``Sec-WebSocket-Extensions`` that go out as they are."""
    if offer is None:
        return None
    if isinstance(offer, (str, bytes)) or not isinstance(offer, Iterable):
        raise TypeError(f"offer must be a list of lines, not {offer!r}")
    lines = tuple(offer)
    for line in lines:
        if not handshake.is_field("Sec-WebSocket-Extensions", line):
            raise ValueError(f"a line of offer must be a field value, not {line!r}")
    return lines
