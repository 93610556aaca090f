"""The common part of the gateways: the server behind them, an echo in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from serving import arguments

FOLDER = Path(__file__).parent


def upstream() -> int:
    """Start the server behind the gateway and return its port. It lives as long as this process."""
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / "ours_listen.py"), f"--loop={arguments().loop}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "AIOHTTP_RAWWS_NO_EXTENSIONS": ""},
    )
    _running.append(process)
    assert process.stdout is not None
    return int(json.loads(process.stdout.readline())["port"])


_running: list[subprocess.Popen[bytes]] = []
