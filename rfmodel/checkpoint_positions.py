"""Positions: how far a run had come when its checkpoint was kept, for who asks what is under way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rfmodel import checkpoint_checks as checks
from rfmodel import checkpoint_files, history
from rfmodel.checkpoint_checks import part
from rfmodel.errors import InputError


@dataclass(frozen=True)
class Position:
    """How far a training had come.

    Parameters
    ----------
    epoch, step : int
        The epoch that comes next or is under way, and how many of its steps are done.
    seconds : float
    resumed : int
        Times that it was taken up.
    best : tuple of int and float, optional
        Epoch and accuracy of the best on validation images.
    history : dict of str to list
        What has one number an epoch.
    """

    epoch: int
    step: int
    seconds: float
    resumed: int
    best: tuple[int, float] | None
    history: dict[str, list[float]]


def position_of(path: Path) -> Position:
    """Return how far the training of a checkpoint had come.

    Raises
    ------
    InputError
        If the file cannot be read; the message names it.
    """
    try:
        state = checkpoint_files.read(path)["state"]
        rows = checks.of_numbers(part(state, "history"))
        best = history.best(rows) if rows else None
        counts = [checks.whole(part(state, name), name) for name in ("epoch", "step", "resumed")]
        return Position(*counts[:2], checks.seconds(part(state, "seconds"), "seconds"), counts[2], best, rows)
    except (checkpoint_files.Damaged, checks.Unfit) as error:
        raise InputError(
            f"checkpoint '{path}' cannot be read ({error}); delete it, and with --retry failed the run starts anew"
        ) from None
