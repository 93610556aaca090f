"""The Autobahn conformance suite against our servers and against the peers: ``python -m tests.autobahn.run --help``."""
