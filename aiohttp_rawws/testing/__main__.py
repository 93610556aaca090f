"""``python -m aiohttp_rawws.testing``: a server that misbehaves, one URL for each misbehaviour."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from ..session.options import check_seconds
from .agents import Agent, MisbehavingServer, chosen, misbehaving_server
from .verdicts import Verdict

FAILED, UNUSABLE, NON_STRICT, INCOMPLETE = 1, 2, 3, 4  # exit codes; argparse uses 2, too


def seconds(text: str) -> float:
    """Return a duration of the command line.

    Raises:
        ValueError: It is no number, or not more than 0.
    """
    value = check_seconds("seconds", float(text), needed=True)
    assert value is not None
    return value


def port(text: str) -> int:
    """Return a port of the command line.

    Raises:
        ValueError: There is no such port.
    """
    number = int(text)
    if not 0 <= number < 2**16:
        raise ValueError
    return number


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m aiohttp_rawws.testing",
        description="A server that misbehaves, for tests of WebSocket clients. It has a URL for each misbehaviour, and "
        "keeps a verdict on each client: OK, NON-STRICT, FAILED, or UNIMPLEMENTED.",
        epilog="Exit codes: 2 (it cannot do what you asked for). With --once also 1 (something has FAILED), "
        "3 (something is NON-STRICT, with --strict), 4 (--timeout was reached). Else 0.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help='misbehaviours to serve, such as rsv1 or "utf8-*" (all)'
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=port, default=9100, help="port, 0 for a free one (%(default)s)")
    parser.add_argument("--agent", metavar="NAME", help="the client to report on at the end")
    parser.add_argument("--once", action="store_true", help="exit when the agent has visited everything")
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="with --once, exit after so long at the latest"
    )
    parser.add_argument("--strict", action="store_true", help="with --once, NON-STRICT is a failure, too")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than a few seconds")
    parser.add_argument("--patience", type=seconds, metavar="SECONDS", help="time that a client has to react")
    parser.add_argument("--report", metavar="FILE", help="write the report on the agent to this file at the end")
    parser.add_argument("--list", action="store_true", help="list the misbehaviours, and exit")
    found = parser.parse_args(argv)
    if (found.once or found.report) and not found.agent:
        parser.error("--once and --report need --agent NAME")
    if (found.strict or found.timeout is not None) and not found.once:
        parser.error("--strict and --timeout need --once")
    if found.report and (Path(found.report).is_dir() or not Path(found.report).absolute().parent.is_dir()):
        parser.error(f"no report can be written to {found.report}")
    return found


def summary(agent: Agent) -> str:
    """Return the verdicts on an agent as text: the counts, and a line for all that is not OK."""
    verdicts = agent.verdicts()
    counts = ", ".join(f"{list(verdicts.values()).count(each)} {each}" for each in Verdict if each in verdicts.values())
    lines = [f"{agent.name}: {counts or 'no visit'}"]
    for name, verdict in verdicts.items():
        if verdict not in (Verdict.OK, Verdict.UNIMPLEMENTED):
            seen = agent.visits[name]
            lines.append(f"  {verdict} {name} ({seen.misbehaviour.section}): {seen.outcome}")
    lines += [f"  not visited: {name}" for name in agent.missing()]
    return "\n".join(lines)


def exit_code(agent: Agent, strict: bool) -> int:
    """Return the exit code for the verdicts on an agent."""
    verdicts = set(agent.verdicts().values())
    if Verdict.FAILED in verdicts:
        return FAILED
    if agent.missing():
        return INCOMPLETE
    return NON_STRICT if strict and Verdict.NON_STRICT in verdicts else 0


async def serve(options: argparse.Namespace, server: MisbehavingServer) -> int:
    """Serve until a signal, or until the agent was everywhere."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    handled = (signal.SIGINT, signal.SIGTERM) if sys.platform != "win32" else ()  # there SIGINT raises
    for number in handled:
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as exc:
            print(f"No server can listen on {options.host}, port {options.port}: {exc}", file=sys.stderr)
            return UNUSABLE
        count = len(server.misbehaviours)
        print(f"http://{server.origin}/ has {count} misbehaviour{'s' * (count > 1)}", flush=True)
        tasks = [loop.create_task(stop.wait())]
        if options.once:
            tasks.append(loop.create_task(server.agent(options.agent).complete.wait()))
        try:
            await asyncio.wait(tasks, timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for number in handled:
                loop.remove_signal_handler(number)
    if not options.agent:
        return 0
    agent = server.agent(options.agent)
    print(summary(agent))
    if agent.missing() and (others := sorted(server.agents.keys() - {agent.name})):
        print(f"  other agents came: {', '.join(others)}")
    return exit_code(agent, options.strict) if options.once else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. Default: None (those of the process).

    Returns:
        The exit code.
    """
    options = arguments(argv)
    try:
        misbehaviours = chosen(options.names or None, slow=not options.quick)
    except KeyError as exc:
        print(f"There is no misbehaviour {exc}. --list has their names.", file=sys.stderr)
        return UNUSABLE
    if not misbehaviours:
        print("Nothing is left to serve: --quick leaves out what is slow.", file=sys.stderr)
        return UNUSABLE
    if options.list:
        for each in misbehaviours.values():
            print(f"{each.name:34} {each.section:18} {each.summary}")
        return 0
    server = misbehaving_server(misbehaviours, host=options.host, port=options.port, patience=options.patience)
    try:
        code = asyncio.run(serve(options, server))
    except KeyboardInterrupt:
        code = 0
    if options.report and code != UNUSABLE:
        report = server.agent(options.agent).as_json()
        try:
            Path(options.report).write_text(json.dumps(report, indent=1), encoding="utf-8")
        except OSError as exc:
            print(f"The report cannot be written: {exc}", file=sys.stderr)
            return UNUSABLE
    return code


if __name__ == "__main__":
    sys.exit(main())
