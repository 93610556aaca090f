"""Helpers for tests of session handlers. Import it as ``from aiohttp_rawws import testing``."""

from .sessions import ManagedServerPair, ServerPair, managed_server_pair, server_pair

__all__ = ["ManagedServerPair", "ServerPair", "managed_server_pair", "server_pair"]
