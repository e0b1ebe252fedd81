"""Training: one visible loop. `train(run, data)` builds the network, lays the rule and trains it epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from rfmodel import precision
from rfmodel.datasets import Dataset, Split
from rfmodel.datasets.stratify import first_rows
from rfmodel.diagnostics import Sample, Watch
from rfmodel.errors import InputError, one_of
from rfmodel.history import batches_of, epoch_row, is_finite
from rfmodel.models import NETWORKS
from rfmodel.optimisers import make_optimiser, schedule_factor
from rfmodel.routing import Routed, calibrate
from rfmodel.rule_files import files_of
from rfmodel.settings import OptimiserSettings, Settings
from rfmodel.user_rules import make_any

Progress = Callable[[int, int, float], None]
LOOK = 20  # steps between looks at the loss: on a GPU each look waits for the device


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
    diagnostics : dict of int to Sample
        What the feedback did, by optimiser step; see `rfmodel.diagnostics`.
    """

    routed: Routed
    history: dict[str, list] = field(default_factory=dict)
    state: str = "done"
    epochs: int = 0
    seconds: float = 0.0
    diagnostics: dict[int, Sample] = field(default_factory=dict)

    def record(self, row: Mapping[str, object]) -> None:
        """Append one epoch's row to the history."""
        for key, value in row.items():
            self.history.setdefault(key, []).append(value)


def build(settings: Settings, image_shape: tuple[int, ...], classes: int, device: torch.device | str = "cpu") -> Routed:
    """Return the network of the settings with its rule laid, drawn from the settings' seed.

    The network depends on the seed alone, so that conditions of equal shape start from equal weights.

    Raises
    ------
    InputError
        If the network, a rule, a site or a rank cannot be; the message names the key.
    """
    chosen = settings.network.model_dump()
    kind = NETWORKS[one_of("network.name:", chosen.pop("name"), NETWORKS)]
    channels, size, width = image_shape
    if size != width:
        raise InputError(f"network.name '{settings.network.name}' takes square images; found {size} x {width} pixels")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        try:
            network = kind(**chosen, classes=classes, channels=channels, size=size)
        except InputError as error:
            raise InputError(f"network: {error}") from None
    network = network.to(device)
    rules = {}
    for site, rule in settings.rules.items():
        try:
            rules[site] = make_any(rule)
        except InputError as error:
            raise InputError(f'rules."{site}": {error}') from None
    return Routed(network, rules, torch.zeros(2, *image_shape, device=device), seed=settings.seed)


def check(settings: Settings, image_shape: tuple[int, ...], classes: int) -> None:
    """Refuse settings that cannot be trained, at no cost: everything is built on the meta device.

    Only what a user's own file makes is built in earnest: it may look at values.

    Raises
    ------
    InputError
        As `build`, and for layers of `fields.layers` that are not in the network.
    """
    device = "cpu" if files_of(settings.rules) else "meta"
    with torch.device(device):
        routed = build(settings, image_shape, classes, device)
    names = [name for name, _ in routed.network.named_modules() if name]
    for layer in settings.fields.layers:
        one_of("fields.layers:", layer, names)


def train(
    settings: Settings, data: Dataset, device: torch.device | str = "cpu", progress: Progress | None = None
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

    Returns
    -------
    Trained
        With state "diverged" if a loss, a weight or an output was not finite; the epochs before stay in the history.
    """
    started, device = time.perf_counter(), torch.device(device)
    routed = build(settings, data.image_shape, len(data.classes), device)
    if settings.train.channels_last:
        routed = routed.to(memory_format=torch.channels_last)
    casting = precision.resolve(settings.train.precision, device)
    optimisers = _optimisers(settings, routed)
    generator = torch.Generator(device).manual_seed(settings.seed)
    result = Trained(routed)
    _calibrate(routed, settings, data.train)
    result.record(epoch_row(routed, settings, data, casting, (math.nan, math.nan), math.nan))
    watch = _watch(result, settings, data)
    watch.at(0)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # dropout draws from the global state
        for epoch in range(1, settings.train.epochs + 1):
            begun = time.perf_counter()
            loss, accuracy = _epoch(
                routed, settings, data.train, casting, optimisers, generator, epoch, progress, watch
            )
            rate = len(data.train) / (time.perf_counter() - begun)
            if not math.isfinite(loss) or not is_finite(routed, data.train, settings):
                result.state = "diverged"
                break
            result.record(epoch_row(routed, settings, data, casting, (loss, accuracy), rate))
            result.epochs = epoch
        else:
            watch.at(settings.train.epochs * math.ceil(len(data.train) / settings.train.batch), last=True)
    result.seconds = time.perf_counter() - started
    routed.eval()
    return result


def _epoch(
    routed: Routed,
    settings: Settings,
    split: Split,
    casting: str,
    optimisers: list[tuple[torch.optim.Optimizer, OptimiserSettings]],
    generator: torch.Generator,
    epoch: int,
    progress: Progress | None,
    watch: Watch | None = None,
) -> tuple[float, float]:
    """One pass over the training images; returns the mean loss and accuracy of the passing batches."""
    options, device = settings.train, split.images.device
    steps = math.ceil(len(split) / options.batch)
    total, right = torch.zeros((), device=device), torch.zeros((), device=device)
    routed.start_epoch(epoch, [optimiser for optimiser, _ in optimisers])
    routed.train()
    for step, (images, labels) in enumerate(batches_of(split, settings, generator)):
        for optimiser, choice in optimisers:
            done = (epoch - 1) * steps + step
            factor = schedule_factor(choice.schedule, choice.gamma, done, steps, options.epochs)
            for group in optimiser.param_groups:
                group["lr"] = choice.learning_rate * factor
            optimiser.zero_grad(set_to_none=True)
        with precision.autocast(casting, device):
            logits = routed(images, labels)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        if options.clip is not None:
            # Kolen & Pollack's maps get the weights' own update, so they are clipped with them.
            weights = [*routed.network.parameters(), *routed.feedback_parameters(as_weights=True)]
            nn.utils.clip_grad_value_(weights, options.clip)
        for optimiser, _ in optimisers:
            optimiser.step()
        routed.advance([optimiser for optimiser, _ in optimisers])
        if watch is not None:
            watch.at((epoch - 1) * steps + step + 1)
        total += loss.detach() * len(labels)
        right += (logits.detach().argmax(1) == labels).sum()
        if step % LOOK == LOOK - 1 or step == steps - 1:
            if not math.isfinite(float(total)):
                return math.nan, math.nan
            if progress is not None:
                progress(epoch, step + 1, float(loss.detach()))
    return float(total) / len(split), float(right) / len(split)


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


def make_steps(routed: Routed, settings: Settings, split: Split, device: torch.device) -> Callable[[], None]:
    """Return a function that trains one epoch over a split, for benchmarks of the loop that `train` runs."""
    routed = routed.to(memory_format=torch.channels_last) if settings.train.channels_last else routed
    casting, optimisers = precision.resolve(settings.train.precision, device), _optimisers(settings, routed)
    generator = torch.Generator(device).manual_seed(settings.seed)

    def epoch() -> None:
        _epoch(routed, settings, split, casting, optimisers, generator, 1, None)

    return epoch


def _optimisers(settings: Settings, routed: Routed) -> list[tuple[torch.optim.Optimizer, OptimiserSettings]]:
    options = settings.train
    feedback = options.feedback or options.optimiser.model_copy(update={"weight_decay": 0.0})  # decay is the rule's own
    groups = [
        ([*routed.network.parameters(), *routed.feedback_parameters(as_weights=True)], options.optimiser),
        (routed.feedback_parameters(as_weights=False), feedback),
    ]
    return [
        (make_optimiser(c.name, params, c.learning_rate, c.weight_decay, c.options), c)
        for params, c in groups
        if params
    ]
