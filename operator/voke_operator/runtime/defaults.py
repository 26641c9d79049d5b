"""The file that says how gateways are to be when no pool says so: ``--defaults``."""

from __future__ import annotations

from pathlib import Path

import yaml

from voke_api.problems import dotted
from voke_api.validate import judge
from voke_operator.plan.objects import Defaults


class DefaultsError(Exception):
    """The file cannot be used; each line says where, and what would be right."""


def read_defaults(path: Path) -> Defaults:
    """The defaults in a file of YAML.

    Raises:
        DefaultsError: it cannot be read, or something in it is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise DefaultsError(f"{path}: cannot be read ({error}): --defaults names a file of YAML") from None
    except yaml.YAMLError as error:
        raise DefaultsError(f"{path}: is not YAML: {error}") from None
    found = judge(Defaults, document)
    if isinstance(found, Defaults):
        return found
    raise DefaultsError(
        "\n".join(f"{path}: {dotted(each.path) or 'the file'}: {each.message}" for each in found)
    )
