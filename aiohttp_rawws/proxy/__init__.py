"""Gateways: a client on one side, an upstream server on the other."""
