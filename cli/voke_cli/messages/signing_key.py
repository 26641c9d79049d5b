"""Whose message it is and with which HMAC key: from a file, or from the state directory of ``voke run``.

A key is never an argument of the command: arguments are in shell histories and process lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from voke_cli.state import State, StateError, default_directory
from voke_operator.credentials.material import HMAC_KEY


class NoKeyError(Exception):
    """It cannot be told which key to use; the message says how to name one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The key to use, and others that may have been used by mistake."""

    key: bytes = field(repr=False)
    plant_id: str | None
    """None: the key came from a file and nobody said whose it is."""
    others: dict[str, bytes] = field(repr=False)
    """Keys of the other plants in the state directory, by name."""


def find_keys(
    *,
    key_file: Path | None,
    plant: str | None,
    plant_id: str | None,
    state: Path | None,
    topic_id: str | None,
) -> Keys:
    """Look for the key of a plant.

    Args:
        key_file: a file with the key alone; a line end is not part of it.
        plant: name of a plant in the state directory.
        plant_id: Voke's id, as given by a person.
        state: the state directory; None: the usual one.
        topic_id: the plant id in the message's topic.

    Raises:
        NoKeyError: there is none, or it cannot be read.
    """
    held = _held(State(state or default_directory()), wanted=key_file is None)
    if key_file is not None:
        key = _from_file(key_file)
        others = {name: other for name, (_, other) in held.items() if other != key}
        return Keys(key, plant_id, others)
    wanted_id = plant_id or topic_id
    for name, (id_, key) in held.items():
        if name == plant or (plant is None and id_ == wanted_id):
            others = {each: other for each, (_, other) in held.items() if each != name}
            return Keys(key, plant_id or id_, others)
    who = f"plant {plant or wanted_id}" if plant or wanted_id else "the message"
    names = ", ".join(sorted(held)) or "none"
    raise NoKeyError(
        f"there is no HMAC key for {who}: give --key-file, or --plant with the name of a plant whose key "
        f"voke run has made (in {state or default_directory()}: {names})"
    )


def _from_file(path: Path) -> bytes:
    try:
        key = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise NoKeyError(f"cannot read {path}: {error.strerror}") from None
    if not key:
        raise NoKeyError(f"{path} is empty; it holds the HMAC key and nothing else")
    return key


def _held(state: State, *, wanted: bool) -> dict[str, tuple[str, bytes]]:
    """Plant ids and keys in the state directory, by plant name."""
    try:
        return {
            known.name: (known.plant_id, material[HMAC_KEY])
            for known in state.known()
            if HMAC_KEY in (material := state.material(known.name))
        }
    except (StateError, OSError, ValueError) as error:
        if wanted:
            raise NoKeyError(f"cannot read {state.directory}: {error}") from None
        return {}
