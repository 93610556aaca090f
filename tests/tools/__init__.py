"""Helpers that tests share: a clock, peers, ways into each phase of a session."""
