"""The measurements: the programs, the work, the rows of the table with their targets, the plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness import Program, Workload

PYTHON_ONLY = (("AIOHTTP_RAWWS_NO_EXTENSIONS", "1"), ("AIOHTTP_RAWWS_REQUIRE_COMPILED", ""))

PROGRAMS = {
    "listen": Program("`listen()`", "ours_listen"),
    "raw": Program("`async for`", "ours_raw"),
    "managed": Program("managed `async for`", "ours_managed"),
    "python": Program("`async for`, Python codec", "ours_raw", environment=PYTHON_ONLY),
    "deflate": Program("managed `async for`, permessage-deflate", "ours_deflate"),
    "broadcast": Program("`broadcast()`", "ours_broadcast"),
    "stream": Program("`receive_stream()`", "ours_stream"),
    "stream.managed": Program("managed `receive_stream()`", "ours_stream_managed"),
    "tcp.sink": Program("raw TCP `asyncio.BufferedProtocol` that throws it away", "tcp_sink", tcp=True),
    "tcp": Program("raw TCP `asyncio.Protocol`", "tcp", tcp=True),
    "picows": Program("picows core", "picows_listener"),
    "picows.websockets": Program("picows' awaitable API", "picows_websockets"),
    "aiohttp": Program("aiohttp", "aiohttp_echo"),
    "websockets": Program("websockets", "websockets_echo"),
    "gateway": Program("`pump()`", "gateway_pump"),
    "gateway.frames": Program("`pump(on_frame=...)`", "gateway_pump", environment=(("GATEWAY_FRAMES", "1"),)),
    "gateway.tcp": Program("a relay of TCP", "gateway_tcp"),
    "gateway.aiohttp": Program("a gateway with aiohttp", "gateway_aiohttp"),
    "gateway.websockets": Program("a gateway with websockets", "gateway_websockets"),
    "client.listen": Program("`connect_raw()`, `listen()`", "client_ours_listen", client=True),
    "client.raw": Program("`connect_raw()`", "client_ours_raw", client=True),
    "client.managed": Program("`connect()`", "client_ours_managed", client=True),
    "client.picows": Program("picows' client", "client_picows_listener", client=True),
    "client.websockets": Program("websockets' client", "client_websockets", client=True),
    "client.aiohttp": Program("aiohttp's client", "client_aiohttp", client=True),
    "tcp.broadcast": Program("a write to each transport", "tcp_broadcast"),
    "websockets.broadcast": Program("websockets' `broadcast`", "websockets_broadcast"),
}

Measure = Literal["throughput", "cpu", "memory"]


@dataclass(frozen=True)
class Row:
    """A line of the table: ours over the peer's, by throughput, by messages per CPU second or by resident memory."""

    key: str
    work: str
    ours: str
    peer: str
    workload: Workload
    target: float
    measure: Measure = "throughput"

    @property
    def at_most(self) -> bool:
        return self.measure == "memory"

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.target if self.at_most else ratio >= self.target


SMALL = Workload("256 B echo, 1 in flight, 16 connections")
PIPELINED = Workload("256 B echo, 16 in flight, 8 connections", connections=8, depth=16)
LARGE = Workload("64 KiB echo, 8 connections", connections=8, size=2**16)
HUGE = Workload("1 MiB echo, 4 connections", connections=4, size=2**20)
SUNK = Workload("16 MiB frames that are read and thrown away, 4 connections", connections=4, size=2**24, sink=True)
IDLE = Workload("idle connection", mode="idle", connections=2000)
FAN_OUT = Workload(
    "broadcast of one 256 B frame to 5000 sessions, deliveries per CPU second", mode="broadcast", connections=5000
)
DEFLATED = Workload("permessage-deflate echo of 1 KiB JSON, 16 connections", size=1024, deflate=True)

ROWS = (
    Row("tcp", SMALL.name, "listen", "tcp", SMALL, 0.95),
    Row("picows", SMALL.name, "listen", "picows", SMALL, 1.0),
    Row("awaitable", SMALL.name, "raw", "picows.websockets", SMALL, 1.1),
    Row("aiohttp", SMALL.name, "raw", "aiohttp", SMALL, 1.5),
    Row("websockets", SMALL.name, "raw", "websockets", SMALL, 3),
    Row("pipelined-listen", PIPELINED.name, "listen", "picows", PIPELINED, 8),
    Row("pipelined-raw", PIPELINED.name, "raw", "picows", PIPELINED, 5),
    Row("pipelined-managed", PIPELINED.name, "managed", "aiohttp", PIPELINED, 4),
    Row("64k", LARGE.name, "listen", "picows", LARGE, 1.0),
    Row("1m", HUGE.name, "listen", "picows", HUGE, 1.0),
    Row("stream", SUNK.name, "stream", "tcp.sink", SUNK, 0.8),
    Row("stream-managed", "the same, as messages", "stream.managed", "tcp.sink", SUNK, 0.8),
    Row("idle", "idle connection, resident memory", "raw", "aiohttp", IDLE, 0.75, "memory"),
    Row("idle-managed", "the same, with keepalive", "managed", "aiohttp", IDLE, 1.0, "memory"),
    Row("broadcast", FAN_OUT.name, "broadcast", "websockets.broadcast", FAN_OUT, 3, "cpu"),
    Row("broadcast-tcp", "the same, against its ceiling", "broadcast", "tcp.broadcast", FAN_OUT, 0.8, "cpu"),
    Row("deflate", DEFLATED.name, "deflate", "aiohttp", DEFLATED, 1.2),
    Row("python", SMALL.name, "python", "aiohttp", SMALL, 0.7),
    Row("client-picows", f"client, {SMALL.name}", "client.listen", "client.picows", SMALL, 1.0, "cpu"),
    Row("client-websockets", f"client, {SMALL.name}", "client.raw", "client.websockets", SMALL, 2.0, "cpu"),
    Row("client-aiohttp", f"client, {SMALL.name}", "client.managed", "client.aiohttp", SMALL, 1.0, "cpu"),
    Row("gateway", f"gateway, {SMALL.name}", "gateway", "gateway.tcp", SMALL, 0.8, "cpu"),
    Row("gateway-pipelined", f"gateway, {PIPELINED.name}", "gateway", "gateway.tcp", PIPELINED, 0.8, "cpu"),
    Row("gateway-64k", f"gateway, {LARGE.name}", "gateway", "gateway.tcp", LARGE, 0.8, "cpu"),
    Row("gateway-1m", f"gateway, {HUGE.name}", "gateway", "gateway.tcp", HUGE, 0.8, "cpu"),
    Row("gateway-frames", f"gateway, {PIPELINED.name}", "gateway.frames", "gateway.tcp", PIPELINED, 0.5, "cpu"),
    Row("gateway-aiohttp", f"gateway, {PIPELINED.name}", "gateway", "gateway.aiohttp", PIPELINED, 4, "cpu"),
    Row("gateway-websockets", f"gateway, {PIPELINED.name}", "gateway", "gateway.websockets", PIPELINED, 4, "cpu"),
)

ECHOES = ("listen", "raw", "managed", "picows", "picows.websockets", "aiohttp", "websockets")


@dataclass(frozen=True)
class Sweep:
    """A plot: the same work at every value of ``points``. value: what is drawn of each."""

    key: str
    title: str
    x_label: str
    y_label: str
    points: tuple[int, ...]
    programs: tuple[str, ...]
    value: Literal["rate", "cpu", "memory"]
    log_y: bool = True

    def workload(self, point: int) -> Workload:
        if self.key == "size":
            return Workload(f"{point} B echo", connections=8, size=point)
        if self.key == "depth":
            return Workload(f"256 B echo, {point} in flight", connections=8, depth=point)
        return Workload(f"256 B echo, {point} connections", connections=point)


SWEEPS = (
    Sweep(
        "size",
        "Throughput by message size",
        "bytes in a message (8 connections, 1 in flight)",
        "messages per second",
        (16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576),
        (*ECHOES, "tcp"),
        "rate",
    ),
    Sweep(
        "depth",
        "Throughput by messages in flight",
        "messages in flight on each of 8 connections (256 B)",
        "messages per second",
        (1, 2, 4, 8, 16, 32, 64),
        (*ECHOES, "tcp"),
        "rate",
    ),
    Sweep(
        "memory",
        "Memory of idle connections",
        "connections",
        "KiB of resident memory for each",
        (100, 300, 1000, 3000, 10000),
        ECHOES,
        "memory",
        log_y=False,
    ),
    Sweep(
        "connections",
        "Cost as connections grow",
        "connections, each with one message in flight (256 B)",
        "µs of the server's CPU per message",
        (10, 30, 100, 300, 1000, 3000, 10000),
        (*ECHOES, "tcp"),
        "cpu",
    ),
)
