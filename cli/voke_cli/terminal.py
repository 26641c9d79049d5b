"""Text from files and devices, made safe to show on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
