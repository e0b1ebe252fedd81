"""The loop: one epoch's passes over the training images, and what it needs from one step to the next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rfmodel import parallel, precision
from rfmodel.activity import Activity
from rfmodel.averaging import Average
from rfmodel.compiling import compiled
from rfmodel.datasets import Split
from rfmodel.diagnostics import Watch
from rfmodel.history import batches_of
from rfmodel.optimisers import learning_rate, make_optimiser
from rfmodel.routing import Routed
from rfmodel.settings import OptimiserSettings, Settings
from rfmodel.spending import feedback_of

if TYPE_CHECKING:
    from rfmodel.resuming import Keeping

Progress = Callable[[int, int, float], None]
Visit = Callable[[Routed], None]
LOOK = 20  # steps between looks at the loss: on a GPU each look waits for the device


@dataclass
class UnderWay:
    """An epoch of which some batches are done.

    Parameters
    ----------
    step : int
        Batches done.
    sums : Tensor, shape (3,)
        Of their loss, right answers and images.
    begin : Tensor
        State of the data's generator before the first.
    after : Tensor, optional
        Its state after those that were done before the training was taken up.
    before : float
        Seconds that those took.
    """

    step: int
    sums: Tensor
    begin: Tensor
    after: Tensor | None = None
    before: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds that the epoch has taken so far."""
        return self.before + time.perf_counter() - self.begun


class Loop:
    """The training loop of one network: what an epoch needs from one to the next.

    Parameters
    ----------
    routed : Routed
        Laid out anew in memory where the settings ask for `channels_last`.
    settings : Settings
    split : Split
        The training images, on `device`.
    device : torch.device
    """

    def __init__(self, routed: Routed, settings: Settings, split: Split, device: torch.device) -> None:
        self.routed, self.settings, self.split, self.device = routed, settings, split, device
        self.at, self.epoch_seconds = 1, math.nan  # the epoch that comes next or is under way; what the last one took
        self.under_way: UnderWay | None = None
        if settings.train.channels_last:
            routed.to(memory_format=torch.channels_last)
        parallel.synchronise(routed.network)
        self.forward, routed.processes = self._wrapped(), parallel.count()
        self.casting = precision.resolve(settings.train.precision, device)
        self.optimisers = _optimisers(settings, routed)
        self.activity = Activity(routed.network, settings.train.activity_l1)
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        self.average = Average(routed.network, settings.train.average) if settings.train.average else None
        self.steps = math.ceil(len(split) / settings.train.batch)

    def _wrapped(self) -> nn.Module:
        """Return the network as a step calls it: over all processes, compiled where the settings ask it."""
        forward = parallel.distributed(self.routed, self.device)
        return compiled(forward, self.device) if self.settings.train.compile else forward

    def freeing(self) -> AbstractContextManager[None]:
        """Within it units with losses of their own learn as they end, where nothing else needs what they kept."""
        alone = self.forward is self.routed and not self.settings.train.activity_l1
        return self.routed.freeing_units() if alone else nullcontext()

    def judged(self) -> AbstractContextManager[None]:
        """Within it, the network has the weights that are judged: their moving average, where one is kept."""
        return nullcontext() if self.average is None else self.average.in_place()

    def leave(self) -> None:
        """Leave the network with the weights that are judged, and without what the loop hung on it."""
        self.activity.leave()
        if self.average is not None:
            self.average.exchange()

    def epoch(
        self,
        epoch: int,
        progress: Progress | None = None,
        watch: Watch | None = None,
        visits: Mapping[int, Visit] | None = None,
        keeping: Keeping | None = None,
    ) -> tuple[float, float]:
        """Pass once over the training images; return the mean loss and accuracy of the passing batches."""
        under = self.under_way = self.under_way or self._begun(epoch)
        self.routed.train()
        left = batches_of(self.split, self.settings, self.generator, under.step, under.after)
        for step, (images, labels) in enumerate(left, under.step):
            done = (epoch - 1) * self.steps + step
            loss, logits = self._step(images, labels, done)
            if watch is not None:
                watch.at(done + 1)
            if visits and done + 1 in visits:
                self._show(visits[done + 1])
            under.sums += torch.stack(
                [loss * len(labels), (logits.argmax(1) == labels).sum(), loss.new_tensor(len(labels))]
            )
            under.step = step + 1
            if looks := step % LOOK == LOOK - 1 or step == self.steps - 1:
                # All processes see the same, and end together.
                if not math.isfinite(float(parallel.summed(under.sums)[0])):
                    self.under_way = None
                    return math.nan, math.nan
                if progress is not None:
                    progress(epoch, step + 1, float(loss))
            if keeping is not None and step < self.steps - 1:
                keeping.after_step(done + 1, looks)
        total, right, count = parallel.summed(under.sums).tolist()
        self.under_way, self.epoch_seconds = None, under.seconds
        return total / count, right / count

    def _begun(self, epoch: int) -> UnderWay:
        begin = self.generator.get_state()
        if self.routed.start_epoch(epoch, [optimiser for optimiser, _ in self.optimisers]):
            self.forward = self._wrapped()  # what gathers gradients over processes knows their shapes
        return UnderWay(0, torch.zeros(3, device=self.split.device), begin)  # loss, right answers, images

    def take_up(self, step: int, sums: Tensor, after: Tensor, seconds: float) -> None:
        """Let the next epoch go on after `step` batches; the data's generator is as it was before the first."""
        self.under_way = UnderWay(step, sums.to(self.split.device), self.generator.get_state(), after, seconds)

    def _show(self, visit: Visit) -> None:
        """Show the network as it would be judged now, in eval mode, and go on as before."""
        self.routed.eval()
        with self.judged():
            visit(self.routed)
        self.routed.train()

    def _step(self, images: Tensor, labels: Tensor, done: int) -> tuple[Tensor, Tensor]:
        """One update of the weights and of the feedback, after `done` others; returns the loss and the logits."""
        options = self.settings.train
        for optimiser, choice in self.optimisers:
            rate = learning_rate(choice, done, self.steps, options.epochs)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        with precision.autocast(self.casting, images.device), self.freeing():
            logits = self.forward(images, labels)
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=options.label_smoothing)
        (loss + self.activity.penalty()).backward()
        if options.clip is not None:
            # Kolen & Pollack's maps get the weights' own update, so they are clipped with them.
            weights = [*self.routed.network.parameters(), *self.routed.feedback_parameters(as_weights=True)]
            nn.utils.clip_grad_value_(weights, options.clip)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.routed.advance([optimiser for optimiser, _ in self.optimisers])
        if self.average is not None:
            self.average.update()
        return loss.detach(), logits.detach()


def _optimisers(settings: Settings, routed: Routed) -> list[tuple[torch.optim.Optimizer, OptimiserSettings]]:
    options = settings.train
    groups = [
        ([*routed.network.parameters(), *routed.feedback_parameters(as_weights=True)], options.optimiser),
        (routed.feedback_parameters(as_weights=False), feedback_of(options)),
    ]
    return [
        (make_optimiser(c.name, params, c.learning_rate, c.weight_decay, c.options), c)
        for params, c in groups
        if params
    ]
