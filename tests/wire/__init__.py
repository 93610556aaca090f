"""Tests of aiohttp_rawws.wire."""
