"""Training: one visible loop. `train(run, data)` builds the network, lays the rule and trains it epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel import precision
from rfmodel.datasets import Augmentation, Dataset, Split, batches
from rfmodel.errors import InputError, one_of
from rfmodel.models import NETWORKS
from rfmodel.optimisers import make_optimiser, schedule_factor
from rfmodel.routing import Routed, make_rule
from rfmodel.settings import OptimiserSettings, Settings

Progress = Callable[[int, int, float], None]
PROBE = 256  # validation images on which teaching signals are compared with backpropagation's
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
    """

    routed: Routed
    history: dict[str, list] = field(default_factory=dict)
    state: str = "done"
    epochs: int = 0
    seconds: float = 0.0


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
            rules[site] = make_rule(rule.name, **rule.options)
        except InputError as error:
            raise InputError(f'rules."{site}": {error}') from None
    return Routed(network, rules, torch.zeros(2, *image_shape, device=device), seed=settings.seed)


def check(settings: Settings, image_shape: tuple[int, ...], classes: int) -> None:
    """Refuse settings that cannot be trained, at no cost: everything is built on the meta device.

    Raises
    ------
    InputError
        As `build`, and for layers of `fields.layers` that are not in the network.
    """
    with torch.device("meta"):
        routed = build(settings, image_shape, classes, "meta")
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
    _record(result, settings, data, casting, {"train": (math.nan, math.nan)}, math.nan)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)  # dropout draws from the global state
        for epoch in range(1, settings.train.epochs + 1):
            begun = time.perf_counter()
            loss, accuracy = _epoch(routed, settings, data.train, casting, optimisers, generator, epoch, progress)
            rate = len(data.train) / (time.perf_counter() - begun)
            if not math.isfinite(loss) or not _is_finite(routed, data.train, settings):
                result.state = "diverged"
                break
            _record(result, settings, data, casting, {"train": (loss, accuracy)}, rate)
            result.epochs = epoch
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
) -> tuple[float, float]:
    """One pass over the training images; returns the mean loss and accuracy of the passing batches."""
    options, device = settings.train, split.images.device
    steps = math.ceil(len(split) / options.batch)
    total, right = torch.zeros((), device=device), torch.zeros((), device=device)
    routed.train()
    for step, (images, labels) in enumerate(_batches(split, settings, generator)):
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
        for optimiser, _ in optimisers:
            optimiser.step()
        total += loss.detach() * len(labels)
        right += (logits.detach().argmax(1) == labels).sum()
        if step % LOOK == LOOK - 1 or step == steps - 1:
            if not math.isfinite(float(total)):
                return math.nan, math.nan
            if progress is not None:
                progress(epoch, step + 1, float(loss.detach()))
    return float(total) / len(split), float(right) / len(split)


def make_steps(routed: Routed, settings: Settings, split: Split, device: torch.device) -> Callable[[], None]:
    """Return a function that trains one epoch over a split, for benchmarks of the loop that `train` runs."""
    routed = routed.to(memory_format=torch.channels_last) if settings.train.channels_last else routed
    casting, optimisers = precision.resolve(settings.train.precision, device), _optimisers(settings, routed)
    generator = torch.Generator(device).manual_seed(settings.seed)

    def epoch() -> None:
        _epoch(routed, settings, split, casting, optimisers, generator, 1, None)

    return epoch


def _batches(split: Split, settings: Settings, generator: torch.Generator | None):
    options = settings.train
    augment = options.augment if generator is not None else None
    active = augment is not None and (augment.shift or augment.flip or augment.rotation)
    return batches(
        split,
        options.batch if generator is not None else 512,
        generator=generator,
        augmentation=Augmentation(**augment.model_dump()) if active else None,
        mean=options.mean,
        std=options.std,
        channels_last=options.channels_last,
    )


def _optimisers(settings: Settings, routed: Routed) -> list[tuple[torch.optim.Optimizer, OptimiserSettings]]:
    options = settings.train
    feedback = options.feedback or options.optimiser.model_copy(update={"weight_decay": 0.0})  # decay is the rule's own
    groups = [
        (list(routed.network.parameters()), options.optimiser),
        (routed.feedback_parameters(), feedback),
    ]
    return [
        (make_optimiser(c.name, params, c.learning_rate, c.weight_decay, c.options), c)
        for params, c in groups
        if params
    ]


@torch.no_grad()
def _is_finite(routed: Routed, split: Split, settings: Settings) -> bool:
    """Whether every weight is finite, and what the network makes of a batch: the last step may be the one too far."""
    if not all(bool(p.isfinite().all()) for p in routed.parameters()):
        return False
    routed.eval()
    with routed.exact() as network:
        return bool(network(next(iter(_batches(split[: settings.train.batch], settings, None)))[0]).isfinite().all())


def evaluate(routed: Routed, split: Split, settings: Settings, casting: str) -> tuple[float, float]:
    """Return the mean cross-entropy (nats) and the accuracy (0 to 1) on a split, in eval mode."""
    if not len(split):
        return math.nan, math.nan
    routed.eval()
    total, right = 0.0, 0
    with torch.no_grad(), routed.exact() as network:
        for images, labels in _batches(split, settings, None):
            with precision.autocast(casting, images.device):
                logits = network(images).float()
            total += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())
    return total / len(split), right / len(split)


def _record(
    result: Trained,
    settings: Settings,
    data: Dataset,
    casting: str,
    seen: Mapping[str, tuple[float, float]],
    rate: float,
) -> None:
    scores = {
        **seen,
        "validation": evaluate(result.routed, data.validation, settings, casting),
        "test": evaluate(result.routed, data.test, settings, casting),
    }
    row: dict[str, object] = {"images_per_second": rate}
    for split, (loss, accuracy) in scores.items():
        row |= {f"loss_{split}": loss, f"accuracy_{split}": accuracy}
    held = data.validation if len(data.validation) else data.train
    row["angle"] = alignment_angles(result.routed, held, settings)
    row["feedback_norm"] = {
        str(edge): float(feedback.effective().norm())
        for edge, feedback in zip(result.routed.edges, result.routed.feedback.values(), strict=True)
    }
    for key, value in row.items():
        result.history.setdefault(key, []).append(value)


def alignment_angles(routed: Routed, split: Split, settings: Settings) -> dict[str, float]:
    r"""Return, by edge, the angle in degrees between the delivered error and backpropagation's at the same place.

    .. math:: \arccos \frac{\langle \delta^{rule}, \delta^{BP} \rangle}{\|\delta^{rule}\| \|\delta^{BP}\|}

    over the first 256 images of the split taken as one vector, in eval mode and fp32. Both signals see the same
    forward pass; where an earlier edge has changed the error at a source, that is part of the angle.
    """
    if not routed.edges or not len(split):
        return {}
    routed.eval()
    images, labels = next(iter(_batches(split, settings, None)))
    images, labels = images[:PROBE], labels[:PROBE]
    delivered = routed.teaching_signals(images, labels)
    with routed.exact():
        true = routed.teaching_signals(images, labels)
    return {str(edge): _angle(delivered[edge.target], true[edge.target]) for edge in routed.edges}


def _angle(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten().double(), b.flatten().double()
    cosine = float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
