"""The servers, clients and gateways that the suite judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Subject:
    """One program under test, and what stands between it and the suite.

    Attributes:
        module: The module of this folder that runs it.
        word: Its argument.
        path: The path of the server. Default: "/".
        is_client: The suite is the server. Default: False.
        is_ours: It runs on either codec. Default: True.
        gateway: The pump of our gateway in between: "bytes" passes bytes as they came, "frames" each frame through a
            callback. None: there is no gateway. Default: None.
    """

    module: str
    word: str
    path: str = "/"
    is_client: bool = False
    is_ours: bool = True
    gateway: Literal["bytes", "frames"] | None = None


PEERS = ("aiohttp", "websockets", "picows")
SUBJECTS = {
    "managed": Subject("server", "rawws"),
    "raw": Subject("server", "rawws", path="/raw"),
    "client": Subject("clients", "rawws", is_client=True),
    "gateway": Subject("server", "rawws", gateway="bytes"),
    "gateway-frames": Subject("server", "rawws", gateway="frames"),
    "gateway-client": Subject("clients", "rawws", is_client=True, gateway="bytes"),
    "gateway-client-frames": Subject("clients", "rawws", is_client=True, gateway="frames"),
    **{peer: Subject("peers", peer, is_ours=False) for peer in PEERS},
    **{f"{peer}-client": Subject("clients", peer, is_client=True, is_ours=False) for peer in PEERS},
}


def without_gateway(name: str) -> str | None:
    """Return the name of the subject, or of the result, of which ``name`` is the one through a gateway, else None."""
    first, _, rest = name.partition("-")
    if first != "gateway":
        return None
    words = [word for word in rest.split("-") if word not in ("", "frames")]
    return "-".join(words if words[:1] == ["client"] else ["managed", *words])
