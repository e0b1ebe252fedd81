"""Headway: how far a run has come, and how many deaths of its workers in a row it is forgiven. Knows no torch.

The workers of a cluster die for reasons of their own: nodes are preempted, tasks of others take the memory. A death is
laid to a run only if the run has made no headway since the one before: no step further than ever, and no checkpoint
newer than the last. Ten in a row are forgiven no more: workers that live a few seconds, most of which it takes to load
torch, are met more often than runs that kill.
"""

from __future__ import annotations

from pathlib import Path

PATIENCE = 30  # what deaths in a row may weigh: so much, and the run is given up
BEGUN = 3  # what a death weighs that came after the run began
BEFORE = 1  # before the worker was ready for the run, which is hardly to blame


class Headway:
    """How far a run has come, as its client hears of it.

    Parameters
    ----------
    checkpoint : Path
        Where the run keeps its last one, if the client sees that.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.deaths = 0  # in a row, without headway
        self.begun = False  # since it was handed out
        self._weight, self._path = 0, checkpoint
        self._farthest = self._at_death = (0, 0)
        self._kept = self._newest()

    def handed_out(self) -> None:
        """Note that a worker is given the run."""
        self.begun = False

    def step(self, epoch: int, step: int) -> None:
        """Note a step of the training, counted within its epoch."""
        self._farthest = max(self._farthest, (epoch, step))

    def died(self) -> bool:
        """Note that the run's worker died.

        Returns
        -------
        bool
            Whether the run is to be given up: it has gone no further for too long.
        """
        kept = self._newest()
        if self._farthest > self._at_death or kept not in (0, self._kept):  # a run never keeps the same state twice
            self.deaths = self._weight = 0
        else:
            self.deaths += 1
            self._weight += BEGUN if self.begun else BEFORE
        self._at_death, self._kept = self._farthest, kept
        self.handed_out()
        return self._weight >= PATIENCE

    def _newest(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0
