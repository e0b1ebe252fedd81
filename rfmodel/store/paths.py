"""Where a study keeps what: file names under its folder, and the names that runs may have. Reads and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

from rfmodel.errors import InputError

NAME = re.compile(r"[a-z0-9-]{0,60}_seed[0-9]{1,19}_[0-9a-f]{12}")


def checked(name: object) -> str:
    """Return a run's name, which becomes part of a path, if it has the form of one.

    Raises
    ------
    InputError
        If it has not: a file that says otherwise may mean a place outside of the study.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{str(name)[:100]!r} is no run's name; condition_seedN_hash, as `rfmodel ls` shows, would do")
    return name


def run_path(folder: Path, name: str) -> Path:
    """Return where the results of a run are kept."""
    return folder / "runs" / f"{name}.nc"


def finished(folder: Path, name: str) -> bool:
    """Whether a run's results are there, so that it need not run again."""
    return run_path(folder, name).is_file()


def weights_path(folder: Path, name: str) -> Path:
    """Return where the weights of a run are kept."""
    return folder / "runs" / f"{name}.pt"


def rule_path(folder: Path, file: str, digest: str) -> Path:
    """Return where a user's rule file of that hash is kept; each version has its own place."""
    return folder / "rules" / f"{Path(file).stem}_{digest}.py"


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return where a run that is under way keeps its last checkpoint."""
    return folder / "runs" / f"{name}.checkpoint"


def failure_path(folder: Path, name: str) -> Path:
    """Return where the error of a run that failed is kept."""
    return folder / "runs" / f"{name}.failed.json"


def claim_path(folder: Path, name: str, generation: int) -> Path:
    """Return the lock file of a run's claim; who takes over a dead claim makes the next generation."""
    return folder / "runs" / f"{name}.claim{generation}"


def manifest_path(folder: Path) -> Path:
    """Return where a study's manifest is kept."""
    return folder / "manifest.json"
