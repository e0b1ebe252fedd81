"""Tidying: what a crash left beside a run that is finished all the same."""

from __future__ import annotations

import re
from pathlib import Path

from rfmodel.store.writing import sweep

LEFT = re.compile(r"(?P<name>.+)\.(checkpoint|checkpoint\.previous|failed\.json|claim\d+)")


def tidy(folder: Path) -> None:
    """Remove half-written files of dead writers, and checkpoints, claims and failures of runs that are finished.

    Between a run's file and the end of its claim a process may die; then nothing is lost, and this is left. A living
    process that is just there itself removes the same files. What cannot be removed stays.
    """
    sweep(folder)
    runs = folder / "runs"
    for path in runs.iterdir() if runs.is_dir() else ():
        found = LEFT.fullmatch(path.name)
        if found and (runs / f"{found['name']}.nc").is_file():
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue
