"""Helpers for tests: sessions for handlers, and peers that follow a script or misbehave.

Import it as ``from aiohttp_rawws import testing``.
"""

from .handshake import Fields, Handshake, HandshakeOf, HandshakeRequest, HandshakeResponse, Head
from .peer import Peer, Script, Wanted
from .server import ScriptedServer, scripted_server
from .sessions import ManagedServerPair, ServerPair, managed_server_pair, server_pair
from .transcript import End, Line, TapReader, TapWriter, Transcript

__all__ = [
    "End",
    "Fields",
    "Handshake",
    "HandshakeOf",
    "HandshakeRequest",
    "HandshakeResponse",
    "Head",
    "Line",
    "ManagedServerPair",
    "Peer",
    "Script",
    "ScriptedServer",
    "ServerPair",
    "TapReader",
    "TapWriter",
    "Transcript",
    "Wanted",
    "managed_server_pair",
    "scripted_server",
    "server_pair",
]
