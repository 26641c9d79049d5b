"""Tests that run ``kubectl voke`` against a real API."""

from tests.cluster.operator_fixtures import installation, voke

__all__ = ["installation", "voke"]
