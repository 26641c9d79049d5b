"""Voke's wire format: canonical JSON, signatures, envelopes and their size (protocol §4–§6)."""
