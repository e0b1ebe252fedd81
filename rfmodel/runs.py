"""Runs: one training each, where it stands on a study's axes, and how a user selects among them. Knows no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfmodel.errors import InputError, nearest
from rfmodel.rule_files import called
from rfmodel.settings import Settings


@dataclass(frozen=True)
class Run:
    """One training: its settings, condition, stand on the axes, its condition's place in the file, and the preset."""

    condition: str
    settings: Settings
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
        """A readable file name: condition, seed and identity."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.condition.lower()).strip("-")
        return f"{slug[:60]}_seed{self.settings.seed}_{self.identity}"

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the run stands in a study; a size that its network or rule has not is NaN."""
        rules = self.settings.rules
        ranks = {rank for rule in rules.values() if isinstance(rank := rule.options.get("rank"), int | float)}
        return {
            "condition": self.condition,
            "rule": "+".join(dict.fromkeys(called(rule.name) for rule in rules.values())) or "bp",
            "rank": float(next(iter(ranks))) if len(ranks) == 1 else float("nan"),
            "network": self.settings.network.name,
            **{size: self.settings.network.place(size) for size in ("bottleneck", "depth", "width")},
            "classes": float(self.settings.data.classes or "nan"),
            "seed": self.settings.seed,
        }


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
