"""Writes the CustomResourceDefinitions, crds/*.yaml, from the models. `make crds`."""

from __future__ import annotations

from pathlib import Path

import yaml

from voke_api.crd import definitions

CRDS = Path(__file__).parents[1] / "crds"
NOT_EDITED = "# Written by `make crds`; do not edit.\n"


def generated() -> dict[str, str]:
    """File names in crds/ and their content."""
    return {
        f"{plural}.yaml": NOT_EDITED
        + yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=120)
        for plural, definition in definitions().items()
    }


def main() -> None:
    """Write all of them."""
    for name, text in generated().items():
        (CRDS / name).write_text(text)


if __name__ == "__main__":
    main()
