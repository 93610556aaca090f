"""Helpers for tests: sessions for handlers, and peers that follow a script or misbehave.

Import it as ``from aiohttp_rawws import testing``.
"""

from .agents import Agent, MisbehavingServer, Visit, misbehaving_server
from .client import handshake_request, scripted_client
from .handshake import Fields, Handshake, HandshakeOf, HandshakeRequest, HandshakeResponse, Head
from .limits import ScriptTimeout
from .misbehaviours import MISBEHAVIOURS
from .misbehaviours.entry import Misbehaviour
from .peer import Peer, Script, Wanted
from .server import ScriptedServer, scripted_server
from .sessions import ManagedServerPair, ServerPair, managed_server_pair, server_pair
from .transcript import End, Line, TapReader, TapWriter, Transcript
from .verdicts import How, Judgement, Outcome, Reaction, Verdict

__all__ = [
    "MISBEHAVIOURS",
    "Agent",
    "End",
    "Fields",
    "Handshake",
    "HandshakeOf",
    "HandshakeRequest",
    "HandshakeResponse",
    "Head",
    "How",
    "Judgement",
    "Line",
    "ManagedServerPair",
    "MisbehavingServer",
    "Misbehaviour",
    "Outcome",
    "Peer",
    "Reaction",
    "Script",
    "ScriptTimeout",
    "ScriptedServer",
    "ServerPair",
    "TapReader",
    "TapWriter",
    "Transcript",
    "Verdict",
    "Visit",
    "Wanted",
    "handshake_request",
    "managed_server_pair",
    "misbehaving_server",
    "scripted_client",
    "scripted_server",
    "server_pair",
]
