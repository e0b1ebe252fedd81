"""Samples of the diagnostics: all measures on one batch, and when they are taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rfmodel.diagnostics.measures import (
    angle,
    angle_together,
    effective_rank,
    energy_passed,
    norm,
    norm_ratio,
    orthonormality_drift,
    participation_ratio,
    spectrum,
)
from rfmodel.errors import InputError
from rfmodel.routing import Feedback, Port, Routed, trace
from rfmodel.routing.cuts import teach

# name: (units, long name); those of EDGES have dims (step, edge), that of WHOLE has dim (step)
EDGES = {
    "weight_angle": ("degree", "angle between the feedback map and the weights that it stands for"),
    "signal_angle": ("degree", "angle between the teaching signal at the target and backpropagation's"),
    "gradient_angle": ("degree", "angle between the weight gradient that the target teaches and backpropagation's"),
    "map_norm": ("1", "Frobenius norm of the feedback map"),
    "feedback_ratio": ("1", "Frobenius norm of the feedback map over that of the weights that it stands for"),
    "signal_gain": ("1", "norm of the teaching signal at the target over that of backpropagation's"),
    "energy_passed": ("1", "fraction of the arriving error's energy in the space that P reads"),
    "participation_ratio": ("1", "participation ratio of the arriving error's second moment"),
    "effective_rank": ("1", "exponential of the entropy of the arriving error's spectrum"),
    "orthonormality_drift": ("1", "distance of P's rows from orthonormal ones, over the root of their number"),
}
WHOLE = {"gradient_angle_all": ("degree", "angle between all of the network's gradients and backpropagation's")}

Sample = dict[str, dict[str, float] | float]


def taught(routed: Routed, example: Tensor) -> dict[Port, str]:
    """Return by target the weight that its error teaches first: of the last layer to fire that it reaches.

    Only layers below the next cuts count, since no error passes those, and only those on a path to the target: a
    layer that merely stands beside it (q beside k in attention) is not taught by it.

    Parameters
    ----------
    routed : Routed
    example : Tensor, shape (batch, ...)

    Returns
    -------
    dict of Port to a name of `network.named_parameters()`
        A target whose error reaches no weight that learns is left out.
    """
    record = trace(routed.network, example)
    targets = list(dict.fromkeys(edge.target for edge in routed.edges))
    teachers = teach(record, targets).by
    layers = [name for name in record.weighted if record.layer(name).weight.requires_grad]
    last = {port: name for name in layers for port in teachers.get(name, ())}
    return {port: f"{last[port]}.weight" for port in targets if port in last}


@contextmanager
def undisturbed(routed: Routed, device: torch.device) -> Iterator[None]:
    """Within this context the modules are in eval mode; modes and random state are then as before."""
    modes = {module: module.training for module in routed.modules()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        routed.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def diagnose(routed: Routed, images: Tensor, labels: Tensor, teaches: Mapping[Port, str] | None = None) -> Sample:
    """Return every diagnostic of a routed network on one batch, in eval mode.

    Costs one forward and backward pass under the rule and one of backpropagation; nothing of the network, its
    gradients or the random state changes. Both see the same forward pass. Where several edges share a target, their
    sum is the teaching signal of each.

    Parameters
    ----------
    routed : Routed
    images : Tensor, shape (batch, ...)
    labels : Tensor, shape (batch,)
    teaches : mapping of Port to parameter name, optional
        As `taught` returns it, to spare its passes.

    Returns
    -------
    dict
        Each name of `EDGES` holds a number by edge, that of `WHOLE` one number; {} where there is no edge, since
        there all is backpropagation's own.
    """
    if not routed.edges:
        return {}
    if not routed.routes_errors:
        raise InputError("diagnostics compare a rule with backpropagation; take them outside exact()")
    teaches = taught(routed, images[:2]) if teaches is None else teaches
    with undisturbed(routed, images.device):
        ours = routed.observe(images, labels)
        with routed.exact():
            true = routed.observe(images, labels)
    rows: dict[str, dict[str, float]] = {name: {} for name in EDGES}
    for edge, feedback in routed.maps.items():
        weight = teaches.get(edge.target, "")
        measured = {
            **_of_map(feedback),
            **_of_error(feedback, feedback.geometry.rows(ours.arriving[edge])),
            "signal_angle": angle(ours.signals[edge.target], true.signals[edge.target]),
            "signal_gain": norm_ratio(ours.signals[edge.target], true.signals[edge.target]),
            "gradient_angle": _between(ours.gradients, true.gradients, [weight]),
        }
        for name, value in measured.items():
            rows[name][str(edge)] = value
    return {**rows, "gradient_angle_all": _between(ours.gradients, true.gradients, true.gradients)}


def _between(ours: Mapping[str, Tensor], true: Mapping[str, Tensor], names: Iterable[str]) -> float:
    return angle_together([(ours[name], true[name]) for name in names if name in ours and name in true])


def _of_map(feedback: Feedback) -> dict[str, float]:
    B, layer = feedback.effective(), feedback.layer
    W = None if layer is None else feedback.geometry.dense(layer.weight.detach())
    P = _reading(feedback)
    return {
        "map_norm": norm(B),
        "weight_angle": math.nan if W is None else angle(B, W),
        "feedback_ratio": math.nan if W is None else norm_ratio(B, W),
        "orthonormality_drift": math.nan if P is None else orthonormality_drift(P),
    }


def _reading(feedback: Feedback) -> Tensor | None:
    """Return the rows of P that are in force: where the rank has a schedule, P holds those of later epochs too."""
    P = getattr(feedback, "P", None)
    return None if P is None else P[: feedback.rank]


def _of_error(feedback: Feedback, rows: Tensor) -> dict[str, float]:
    shares, P = spectrum(rows), _reading(feedback)
    whole = math.nan if shares is None else 1.0  # a map without P reads every direction
    return {
        "energy_passed": whole if P is None else energy_passed(rows, P),
        "participation_ratio": participation_ratio(shares),
        "effective_rank": effective_rank(shares),
    }


@dataclass
class Watch:
    """Samples of the diagnostics by optimiser step, taken while a network is trained.

    Parameters
    ----------
    routed : Routed
    images, labels : Tensor
        The batch on which every sample is taken; on the network's device.
    every : int
        Steps between samples; 0 takes none.
    """

    routed: Routed
    images: Tensor
    labels: Tensor
    every: int
    samples: dict[int, Sample] = field(default_factory=dict)
    _teaches: dict[Port, str] | None = None

    def at(self, step: int, last: bool = False) -> None:
        """Take a sample if one is due after `step` updates of the weights, or if they are the last."""
        if not self.every or not self.routed.edges or step in self.samples or (step % self.every and not last):
            return
        if self._teaches is None:
            self._teaches = taught(self.routed, self.images[:2])
        self.samples[step] = diagnose(self.routed, self.images, self.labels, self._teaches)
