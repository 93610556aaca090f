"""Tests of aiohttp_rawws.session."""
