"""Sessions of mixed behaviour against a server process, for as long as wanted. Each echoed message is checked by its
sequence number and checksum; the server's memory and descriptors must come back to where they were. Then gigabytes
through streams, see ``streams.py``.

Fails (status 1) when a byte is wrong, missing or doubled, when memory grows, or when anything is left at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from ..tools.peers import BINARY, CLOSE, PING, PONG, Peer, close_frame, frame
from . import streams

ROOT = Path(__file__).parent.parent.parent
ALLOWED_GROWTH = 4 * 2**20  # of the median memory, second half against the quarter before it; or a twentieth
NOISE = random.Random(0).randbytes(2**18)


class Soak:
    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.dice = random.Random(seed)
        self.sessions: Counter[str] = Counter()
        self.messages = self.bytes = 0
        self.ended = False

    # ---- messages ---------------------------------------------------------------------

    def message(self, number: int) -> bytes:
        """A sequence number, a checksum, and what it is of."""
        dice = self.dice
        size = dice.choice((0, 10, 100, 100, 1000, 1000, 10_000, 100_000 if dice.random() < 0.2 else 20_000))
        at = dice.randrange(len(NOISE) - size)
        body = NOISE[at : at + size] if dice.random() < 0.5 else (b"%d compressible " % number * (size // 8 + 1))[:size]
        return struct.pack("!QI", number, zlib.crc32(body, number & 0xFFFFFFFF)) + body

    def check(self, payload: bytes, number: int) -> None:
        got, checksum = struct.unpack_from("!QI", payload)
        assert got == number, f"message {got} where {number} is due"
        assert zlib.crc32(payload[12:], number & 0xFFFFFFFF) == checksum, f"message {number} is damaged"
        self.messages += 1
        self.bytes += len(payload)

    # ---- behaviours -------------------------------------------------------------------

    async def connect(self, path: str) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        await peer.open(path)
        return peer

    async def one_by_one(self, path: str) -> None:
        peer = await self.connect(path)
        for number in range(self.dice.randint(1, 30)):
            message = self.message(number)
            await peer.send(frame(BINARY, message))
            assert await peer.frame() == (BINARY, message)
            self.check(message, number)
        await self.finish(peer)

    async def pipelined(self, path: str) -> None:
        """Many in flight, cut anywhere, pings in between."""
        peer = await self.connect(path)
        count = self.dice.randint(1, 40)
        stream = b""
        for number in range(count):
            stream += frame(BINARY, self.message(number))
            if number % 7 == 3:
                stream += frame(PING, b"%d" % number)

        async def write() -> None:
            position = 0
            while position < len(stream):
                size = self.dice.choice((1, 7, 1000, 65536, 262144))
                await peer.send(stream[position : position + size])
                position += size

        writing = asyncio.create_task(write())
        pongs = []
        for number in range(count):
            opcode, payload = await peer.frame()
            while opcode == PONG:
                pongs.append(payload)
                opcode, payload = await peer.frame()
            assert opcode == BINARY
            self.check(payload, number)
        await writing
        await self.finish(peer, pongs)
        assert pongs == [b"%d" % number for number in range(count) if number % 7 == 3], pongs

    async def slow_peer(self, path: str) -> None:
        """Lets the server wait for it to read."""
        peer = await self.connect(path)
        messages = [frame(BINARY, self.message(number)) for number in range(60)]
        writing = asyncio.create_task(peer.send(*messages))
        for number in range(60):
            if number % 20 == 0:
                await asyncio.sleep(0.05)
            opcode, payload = await peer.frame()
            assert opcode == BINARY
            self.check(payload, number)
        await writing
        await self.finish(peer)

    async def trickle(self, path: str) -> None:
        peer = await self.connect(path)
        message = struct.pack("!QI", 0, zlib.crc32(b"tick", 0)) + b"tick"
        for byte in frame(BINARY, message):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        opcode, payload = await peer.frame()
        assert opcode == BINARY
        self.check(payload, 0)
        await self.finish(peer)

    async def vanishing(self, path: str) -> None:
        """Resets in the middle of anything."""
        peer = await self.connect(path)
        stream = b"".join(frame(BINARY, self.message(number)) for number in range(20))
        peer.writer.write(stream[: self.dice.randrange(len(stream))])
        await asyncio.sleep(self.dice.random() * 0.02)
        peer.reset()

    async def half_closing(self, path: str) -> None:
        """Ends its side after its last frame; every echo still comes if frames are taken one by one."""
        peer = await self.connect(path)
        count = self.dice.randint(1, 10)
        await peer.send(*(frame(BINARY, self.message(number)) for number in range(count)))
        peer.writer.write_eof()
        for number in range(count):
            opcode, payload = await peer.frame()
            assert opcode == BINARY
            self.check(payload, number)
        assert await peer.read_to_end() == b""
        await peer.close()

    async def compressed(self, path: str) -> None:
        """By aiohttp's client, with permessage-deflate."""
        async with aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{self.port}{path}"
            async with client.ws_connect(url, compress=15, max_msg_size=0, timeout=_patience()) as ws:
                assert ws.compress
                count = self.dice.randint(1, 20)
                messages = [self.message(number) for number in range(count)]

                async def write() -> None:
                    for message in messages:
                        await ws.send_bytes(message)

                writing = asyncio.create_task(write())
                for number, message in enumerate(messages):
                    payload = await asyncio.wait_for(ws.receive_bytes(), 30)
                    assert payload == message
                    self.check(payload, number)
                await writing

    async def finish(self, peer: Peer, pongs: list[bytes] | None = None) -> None:
        await peer.send(close_frame(1000))
        opcode, payload = await peer.frame()
        while opcode == PONG and pongs is not None:
            pongs.append(payload)
            opcode, payload = await peer.frame()
        assert (opcode, payload[:2]) == (CLOSE, b"\x03\xe8")
        assert await peer.read_to_end() == b""
        await peer.close()

    # ---- the run ----------------------------------------------------------------------

    def behaviours(self) -> list[tuple[Callable[[str], Awaitable[None]], str]]:
        plain = [self.one_by_one, self.pipelined, self.slow_peer, self.trickle, self.vanishing]
        paths = ["/raw", "/listen", "/managed", "/pump", "/pump-frames"]
        return [
            *itertools.product(plain, paths),
            (self.half_closing, "/raw"),
            (self.half_closing, "/pump"),
            (self.half_closing, "/pump-frames"),
            (self.pipelined, "/pump-later"),
            (self.vanishing, "/pump-later"),
            (self.vanishing, "/slow"),
            (self.one_by_one, "/slow"),
            (self.pipelined, "/slow"),
            *[(self.compressed, "/deflate")] * 3,
        ]

    async def visitor(self) -> None:
        """One session after the other."""
        while not self.ended:
            behaviour, path = self.dice.choice(self.behaviours())
            name = f"{behaviour.__name__} {path}"
            try:
                await asyncio.wait_for(behaviour(path), 60)
            except Exception as exc:
                where = traceback.extract_tb(exc.__traceback__)[-1]
                raise AssertionError(f"{name}: {exc!r} in line {where.lineno} of {where.filename}") from exc
            self.sessions[name] += 1


def _patience() -> aiohttp.ClientWSTimeout:
    return aiohttp.ClientWSTimeout(ws_close=10)


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def run(seconds: float, at_once: int, seed: int) -> list[str]:
    """Returns what was wrong."""
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.server", cwd=ROOT, stdin=pipe, stdout=pipe
    )
    assert server.stdin is not None and server.stdout is not None
    wrong: list[str] = []
    try:
        port = int(await asyncio.wait_for(server.stdout.readline(), 30))
        soak = Soak(port, seed)
        start_memory, start_fds, peak_fds = memory(server.pid), descriptors(server.pid), 0
        visitors = [asyncio.create_task(soak.visitor()) for _ in range(at_once)]
        began = time.monotonic()
        samples: list[int] = []
        while (elapsed := time.monotonic() - began) < seconds and not wrong:
            done, _ = await asyncio.wait(
                visitors, timeout=min(0.25, seconds - elapsed), return_when=asyncio.FIRST_EXCEPTION
            )
            wrong += [str(task.exception()) for task in done]
            samples.append(memory(server.pid))
            peak_fds = max(peak_fds, descriptors(server.pid))
        soak.ended = True
        for outcome in await asyncio.gather(*visitors, return_exceptions=True):
            if isinstance(outcome, BaseException) and str(outcome) not in wrong:
                wrong.append(str(outcome))
        for _ in range(300):
            end_fds = descriptors(server.pid)
            if end_fds <= start_fds:
                break
            await asyncio.sleep(0.02)
        end_memory = memory(server.pid)
        server.stdin.close()
        left = (await asyncio.wait_for(server.stdout.readline(), 30)).decode().strip()
        status = await asyncio.wait_for(server.wait(), 30)
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
    quarter = len(samples) // 4
    before = int(statistics.median(samples[quarter : 2 * quarter] or [0]))
    after = int(statistics.median(samples[2 * quarter :] or [0]))
    if quarter >= 20 and after - before > max(ALLOWED_GROWTH, before // 20):
        wrong.append(f"memory grew from {before >> 20} to {after >> 20} MiB")
    if end_fds > start_fds:
        wrong.append(f"{end_fds - start_fds} descriptors left")
    if left != "left: 0 connections, 0 sessions, 0 tasks" or status:
        wrong.append(f"{left}; status {status}")
    for name, count in sorted(soak.sessions.items()):
        print(f"  {name:24} {count:8}")
    print(
        f"{soak.sessions.total()} sessions, {at_once} at a time, {soak.messages} messages, "
        f"{soak.bytes / 1e6:.0f} MB each way checked, in {time.monotonic() - began:.0f} s\n"
        f"memory: {start_memory / 2**20:.1f} MiB at the start, median {before / 2**20:.1f} in the second quarter, "
        f"{after / 2**20:.1f} in the second half, {end_memory / 2**20:.1f} at the end\n"
        f"descriptors: {start_fds} at the start, {peak_fds} at most, {end_fds} at the end; {left}"
    )
    return wrong


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    options.add_argument("--seconds", type=float, default=120.0, help="how long; %(default)s")
    options.add_argument("--sessions", type=int, default=50, help="at a time; %(default)s")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--stream-bytes", type=int, help="through each stream; 10 GB from 120 seconds on, less before")
    given = options.parse_args()
    size = given.stream_bytes
    if size is None:
        size = max(64 * 2**20, int(10**10 * min(1.0, given.seconds / 120) ** 2))
    wrong = asyncio.run(run(given.seconds, given.sessions, given.seed))
    wrong += asyncio.run(streams.run(size))
    for text in wrong:
        print(f"WRONG: {text}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
