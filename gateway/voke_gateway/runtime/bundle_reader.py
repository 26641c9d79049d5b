"""From a bundle's files to work, again and again, at the price of what has changed.

A plant whose file, profiles and pool are as before is not looked at: its assignment is the very same object.
A plant that cannot be read or resolved stays what it was, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import structlog

from voke_api.bundle import Bundle, BundlePlant, needed_files, unpacking
from voke_api.problems import Problem, Severity, dotted
from voke_api.resolve import resolve
from voke_api.resources import DeviceProfile
from voke_gateway.runtime.work import Assignment, Work

log = structlog.get_logger()


class BundleReader:
    """Remembers the last bundle."""

    def __init__(self, *, read_only: str | None = None) -> None:
        """``read_only``: why no register may be written, whatever the bundle says."""
        self._read_only = read_only
        self._bundle: Bundle | None = None
        self._items: dict[str, BundlePlant] = {}
        """By plant name, as last resolved, in vain or not."""
        self._good: dict[str, Assignment] = {}
        self._refusals: dict[str, str] = {}
        """Why an item could not be resolved."""

    def needed(self, manifest: bytes) -> tuple[str, ...]:
        """Files that :meth:`read` wants beside the manifest.

        Raises:
            BundleUnreadableError: that is no manifest.
        """
        return needed_files(manifest, self._bundle)

    def read(self, files: Mapping[str, bytes]) -> Generator[None, None, Work]:
        """The work that the bundle means, in steps of about one plant.

        Raises:
            BundleUnreadableError: there is no bundle in ``files``; nothing is changed by it.
        """
        bundle = yield from unpacking(files, self._bundle)
        changed = _changed(self._bundle, bundle)
        for item in bundle.plants:
            if self._take(item, bundle, changed):
                yield
        unreadable = {each.name: each.message for each in bundle.unreadable if each.kind == "Plant"}
        present = {item.plant.metadata.name for item in bundle.plants} | unreadable.keys()
        for name in self._items.keys() - present:
            for known in (self._items, self._good, self._refusals):
                known.pop(name, None)
        self._bundle = bundle
        return Work(
            generation=bundle.generation,
            assignments=dict(self._good),
            notes=bundle.notes,
            problems={**self._refusals, **unreadable},
            remarks=tuple(
                f"DeviceProfile {each.name}: {each.message}"
                for each in bundle.unreadable
                if each.kind == "DeviceProfile"
            ),
        )

    def _take(self, item: BundlePlant, bundle: Bundle, changed: frozenset[str]) -> bool:
        """Resolve a plant if it may have changed. Whether that was necessary."""
        name, before = item.plant.metadata.name, self._items.get(item.plant.metadata.name)
        uses_changed = any(device.profile in changed for device in item.plant.spec.devices)
        if before is not None and not uses_changed and (before is item or before == item):
            return False
        self._items[name] = item
        self._refusals.pop(name, None)
        try:
            plant, problems = resolve(item.plant, bundle.profiles, item.pool, read_only=self._read_only)
        except Exception:  # a fault of ours, which must not cost the other plants their changes
            log.exception("plant could not be resolved", plant=name)
            self._refusals[name] = "internal error, see the log"
            return True
        if plant is None:
            self._refusals[name] = _sentence(problems)
            return True
        assignment = Assignment(plant, item.credentials)
        if self._good.get(name) != assignment:
            self._good[name] = assignment
        return True


def _changed(before: Bundle | None, bundle: Bundle) -> frozenset[str]:
    """Names of the profiles that are not what they were."""
    old: Mapping[str, DeviceProfile] = {} if before is None else before.profiles
    new = bundle.profiles
    if old is new:
        return frozenset()
    return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _sentence(problems: list[Problem]) -> str:
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    return "; ".join(f"{dotted(problem.path)}: {problem.message}" for problem in errors)
