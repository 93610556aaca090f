"""Thousands of sessions of mixed behaviour against a server process: ``python -m tests.soak --help``."""
