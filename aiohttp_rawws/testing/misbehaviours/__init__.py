"""The catalogue of misbehaviours: what a server can do to a client, and what a good client does then."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import closing, deflate, frames, handshake, timing
from .entry import Misbehaviour

MISBEHAVIOURS: Mapping[str, Misbehaviour] = MappingProxyType(
    {entry.name: entry for module in (handshake, frames, closing, timing, deflate) for entry in module.ENTRIES}
)
"""All misbehaviours by name, in the order of the catalogue."""
