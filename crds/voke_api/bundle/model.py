"""What a bundle holds, once it is read, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from voke_api.bundle.form import MAX_BYTES
from voke_api.resolved import PlantCredentials
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile


class BundleTooLargeError(ValueError):
    """The plants do not fit into one bundle: spread them over more gateways."""

    def __init__(self, size: int, sizes: Mapping[str, int]) -> None:
        largest = max(sizes, key=lambda name: sizes[name])
        super().__init__(
            f"the bundle takes {size} bytes, at most {MAX_BYTES} are allowed; "
            f"its largest file is {largest} with {sizes[largest]}"
        )
        self.size = size
        self.sizes = sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlant:
    """One plant of a bundle."""

    plant: Plant
    pool: GatewayPool | None
    """Only ``voke`` and ``writes`` of its spec travel; None: the defaults."""
    credentials: PlantCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleProblem:
    """One plant or profile of a bundle that cannot be read."""

    name: str
    message: str
    """For people; without material."""
    kind: Literal["Plant", "DeviceProfile"] = "Plant"
    """Of which the name is; ``profiles`` is all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was read from a bundle's files."""

    format_version: int
    generation: int
    plants: tuple[BundlePlant, ...]
    """In order of name."""
    profiles: Mapping[str, DeviceProfile]
    unreadable: tuple[BundleProblem, ...] = ()
    """Plants to keep running as they were, by name, and why; or profiles."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name, as the manifest says."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What its writer has to say of plants whose newest version it could not use, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A plant that a bundle held, of which it is not known yet that its gateway has let go of it."""

    plant: str
    plant_id: str
    since: int
    """Generation of the first bundle without it."""
