"""What a plant's own files say about how its messages are judged: topic suffixes and windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voke_api.problems import has_errors
from voke_api.resources import GatewayPool, Plant
from voke_api.resources.plant import PlantSpec
from voke_api.resources.pool import Voke
from voke_cli.check import problem_text
from voke_cli.documents import read_documents
from voke_cli.messages.diagnosis import USUAL_TOPICS
from voke_cli.messages.envelopes import MessageKind


class NoTermsError(Exception):
    """The files cannot be used, or do not say whose pool it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the messages of one plant."""

    topics: Mapping[MessageKind, str]
    """Topic suffixes."""
    replay_window: float
    """Seconds that ``ts`` may be from a message's arrival at Voke."""
    command_max_age: float
    """The same for a command at the plant."""


@dataclass(frozen=True, slots=True)
class DeclaredTerms:
    """The plants, by plant id, and the pools, by name, that say so."""

    plants: Mapping[str, Plant]
    pools: Mapping[str, GatewayPool]

    def of(self, plant_id: str | None) -> Terms:
        """The terms of a plant; of one that is not declared, those of the only pool.

        Raises:
            NoTermsError: there are several pools, or the plant's own is not there.
        """
        plant = self.plants.get(plant_id or "")
        voke = self._voke(plant)
        topics = {**USUAL_TOPICS, "command": voke.topics.command, "ack": voke.topics.ack}
        age = (
            PlantSpec.model_fields["command_max_age"].default if plant is None else plant.spec.command_max_age
        )
        return Terms(topics, voke.replay_window, age)

    def _voke(self, plant: Plant | None) -> Voke:
        names = ", ".join(sorted(self.pools))
        if plant is not None:
            pool = self.pools.get(plant.spec.pool)
            if pool is None and (self.pools or plant.spec.pool != "default"):
                raise NoTermsError(
                    f"Plant {plant.metadata.name} is in pool {plant.spec.pool}; add its file to --files, "
                    f"which has: {names or 'no pool'}"
                )
        elif len(self.pools) > 1:
            raise NoTermsError(f"--files has several pools ({names}); add the file of the Plant")
        else:
            pool = next(iter(self.pools.values()), None)
        return Voke() if pool is None else pool.spec.voke


def read_terms(files: Sequence[Path]) -> DeclaredTerms:
    """What Plant and GatewayPool files say; without any, what holds where nothing is said.

    Raises:
        NoTermsError: there is a mistake in them.
    """
    documents = read_documents(files)
    if has_errors(documents.problems):
        raise NoTermsError("\n".join(problem_text(problem) for problem in documents.problems))
    return DeclaredTerms({plant.spec.plant_id: plant for plant in documents.plants}, documents.pools)
