"""Tests that run the operator against a real API."""

from tests.cluster.operator_fixtures import installation, voke

__all__ = ["installation", "voke"]
