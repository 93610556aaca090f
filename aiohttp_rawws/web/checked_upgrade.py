"""The first half of ``WebSocketUpgrade``: a response 101 whose handshake is checked, or the one that refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from ..extensions.base import WebSocketExtension
from ..session.options import check_bool
from . import handshake
from .answer import Answer
from .check import Agreement, ProtocolChoice, Terms, check_handshake, checked_protocols
from .options import DEFAULTS, WebSocketOptions
from .refusal import as_refusal, close_after_refusal, refusal
from .supervisor import supervisor_of
from .takeover import pause_reading


class CheckedUpgrade(web.StreamResponse):
    """A 101 that ``check()`` accepts, or refuses with another response, which it then describes."""

    # aiohttp's response has a dict. With all of these in it, it would be one of those that share no keys: 1 KiB more.
    __slots__ = (
        "_answer",
        "_checked",
        "_checking",
        "_extensions_field",
        "_install_extensions",
        "_negotiated",
        "_options",
        "_protocol",
        "_protocols",
        "_reading_paused",
        "_request",
        "_supervisor",
    )

    _refusal: web.StreamResponse | None = None  # on the class, because the constructor of the base class reads it

    def __init__(
        self,
        request: web.BaseRequest,
        protocol: str | None,
        protocols: ProtocolChoice,
        install_extensions: bool,
        answer: Answer | None,
        options: Mapping[str, Any],
    ) -> None:
        """See ``WebSocketUpgrade`` for the arguments. ``options`` have known names."""
        check_bool("install_extensions", install_extensions)
        if answer is not None and (protocol is not None or protocols is not None or install_extensions):
            raise TypeError("answer= stands instead of protocol=, protocols= and install_extensions=")
        super().__init__(status=101)
        self._request = request
        self._answer = checked_answer(answer)
        self._protocol = protocol
        self._protocols = checked_protocols(protocol, protocols)
        self._install_extensions = install_extensions
        self._supervisor = supervisor_of(request)
        base = DEFAULTS if self._supervisor is None else self._supervisor.plugin.options
        self._options = base.replace(**options) if options else base
        self._negotiated: list[WebSocketExtension] = []
        self._extensions_field: str | None = None
        self._checked = False
        self._checking = 0  # calls of check() that have not finished
        self._reading_paused = False
        self._write_handshake_fields()

    @property
    def request(self) -> web.BaseRequest:
        return self._request

    @property
    def protocol(self) -> str | None:
        """That of ``answer``, or the required subprotocol, or after the check the one chosen from ``protocols``."""
        return self._protocol if self._answer is None else self._answer.protocol

    @property
    def answer(self) -> Answer | None:
        """The answer to the offers of the client, instead of a negotiation. It may be set before the 101 is sent."""
        return self._answer

    @answer.setter
    def answer(self, value: Answer | None) -> None:
        if self.prepared:
            raise RuntimeError("the response has been sent already")
        self._answer = checked_answer(value)

    @property
    def install_extensions(self) -> bool:
        return self._install_extensions

    @property
    def negotiated_extensions(self) -> tuple[WebSocketExtension, ...]:
        """The extensions agreed on. Empty before the check, and without ``install_extensions``."""
        return tuple(self._negotiated)

    @property
    def options(self) -> WebSocketOptions:
        """The options of the plugin, overridden by those of this upgrade. They may be set before the check begins."""
        return self._options

    @options.setter
    def options(self, value: WebSocketOptions) -> None:
        if self._checked or self._checking:
            raise RuntimeError("the handshake is being checked, or has been checked already")
        self._options = value

    # ---- the response -----------------------------------------------------------------
    # After a refusal these describe the refusing response, for aiohttp and its access log.

    @property
    def prepared(self) -> bool:
        return super().prepared if self._refusal is None else self._refusal.prepared

    @property
    def status(self) -> int:
        return super().status if self._refusal is None else self._refusal.status

    @property
    def reason(self) -> str:
        return super().reason if self._refusal is None else self._refusal.reason

    @property
    def headers(self) -> CIMultiDict[str]:
        return super().headers if self._refusal is None else self._refusal.headers

    @property
    def keep_alive(self) -> bool | None:
        return super().keep_alive if self._refusal is None else self._refusal.keep_alive

    @property
    def content_length(self) -> None:
        """None: a 101 has no content (RFC 9110, section 15.2)."""
        return None

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        if value is not None:
            raise RuntimeError("a 101 response has no content")

    def trailers(self) -> None:
        """None: a 101 has no trailers."""

    def enable_compression(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, for middlewares that compress every response."""

    def enable_chunked_encoding(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a 101 has no content."""

    # ---- the handshake ----------------------------------------------------------------

    def hold_reading(self) -> None:
        """Stop reading from the client until the takeover. Its bytes wait in the buffers of the system."""
        if not self._reading_paused:
            self._reading_paused = pause_reading(self._request)

    async def check(self) -> web.StreamResponse | None:
        """Check the handshake, once.

        A check that raises or is cancelled does not count: the next ``check()`` or ``prepare()`` checks again, in full.

        Returns:
            None if the handshake is accepted, else the response that refuses it.

        Raises:
            Exception: A function of the options raised it. A HandshakeError or ``web.HTTPException`` is a refusal.
        """
        if not self._checked:
            await self._check_once()
        refused = self._refusal
        if refused is None and self._supervisor is not None:
            full = self._supervisor.refusal(self._request)
            if full is not None:
                refused = refusal(self._request, full)
        if refused is not None:
            self._refusal = as_refusal(self._request, refused)
        return refused

    async def _check_once(self) -> None:
        terms = Terms(self._options, self._protocol, self._protocols, self._install_extensions)
        self._checking += 1
        try:
            result = await check_handshake(self._request, terms, self._count)
        except BaseException as exc:
            close_after_refusal(self._request)
            if not isinstance(exc, Exception):
                # It was cancelled, perhaps by a time limit of the caller, which may still prepare the upgrade.
                self.hold_reading()
            raise
        finally:
            self._checking -= 1
        if self._checked:
            return  # another task has finished a check meanwhile
        if isinstance(result, Agreement):
            self._accept(result)
        else:
            self._refusal = result
        self._checked = True  # last: a check that was interrupted does not count

    def _count(self, option: str) -> None:
        if self._supervisor is not None:
            self._supervisor.on_limit(option)

    def _accept(self, agreement: Agreement) -> None:
        self._protocol = agreement.protocol
        self._negotiated = agreement.extensions
        self._extensions_field = agreement.extensions_field
        self.headers.extend(agreement.fields)

    def _write_handshake_fields(self) -> None:
        key = self._request.headers.get("Sec-WebSocket-Key")
        if self._answer is None:
            handshake.write_answer(self.headers, key, self._protocol, self._extensions_field)
            return
        handshake.write_answer(self.headers, key, self._answer.protocol, None)
        for line in self._answer.extensions:
            self.headers.add("Sec-WebSocket-Extensions", line)


def checked_answer(answer: object) -> Answer | None:
    """Return ``answer``. Raises TypeError if it is neither an Answer nor None."""
    if answer is not None and not isinstance(answer, Answer):
        raise TypeError(f"answer must be an Answer or None, not {answer!r}")
    return answer
