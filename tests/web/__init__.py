"""Tests of aiohttp_rawws.web."""
