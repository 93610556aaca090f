"""Tests of aiohttp_rawws.extensions."""
