"""The server of the catalogue: one URL for each misbehaviour, and the verdicts on each client that visits them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ..errors import RawWSError
from ..session.options import check_seconds
from ..wire.codes import Opcode
from .handshake import Handshake, HandshakeRequest, read_head
from .listener import Listener
from .misbehaviours import MISBEHAVIOURS
from .misbehaviours.entry import Misbehaviour
from .misbehaviours.handshake import LANDED
from .pages import answer, entry_page, index_page
from .peer import Peer
from .transcript import TapReader, TapWriter, Transcript
from .verdicts import Outcome, Verdict
from .visit import visit

if TYPE_CHECKING:
    from typing_extensions import Self

ANONYMOUS = "anonymous"
MAX_AGENTS = 1000
MAX_NAME = 100  # characters
HEAD_WITHIN = 10.0  # seconds
PAGE_WITHIN = 30.0  # seconds in which a page must be taken
RETURNS_WITHIN = 10.0  # seconds, after everything was visited
LIMIT = 120.0  # seconds that any visit may take


@dataclass(frozen=True)
class Visit:
    """The last visit of an agent to a misbehaviour.

    Attributes:
        misbehaviour: The misbehaviour.
        outcome: The agent's part in it.
        verdict: The verdict on that.
        transcript: All that was on the wire, as text.
    """

    misbehaviour: Misbehaviour
    outcome: Outcome
    verdict: Verdict
    transcript: str

    def as_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {
            "verdict": str(self.verdict),
            "seen": str(self.outcome),
            "how": self.outcome.how,
            "code": self.outcome.code,
            "end": self.outcome.end,
            "late": self.outcome.late,
            "echoed": self.outcome.echoed,
            "breaches": list(self.outcome.breaches),
            "seconds": self.outcome.seconds,
            "section": self.misbehaviour.section,
            "server": self.misbehaviour.summary,
            "good": self.misbehaviour.good,
            "wire": self.transcript.splitlines(),
        }


class Agent:
    """A client by name, and its visits.

    Attributes:
        name: The name.
        visits: Its last visit to each misbehaviour. After a reset by the server, which leaves nothing to see, the
            verdict is FAILED until the agent opens another WebSocket. To read its report is no visit.
        complete: Set when it has visited everything, and has come again after the last reset or did not for 10 seconds.
    """

    def __init__(self, name: str, expected: Iterable[str]) -> None:
        """
        Args:
            name: The name.
            expected: The names of the misbehaviours that it is to visit.
        """
        self.name: str = name
        self.visits: dict[str, Visit] = {}
        self.complete: asyncio.Event = asyncio.Event()
        self._expected = list(expected)
        self._pending: dict[str, Visit] = {}  # those that are OK if the agent comes again
        self._timer: asyncio.TimerHandle | None = None

    def came(self) -> None:
        """The agent has come with a WebSocket: it has survived what was done to it before."""
        for name, seen in self._pending.items():
            self.visits[name] = seen
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._check()

    def add(self, seen: Visit) -> None:
        """Add a visit that is over."""
        name = seen.misbehaviour.name
        self._pending.pop(name, None)
        if seen.outcome.how == "gone":
            self._pending[name] = seen
            outcome = replace(seen.outcome, breaches=(*seen.outcome.breaches, "it has not come again"))
            seen = replace(seen, outcome=outcome, verdict=seen.misbehaviour.judgement.verdict(outcome))
        self.visits[name] = seen
        self._check()

    def _check(self) -> None:
        if self.missing():
            return
        if not self._pending:
            self.complete.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETURNS_WITHIN, self.complete.set)

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict on each misbehaviour that was visited, in the order of the catalogue."""
        order = {name: number for number, name in enumerate(MISBEHAVIOURS)}
        return {name: self.visits[name].verdict for name in sorted(self.visits, key=lambda name: order.get(name, 0))}

    def missing(self) -> list[str]:
        """Return the names of the misbehaviours that were not visited."""
        return [name for name in self._expected if name not in self.visits]

    def as_json(self) -> dict[str, Any]:
        """Return the report as values of JSON."""
        verdicts = self.verdicts()
        counts = {str(verdict): list(verdicts.values()).count(verdict) for verdict in Verdict}
        return {
            "agent": self.name,
            "counts": counts,
            "missing": self.missing(),
            "misbehaviours": {name: self.visits[name].as_json() for name in verdicts},
        }


class MisbehavingServer:
    """A server with a URL for each misbehaviour. ``misbehaving_server()`` makes it; use it with ``async with``.

    Attributes:
        misbehaviours: Those that it serves, by name.
        agents: The agents that came, by name.
    """

    def __init__(self, misbehaviours: Mapping[str, Misbehaviour], host: str, port: int, patience: float | None) -> None:
        """See ``misbehaving_server()``."""
        self.misbehaviours: Mapping[str, Misbehaviour] = misbehaviours
        self.agents: dict[str, Agent] = {}
        self._patience = patience
        self._listener = Listener(self._serve, host, port)

    async def __aenter__(self) -> Self:
        await self._listener.start()
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        await self._listener.stop()

    @property
    def port(self) -> int:
        """Its port."""
        return self._listener.port

    @property
    def origin(self) -> str:
        """Host and port, as in a URL.

        Raises:
            RuntimeError: It has not started.
        """
        return self._listener.origin

    def url(self, name: str, agent: str = ANONYMOUS) -> str:
        """Return the URL of a misbehaviour.

        Raises:
            KeyError: There is no such misbehaviour.
            RuntimeError: The server has not started.
        """
        return f"ws://{self.origin}/m/{self.misbehaviours[name].name}?agent={quote(agent)}"

    def agent(self, name: str = ANONYMOUS) -> Agent:
        """Return an agent, which has visited nothing if it is new."""
        name = name[:MAX_NAME] or ANONYMOUS
        if name not in self.agents and len(self.agents) >= MAX_AGENTS:
            del self.agents[next(iter(self.agents))]
        return self.agents.setdefault(name, Agent(name, self.misbehaviours))

    async def _serve(self, reader: TapReader, writer: TapWriter, transcript: Transcript) -> None:
        try:
            request = HandshakeRequest(await read_head(reader, HEAD_WITHIN))
            parts = urlsplit(request.target)
        except (AssertionError, ValueError):
            return  # no HTTP, or no URL
        query = dict(parse_qsl(parts.query))
        name = query.get("agent", ANONYMOUS)
        _, _, wanted = parts.path.partition("/m/")
        if parts.path == LANDED:
            await _echo(request, reader, writer, transcript)
        elif parts.path.startswith("/m/") and wanted in self.misbehaviours and _asks_for_websocket(request):
            await self._visited(self.misbehaviours[wanted], name, request, reader, writer, transcript)
        else:
            status, kind, body = self._page(parts.path, wanted)
            writer.write(answer(status, kind, body))
            try:
                await asyncio.wait_for(_delivered(writer), PAGE_WITHIN)
            except (asyncio.TimeoutError, OSError):
                pass  # the reader has left, or takes too long

    async def _visited(
        self,
        misbehaviour: Misbehaviour,
        name: str,
        request: HandshakeRequest,
        reader: TapReader,
        writer: TapWriter,
        transcript: Transcript,
    ) -> None:
        agent = self.agent(name)
        agent.came()
        visiting = visit(misbehaviour, request, reader, writer, transcript, self._patience)
        try:
            outcome = await asyncio.wait_for(visiting, LIMIT)
        except asyncio.TimeoutError:
            outcome = Outcome(how="silent", breaches=(f"the visit took more than {LIMIT:g} seconds",))
        agent.add(Visit(misbehaviour, outcome, misbehaviour.judgement.verdict(outcome), str(transcript)))

    def _page(self, path: str, wanted: str) -> tuple[int, str, str]:
        if path == "/":
            reports = [agent.as_json() for agent in self.agents.values()]
            return 200, "text/html", index_page(self.misbehaviours, reports)
        if path == "/catalogue.json":
            catalogue = [
                {
                    "name": each.name,
                    "group": each.group,
                    "section": each.section,
                    "server": each.summary,
                    "good": each.good,
                    "slow": each.slow,
                }
                for each in self.misbehaviours.values()
            ]
            return 200, "application/json", json.dumps(catalogue, indent=1)
        if path.startswith("/agents/") and path.endswith(".json"):
            found = self.agents.get(unquote(path[len("/agents/") : -len(".json")]))
            if found is not None:
                return 200, "application/json", json.dumps(found.as_json(), indent=1)
        if path.startswith("/m/") and wanted in self.misbehaviours:
            return 426, "text/html", entry_page(self.misbehaviours[wanted])
        return 404, "text/plain", "There is no such page.\n"


async def _delivered(writer: TapWriter) -> None:
    """Close the connection, and wait until all that was written is sent."""
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def _asks_for_websocket(request: HandshakeRequest) -> bool:
    return "websocket" in request.listed("Upgrade")


async def _echo(request: HandshakeRequest, reader: TapReader, writer: TapWriter, transcript: Transcript) -> None:
    """The end of a redirect: a session that is closed at once."""
    peer = Peer(reader, writer, transcript, request)
    try:
        await Handshake().send(writer, request)
        await peer.close(1000)
        await peer.expect(Opcode.CLOSE, skip=True)
        await peer.half_close()
        await peer.ends()
    except (AssertionError, RawWSError):
        pass
    finally:
        peer.abort()


def chosen(names: Iterable[str] | None = None, *, slow: bool = True) -> dict[str, Misbehaviour]:
    """Choose from the catalogue.

    Args:
        names: Names, or the beginnings of names with a ``*`` behind them. Default: None (all).
        slow: Those that take more than a few seconds, too. Default: True.

    Raises:
        TypeError: ``names`` is a str.
        KeyError: A name is not in the catalogue.
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a list of names, such as [{names!r}], not {names!r}")
    found: dict[str, Misbehaviour] = {}
    for name in MISBEHAVIOURS if names is None else names:
        matching = [each for each in MISBEHAVIOURS if name.endswith("*") and each.startswith(name[:-1])] or [name]
        for each in matching:
            if slow or not MISBEHAVIOURS[each].slow:
                found[each] = MISBEHAVIOURS[each]
    return found


def misbehaving_server(
    names: Iterable[str] | None = None,
    *,
    slow: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    patience: float | None = None,
) -> MisbehavingServer:
    """Serve the catalogue: ``async with misbehaving_server() as server: await my_client(server.url("rsv1", "mine"))``.

    Args:
        names: The misbehaviours to serve; ``"utf8-*"`` stands for all that begin so. Default: None (all).
        slow: Those that take more than a few seconds, too. Default: True.
        host: The address to listen on. Default: "127.0.0.1".
        port: The port. Default: 0 (a free one).
        patience: Seconds that a client has to react. Default: None (those of each misbehaviour).

    Returns:
        The server.

    Raises:
        KeyError: A name is not in the catalogue.
        TypeError: ``names`` is a str, or ``patience`` is no number.
        ValueError: ``patience`` is not more than 0.
    """
    return MisbehavingServer(chosen(names, slow=slow), host, port, check_seconds("patience", patience))
