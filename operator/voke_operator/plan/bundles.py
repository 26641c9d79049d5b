"""The bundle of one shard: what there is of it, and what it is to be, at the price of what has changed.

What does not fit costs only the plants that grew: they stay as they were in the bundle before, with a note
that says why, the largest growth first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from voke_api.bundle import (
    MANIFEST,
    BundleTooLargeError,
    BundleUnreadableError,
    Contents,
    Leaving,
    PackedPlant,
    UnknownFormatError,
    assemble,
    contents,
    packed_in,
    says_the_same,
)
from voke_api.resources import DeviceProfile
from voke_api.resources.common import listed
from voke_api.status import GatewayStatus
from voke_operator.plan.formats import bundle_format, mismatch
from voke_operator.plan.placement import Seen, ShardId

LONGEST_NOTE: Final = 300
"""Characters of a note: whatever is wrong with one plant, it must not fill the bundle of all."""
_MADE: Final = 1
"""How a plant's document is made of what it is made from. Another number, and every plant is packed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What is observed of a shard: its bundle, its gateway."""

    shard: ShardId
    files: Mapping[str, bytes] | None = field(default=None, repr=False)
    """Of its bundle; None: there is none. They hold keys."""
    status: GatewayStatus | None = None
    """As :class:`voke_operator.plan.placement.Seen`."""
    may_run: bool = True
    """As :class:`voke_operator.plan.placement.Seen`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldShard:
    """A shard as its bundle describes it."""

    seen: Seen
    packed: Mapping[str, PackedPlant]
    """Its plants, by name, as far as their files are whole."""
    files: Mapping[str, bytes] | None = field(default=None, repr=False)
    """They hold keys."""
    unknown: str = ""
    """Why nobody of this version can read its bundle, which is not damaged; empty: it is not so."""

    @property
    def runs(self) -> set[tuple[str, str]]:
        """Names and ids of plants that its gateway may be running: those of its bundle, and those that leave it."""
        return {*self.seen.plants.items(), *((left.plant, left.plant_id) for left in self.seen.leaving)}

    @property
    def applied(self) -> int:
        """Generation that its gateway says it has applied; 0 if it says nothing."""
        status = self.seen.status
        return 0 if status is None else status.bundle_generation or 0

    @property
    def reads(self) -> tuple[int, ...] | None:
        """Bundle formats that its gateway says it reads; None if it says nothing."""
        return None if self.seen.status is None else self.seen.status.bundle_formats


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardBundle:
    """What a shard's Secret is to hold."""

    files: Mapping[str, bytes] = field(repr=False)
    """By name. They hold keys."""
    generation: int
    changed: bool
    """Whether it says anything else than the one before."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Plants that are not what their newest version says, by name, and why."""
    full: str = ""
    """Why the bundle could not be changed at all, for people; empty if it could."""
    mismatch: str = ""
    """The same, if it is because of its format."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(map(len, self.files.values()))


def hold(state: ShardState, ids: Mapping[str, str], recorded: Mapping[str, ShardId]) -> HeldShard:
    """What a shard's gateway is told to run, by its bundle.

    If that is lost, it is what the gateway itself says, and what Plants' own status remembers.

    Args:
        state: What is observed.
        ids: Plant ids of all Plants, by name.
        recorded: Where Plants were last.
    """
    files = state.files or {}
    unknown = ""
    try:
        listed, packed = contents(files), packed_in(files)
    except BundleUnreadableError as error:
        unknown = str(error) if isinstance(error, UnknownFormatError) else ""
        remembered = {name: ids[name] for name, at in recorded.items() if at == state.shard and name in ids}
        told = () if state.status is None else state.status.plants
        plants = {**remembered, **{each.name: each.plant_id for each in told if each.plant_id}}
        leaving: tuple[Leaving, ...] = ()
        packed = {}
    else:
        # Of a file that is not whole the gateway runs the last good version; whose, the Plant of its name says.
        plants = {
            name: packed[name].plant_id if name in packed else ids.get(name, "") for name in listed.plants
        }
        leaving = listed.leaving
    return HeldShard(
        seen=Seen(
            shard=state.shard,
            plants=plants,
            leaving=leaving,
            status=state.status,
            may_run=state.may_run,
            is_known=not unknown,
        ),
        packed=packed,
        files=state.files,
        unknown=unknown,
    )


def left_alone(files: Mapping[str, bytes], unknown: str) -> ShardBundle:
    """A bundle that an operator of another version has written: what it says of plants that leave must not be lost."""
    why = f"an operator of another version has written its bundle ({unknown}), so that is left as it is"
    return ShardBundle(files=files, generation=0, changed=False, mismatch=why)


def shard_bundle(
    plants: Iterable[PackedPlant],
    profiles: Mapping[str, DeviceProfile],
    before: Mapping[str, bytes] | None,
    *,
    leaving: Iterable[Leaving] = (),
    notes: Mapping[str, str] | None = None,
    applied: int = 0,
    reads: Collection[int] | None = None,
) -> ShardBundle:
    """The bundle of a shard, in a format that its gateway reads.

    Args:
        plants: What it is to hold.
        profiles: All there are, by name.
        before: Its files as they are; None: there is none.
        leaving: What it has to note as leaving.
        notes: Plants whose newest version could not be used, and why.
        applied: Generation that the gateway says it has applied. A new bundle's is always higher, even if
            the one before is lost.
        reads: Bundle formats that the gateway says it reads; None: it has not answered yet.
    """
    held = _held(before)
    version = bundle_format(reads, None if held is None else held.format_version)
    if version is None:
        why, generation = mismatch(reads or ()), 0 if held is None else held.generation
        return ShardBundle(files=before or {}, generation=generation, changed=False, mismatch=why)
    leaving = tuple(leaving)
    notes = {name: note[:LONGEST_NOTE] for name, note in (notes or {}).items()}
    generation = 1 + max(applied, 0 if held is None else held.generation)
    wanted = {plant.name: plant for plant in plants}
    grown: list[PackedPlant] | None = None
    while True:
        try:
            files = assemble(
                wanted.values(),
                profiles,
                generation=generation,
                notes=notes,
                leaving=leaving,
                format_version=version,
                before=before,
            )
            break
        except BundleTooLargeError as error:
            if grown is None:
                grown = _grown(wanted, before) if before is not None and held is not None else []
            if not grown:
                full = f"{error}; move plants to another pool, or make them smaller"
                kept = before if before is not None and held is not None else {}
                return ShardBundle(
                    files=kept, generation=generation - 1, changed=False, notes=notes, full=full
                )
            old = grown.pop()
            wanted[old.name] = old
            notes[old.name] = f"its newest version does not fit: {error}"
    if before is not None and held is not None and says_the_same(before[MANIFEST], files[MANIFEST]):
        whole = all(before.get(name) == content for name, content in files.items() if name != MANIFEST)
        if whole and before.keys() == files.keys():
            return ShardBundle(files=before, generation=held.generation, changed=False, notes=notes)
    return ShardBundle(files=files, generation=generation, changed=True, notes=notes)


def inputs_of(*, uid: str, generation: int, versions: Mapping[str, str]) -> str:
    """What a plant's file is made from, in a few characters; the same again, and so is the file.

    Args:
        uid: Of the Plant.
        generation: Of the Plant.
        versions: By name of every other object that it is made from: uid and generation, or resource version.
    """
    document = [_MADE, uid, generation, sorted(versions.items())]
    return sha256(json.dumps(document).encode()).hexdigest()[:32]


def changes(before: Mapping[str, bytes] | None, files: Mapping[str, bytes]) -> str:
    """What a bundle changes, for people."""
    held, now = _held(before), contents(files)
    old = {} if held is None else held.plants
    parts = {
        "adds": now.plants.keys() - old.keys(),
        "changes": {
            name for name in now.plants.keys() & old.keys() if now.plants[name].digest != old[name].digest
        },
        "drops": old.keys() - now.plants.keys(),
    }
    said = [f"{what} {listed(sorted(which))}" for what, which in parts.items() if which]
    if held is not None and held.format_version != now.format_version:
        said.append(f"is written in format {now.format_version}")
    return "; ".join(said) or "changes profiles, certificates or notes"


def _held(files: Mapping[str, bytes] | None) -> Contents | None:
    try:
        return None if files is None else contents(files)
    except BundleUnreadableError:
        return None


def _grown(wanted: Mapping[str, PackedPlant], before: Mapping[str, bytes]) -> list[PackedPlant]:
    """Plants that have grown since the bundle before, as they are in it, the largest growth last."""
    held = packed_in(before, wanted.keys())
    growth = {
        name: wanted[name].size - old.size
        for name, old in held.items()
        if old.plant_id == wanted[name].plant_id and old.size < wanted[name].size
    }
    return [held[name] for name in sorted(growth, key=lambda name: (growth[name], name))]
