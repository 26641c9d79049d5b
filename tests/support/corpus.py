"""The corpus of bad files, one mistake each; what is said about it is in its first lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voke_api.problems import ProblemClass

CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(frozen=True)
class Entry:
    """One bad file."""

    file: Path

    @property
    def id(self) -> str:
        return f"{self.problem_class}/{self.file.stem}"

    @property
    def problem_class(self) -> ProblemClass:
        """Who refuses it: the name of its folder."""
        return ProblemClass(self.file.parent.name)

    @property
    def path(self) -> str:
        return self._said("path")

    @property
    def message(self) -> str:
        """Part of the sentence that says what is wrong."""
        return self._said("message")

    @property
    def documents(self) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(self.file.read_text()))

    def _said(self, what: str) -> str:
        header = self.file.read_text().split("\napiVersion", 1)[0]
        (said,) = re.findall(rf"^# {what}: (.*)$", header, re.MULTILINE)
        return str(said)


ENTRIES = [Entry(file) for file in sorted(CORPUS.glob("*/*.yaml"))]
