"""Packs the chart: the same files give the same bytes, which ``helm package`` does not promise.

``python -m scripts.package_chart DIRECTORY`` writes ``voke-fleet-VERSION.tgz`` there.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from pathlib import Path
from typing import Final

import yaml

CHART: Final = Path(__file__).parents[1] / "charts" / "voke-fleet"
_NOT_PACKED: Final = {"tests"}
"""At the chart's top; ``.helmignore`` says the same to Helm."""


def packed(chart: Path = CHART) -> bytes:
    """The chart as an archive that Helm installs."""
    files = sorted(
        path
        for path in chart.rglob("*")
        if path.is_file() and path.relative_to(chart).parts[0] not in _NOT_PACKED
    )
    archive = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=archive, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files:
            entry = tarfile.TarInfo(f"{chart.name}/{path.relative_to(chart)}")
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)
    return archive.getvalue()


def main() -> None:
    """Write it."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    (Path(sys.argv[1]) / f"{CHART.name}-{version}.tgz").write_bytes(packed())


if __name__ == "__main__":
    main()
