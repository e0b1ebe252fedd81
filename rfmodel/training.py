"""Training: one visible loop. `train(run, data)` builds the network, lays the rule and trains it epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from rfmodel import parallel, stopping
from rfmodel.building import build
from rfmodel.checkpoints import Checkpoints, Stateful
from rfmodel.costs import Account, Peak
from rfmodel.datasets import Dataset, Split
from rfmodel.datasets.stratify import first_rows
from rfmodel.diagnostics import Sample, Watch
from rfmodel.history import batches_of, epoch_row, is_finite
from rfmodel.loop import Loop, Progress, Visit
from rfmodel.resuming import Keeping
from rfmodel.routing import Routed, calibrate
from rfmodel.settings import Settings
from rfmodel.spending import Spending, peak_memory

__all__ = ["Loop", "Progress", "Trained", "Visit", "batches_of", "drawing_from", "train"]


@dataclass
class Trained:
    """What a training leaves.

    Parameters
    ----------
    routed : Routed
        The network and its feedback maps, in eval mode.
    history : dict of str to list
        One number an epoch, epoch 0 being before training; `angle` and `feedback_norm` hold a dict by edge.
    state : "done" or "diverged"
    epochs : int
        Epochs finished.
    seconds : float
        Of the clock, those before an interruption included, up to the checkpoint that was taken up.
    cpu_seconds : float
        Likewise of this process's processors.
    resumed : int
        Times that the training was taken up from a checkpoint.
    diagnostics : dict of int to Sample
        What the feedback did, by optimiser step; see `rfmodel.diagnostics`.
    account : Account, optional
        What a step costs by layer and by part, at the first epoch's ranks.
    peak : Peak, optional
        The most memory that was in use.
    """

    routed: Routed
    history: dict[str, list] = field(default_factory=dict)
    state: str = "done"
    epochs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    resumed: int = 0
    diagnostics: dict[int, Sample] = field(default_factory=dict)
    account: Account | None = None
    peak: Peak | None = None

    def record(self, row: Mapping[str, object]) -> None:
        """Append one epoch's row to the history."""
        for key, value in row.items():
            self.history.setdefault(key, []).append(value)


def train(
    settings: Settings,
    data: Dataset,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    visits: Mapping[int, Visit] | None = None,
    checkpoints: Checkpoints | None = None,
    beside: Mapping[str, Stateful] | None = None,
) -> Trained:
    """Train one network and return it with its history.

    The result depends on the settings and the data alone: on one processor with one number of threads a seed
    reproduces it exactly (a GPU's kernels may add in another order). Validation and test images never choose anything.

    Parameters
    ----------
    settings : Settings
    data : Dataset
        On `device`.
    device : torch.device
    progress : callable of (epoch, step, loss), optional
    visits : dict of int to callable, optional
        By number of updates, who is shown the network after so many of them, with the weights that are judged, and
        leaves it as it is. What a visitor does not draw from torch's global state does not change the training.
    checkpoints : Checkpoints, optional
        What the training is kept in on its way, and taken up from. On a processor, one that was interrupted and taken
        up again ends as one that was not, bit by bit; neither changes the training.
    beside : dict of name to Stateful, optional
        What is kept with the training, and given its state when it is taken up, as what visitors have gathered.

    Returns
    -------
    Trained
        With state "diverged" if a loss, a weight or an output was not finite; the epochs before stay in the history.

    Raises
    ------
    InputError
        If a checkpoint is there that cannot be read, or is of another run, or if one cannot be written.
    """
    device = torch.device(device)
    with peak_memory(device) as peak:
        routed = build(settings, data.image_shape, len(data.classes), device)
        loop, result = Loop(routed, settings, data.train, device), Trained(routed, peak=peak)
        keeping = Keeping(loop, result, peak, checkpoints, beside or {})
        _train(settings, data, loop, result, keeping, progress, visits or {})
    return result


def _train(
    settings: Settings,
    data: Dataset,
    loop: Loop,
    result: Trained,
    keeping: Keeping,
    progress: Progress | None,
    visits: Mapping[int, Visit],
) -> None:
    routed, device = loop.routed, loop.device
    spending = Spending(routed, data.image_shape, len(data.train), settings.train)
    watch = _watch(result, settings, data)
    if not keeping.take_up(spending):
        with drawing_from(settings.seed, device):  # noise that never rests is drawn before training too
            _calibrate(routed, settings, data.train)
            untrained = epoch_row(routed, settings, data, loop.casting, (math.nan, math.nan), math.nan)
            result.record(untrained | {"flops_epoch": 0})
            watch.at(0)
    with drawing_from(settings.seed, device), stopping.minded() if keeping.checkpoints else nullcontext():
        keeping.restore_draws()
        while result.state == "done" and loop.at <= settings.train.epochs:
            trained = loop.epoch(loop.at, progress, watch, visits, keeping)
            if not math.isfinite(trained[0]) or not is_finite(routed, data.train, settings):
                result.state = "diverged"
                break
            with loop.judged():
                row = epoch_row(routed, settings, data, loop.casting, trained, len(data.train) / loop.epoch_seconds)
            result.record(row | {"flops_epoch": spending.of_epoch()})
            result.epochs, loop.at = loop.at, loop.at + 1
            keeping.after_epoch(result.epochs * loop.steps)
        if result.state == "done":
            watch.at(settings.train.epochs * loop.steps, last=True)
        keeping.at_end()
    loop.leave()
    (result.seconds, result.cpu_seconds), result.account = keeping.seconds, spending.first
    routed.eval()


@contextmanager
def drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Within it torch's global state, from which dropout and noise draw, is the run's; it is then as before.

    Parameters
    ----------
    seed : int
        The run's.
    device : torch.device
        Whose state it is beside the processor's.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed + parallel.place())
        yield


def _calibrate(routed: Routed, settings: Settings, split: Split) -> None:
    """Scale the feedback maps on the first batches of the training images, as they lie, where the settings ask it."""
    if not settings.train.calibrate or not routed.edges:
        return
    routed.eval()
    first = split[: settings.train.calibrate * settings.train.batch]
    calibrate(routed, batches_of(first, settings, None))


def _watch(result: Trained, settings: Settings, data: Dataset) -> Watch:
    """Return what samples the diagnostics, on the first validation images of every class in turn."""
    held = data.validation if len(data.validation) else data.train
    count = min(len(held), settings.train.diagnose_images)
    rows = torch.from_numpy(first_rows(held.labels.cpu().numpy(), count)).to(held.labels.device)
    images, labels = zip(*batches_of(held[rows], settings, None), strict=True)
    every = settings.train.diagnose_every
    return Watch(result.routed, torch.cat(images), torch.cat(labels), every, result.diagnostics)
