"""Runs: one training or one solved model each, where it stands on a study's axes, and selection. Knows no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfmodel.errors import InputError, nearest
from rfmodel.settings import Settings
from rfmodel.theory.settings import TheorySettings


@dataclass(frozen=True)
class Run:
    """One training, or one condition of a solvable model, and what it is in its protocol.

    Settings, condition, stand on the axes, the condition's place in the file, and the preset.
    """

    condition: str
    settings: Settings | TheorySettings
    axes: Mapping[str, Any]
    position: int = 0
    preset: str = ""

    @property
    def identity(self) -> str:
        """Hash of the resolved settings, 12 hexadecimal digits."""
        text = json.dumps(self.settings.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable file name: condition, what tells its runs apart (a network's seed), and identity."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.condition.lower()).strip("-")
        return "_".join((slug[:60], *(mark.replace(" ", "") for mark in self.settings.marks), self.identity))

    @property
    def label(self) -> str:
        """What the run is called in what a user reads."""
        return ", ".join((self.condition, *self.settings.marks))

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the run stands in a study."""
        return {"condition": self.condition, **self.settings.coordinates}


def select(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """Return the runs that stand where every "axis=value" of `only` says.

    Raises
    ------
    InputError
        If an axis is unknown, or a value fits nothing.
    """
    kept = list(runs)
    for text in only:
        key, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not key:
            raise InputError(f"--only '{text}' is not of the form axis=value, as in --only seed=0")
        present = {_stand(run, key) for run in runs}
        if present <= {None} and key != "condition":
            if told := {run.settings.elsewhere[key] for run in runs if key in run.settings.elsewhere}:
                raise InputError(f"--only '{text}': {told.pop()}")
            known = sorted({k for run in runs for k in (*run.coordinates, *run.axes)})
            raise InputError(f"--only '{text}': '{key}' is no axis; known are {', '.join(known)}{nearest(key, known)}")
        # A label holds commas, so that a condition is one value.
        for part in [value] if key == "condition" else [part.strip() for part in value.split(",")]:
            if not any(stand and pattern_of(part).fullmatch(stand) for stand in present):
                there = ", ".join(sorted({stand for stand in present if stand}))
                raise InputError(f"--only '{text}' fits no run: '{key}' takes {there or 'other values'}")
        parts = [value] if key == "condition" else [part.strip() for part in value.split(",")]
        kept = [r for r in kept if any(pattern_of(part).fullmatch(_stand(r, key) or "") for part in parts)]
    if not kept:
        raise InputError(f"--only {' '.join(only)} fits no run together; each fits some alone")
    return kept


def pattern_of(text: str) -> re.Pattern[str]:
    """Return the pattern of a value in which * stands for anything."""
    return re.compile(re.escape(text).replace(r"\*", ".*"))


def _stand(run: Run, key: str) -> str | None:
    value = run.axes.get(key, run.coordinates.get(key))
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
