"""What a document refers to is there: other documents, their headings, and paths of this tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "bench",
    "charts",
    "cli",
    "crds",
    "docs",
    "examples",
    "gateway",
    "operator",
    "scripts",
    "sim",
    "tests",
)
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *(each for folder in FOLDERS for each in (ROOT / folder).rglob("*.md")))
)


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {each.replace(" ", "-") for each in words}


def links(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        each for each in re.findall(r"\]\(([^)\s]+)\)", prose) if not each.startswith(("http:", "https:"))
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_link_leads_somewhere(document: Path) -> None:
    for link in links((ROOT / document).read_text()):
        path, _, anchor = link.partition("#")
        target = (ROOT / document.parent / path).resolve() if path else ROOT / document
        assert target.is_relative_to(ROOT), f"{link} leads out of the tree"
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_path_that_is_named_is_there(document: Path) -> None:
    for path in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w", (ROOT / document).read_text()):
        assert (ROOT / path).exists() or any((ROOT / folder / path).exists() for folder in FOLDERS), path


def test_there_are_documents() -> None:
    assert len(DOCUMENTS) > 40
