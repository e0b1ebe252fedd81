"""History: what is recorded of a network after each epoch, and the batches that it is recorded on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from rfmodel import parallel, precision
from rfmodel.datasets import Augmentation, Dataset, Split, batches
from rfmodel.diagnostics import angle
from rfmodel.routing import Routed
from rfmodel.settings import Settings

PROBE = 256  # validation images on which teaching signals are compared with backpropagation's
BY_EDGE = ("angle", "feedback_norm", "feedback_rank")
BY_SITE = ("factor_rank", "factor_drift", "factor_hoyer")  # of factored layers, where there are any
WHOLE = (
    *(f"{what}_{split}" for split in ("train", "validation", "test") for what in ("loss", "accuracy")),
    *("images_per_second", "flops_epoch"),
)


def batches_of(
    split: Split,
    settings: Settings,
    generator: torch.Generator | None,
    skip: int = 0,
    after: torch.Tensor | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches that the settings ask for: shuffled and augmented with a generator, as they lie without.

    `skip` and `after`, of an epoch that is taken up in its middle, are those of `datasets.batches`.
    """
    options = settings.train
    augment = options.augment.model_dump(exclude_defaults=True) if generator is not None else {}
    return batches(
        split,
        options.batch if generator is not None else 512,
        generator=generator,
        augmentation=Augmentation(**augment) if augment else None,
        mean=options.mean,
        std=options.std,
        channels_last=options.channels_last,
        share=(parallel.place(), parallel.count()) if generator is not None else (0, 1),
        skip=skip,
        after=after,
    )


def evaluate(routed: Routed, split: Split, settings: Settings, casting: str) -> tuple[float, float]:
    """Return the mean cross-entropy (nats) and the accuracy (0 to 1) on a split, in eval mode.

    Several processes look at their own share of the images each.
    """
    if not len(split):
        return math.nan, math.nan
    routed.eval()
    total, right = 0.0, 0
    own = split[parallel.place() :: parallel.count()]
    with torch.no_grad(), routed.exact() as network:
        for images, labels in batches_of(own, settings, None):
            with precision.autocast(casting, images.device):
                logits = network(images).float()
            total += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())
    total, right = parallel.summed(
        torch.tensor([total, right], dtype=torch.float64, device=split.labels.device)
    ).tolist()
    return total / len(split), right / len(split)


@torch.no_grad()
def is_finite(routed: Routed, split: Split, settings: Settings) -> bool:
    """Whether every weight is finite, and what the network makes of a batch: the last step may be the one too far."""
    if not all(bool(p.isfinite().all()) for p in routed.parameters()):
        return False
    routed.eval()
    with routed.exact() as network:
        return bool(network(next(iter(batches_of(split[: settings.train.batch], settings, None)))[0]).isfinite().all())


def epoch_row(
    routed: Routed, settings: Settings, data: Dataset, casting: str, trained: tuple[float, float], rate: float
) -> dict[str, object]:
    """Return one epoch's row of the history: losses, accuracies, what the feedback is by edge, and factors by layer.

    Parameters
    ----------
    routed : Routed
    settings : Settings
    data : Dataset
    casting : "fp32" or "bf16"
    trained : (loss, accuracy)
        Of the epoch's own batches.
    rate : float
        Images a second.
    """
    scores = {
        "train": trained,
        "validation": evaluate(routed, data.validation, settings, casting),
        "test": evaluate(routed, data.test, settings, casting),
    }
    row: dict[str, object] = {"images_per_second": rate}
    for split, (loss, accuracy) in scores.items():
        row |= {f"loss_{split}": loss, f"accuracy_{split}": accuracy}
    held = data.validation if len(data.validation) else data.train
    row["angle"] = alignment_angles(routed, held, settings)
    maps = routed.maps
    row["feedback_norm"] = {str(edge): float(feedback.effective().norm()) for edge, feedback in maps.items()}
    row["feedback_rank"] = {str(edge): float(feedback.rank or math.nan) for edge, feedback in maps.items()}
    readings = {site: loss.readings() for site, loss in routed.losses.items()}
    for name in BY_SITE if readings else ():
        row[name] = {site: found[name] for site, found in readings.items()}
    return row


def best(history: Mapping[str, list]) -> tuple[int, float] | None:
    """Return the epoch of the best validation accuracy and that accuracy; None where there is none.

    Of equal ones it is the first. It is for whoever looks on: nothing is chosen by it.
    """
    scores = [(-score, epoch) for epoch, score in enumerate(history.get("accuracy_validation", [])) if score == score]
    return (min(scores)[1], -min(scores)[0]) if scores else None


def alignment_angles(routed: Routed, split: Split, settings: Settings) -> dict[str, float]:
    r"""Return, by edge, the angle in degrees between the delivered error and backpropagation's at the same place.

    .. math:: \arccos \frac{\langle \delta^{rule}, \delta^{BP} \rangle}{\|\delta^{rule}\| \|\delta^{BP}\|}

    over the first 256 images of the split taken as one vector, in eval mode and fp32. Both signals see the same
    forward pass; where an earlier edge has changed the error at a source, that is part of the angle.
    """
    if not routed.edges or not len(split):
        return {}
    routed.eval()
    images, labels = next(iter(batches_of(split, settings, None)))
    images, labels = images[:PROBE], labels[:PROBE]
    delivered = routed.teaching_signals(images, labels)
    with routed.exact():
        true = routed.teaching_signals(images, labels)
    return {str(edge): angle(delivered[edge.target], true[edge.target]) for edge in routed.edges}
