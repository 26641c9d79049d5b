"""The voke command."""
