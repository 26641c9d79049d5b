"""``docs/backup.md`` as a drill: its own commands, on an installation that then loses everything."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.cluster.binaries import tools
from tests.cluster.node.document import follow
from tests.cluster.node.fleet import Fleet
from tests.cluster.release import OWN, RunningRelease
from voke_operator import names

pytestmark = pytest.mark.timeout(400)

DOCUMENT = Path(__file__).parents[3] / "docs" / "backup.md"


def blocks() -> dict[str, str]:
    """The commands of the document, by the heading above them."""
    found = re.findall(r"^## (.+?)\n.*?^```sh\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return dict(found)


def private(directory: Path) -> bool:
    """Whether nobody else can read what was saved."""
    saved = list(directory.glob("*.json"))
    return len(saved) == blocks()["Save"].count(">") and not any(
        each.stat().st_mode & 0o077 for each in saved
    )


async def test_what_was_saved_comes_back_with_the_same_keys(
    sites: Fleet, release: RunningRelease, tmp_path: Path
) -> None:
    await sites.add("brno")
    await sites.add("other")
    before = await sites.key_ids("brno", "other")
    plane = sites.here.plane

    async def step(heading: str) -> None:
        commands = blocks()[heading].replace("energy", sites.namespace)
        await asyncio.to_thread(follow, commands, plane, directory=tmp_path, programs=tools())

    await step("Save")
    assert private(tmp_path), "there are keys in them"

    await asyncio.to_thread(release.uninstall)
    gone = ("delete", "namespace", sites.namespace, OWN, "--timeout=50s")
    await asyncio.to_thread(plane.kubectl, *gone)

    await step("Restore the authority, before the operator is installed")
    await asyncio.to_thread(release.install)
    await step("Restore the plants")
    await sites.until_read_from_now("brno", "other")
    for name in ("brno", "other"):
        await sites.here.until_ready(name)
    assert await sites.key_ids("brno", "other") == before
    secret = await sites.get("secret", names.plant_secret("brno"))
    assert [owner["kind"] for owner in secret["metadata"]["ownerReferences"]] == ["Plant"], (
        "it goes with its Plant"
    )
