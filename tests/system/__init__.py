"""Tests of whole programs: demos, docs, other clients, faults, memory, packaging."""
