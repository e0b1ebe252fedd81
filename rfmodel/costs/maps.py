"""What the feedback map of one edge costs: delivery and plasticity in a step, and what it does between steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from rfmodel.costs.blueprint import Blueprint
from rfmodel.costs.counter import counting
from rfmodel.costs.decomposition import thin_qr, truncation
from rfmodel.costs.walk import Walk
from rfmodel.errors import InputError
from rfmodel.routing import Edge, Feedback, LowRank, Step, WeightMirror
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.parts import Parts

Costs = dict[str, int | Fraction]
OWN_STEPS = 100  # over which a map's own `advance` is averaged
AMORTISED = (LowRank.advance, WeightMirror.advance, Parts.advance)


def in_step(plan: Blueprint, edge: Edge, found: Walk) -> Costs:
    """Return by part the FLOPs of an edge in one backward pass, each of its functions run alone on its shapes."""
    feedback = plan.routed.maps[edge]
    delta, live = (_blank(found.shapes[port], plan.dtype) for port in (edge.source, edge.target))
    labels = _blank((len(delta), plan.routed.classes), torch.float32) if feedback.reads_labels else None
    step, given = Step(1 / len(delta), 1.0, labels), feedback.given()
    sent: list[Tensor] = []

    def deliver() -> None:
        sent[:] = feedback.deliver(delta, live, step, *given)

    with torch.no_grad(), torch.device("meta"):
        costs: Costs = {"feedback": counting(deliver), "plasticity": 0}
        if any(tensor.requires_grad for tensor in given):
            costs["plasticity"] += counting(lambda: feedback.plasticity(delta, sent[1], live, step, *given))
        if feedback in found.heard:
            dW = torch.empty_like(feedback.layer.weight)
            costs["plasticity"] += counting(lambda: feedback.from_gradient(dW, step, *feedback.maps))
    return costs


def between_steps(edge: Edge, feedback: Feedback, found: Walk) -> Costs:
    """Return by part the FLOPs that a map spends between steps, shared out over the steps of its interval.

    A mirror's noise goes forward through the layer and back into B's correlation, 2 forward passes of the layer for
    each noise sample, every `every` steps. A truncated decomposition is counted by `truncation`, every
    `refactor_every` steps. A map's own `advance` is the mean over its first 100 steps of what a counter sees.

    Raises
    ------
    InputError
        If a map's own `advance` looks at values.
    """
    if not feedback.advances:
        return {}
    advance = type(feedback).advance
    if advance not in AMORTISED:
        return {} if advance.__module__.startswith("rfmodel.routing.") else {"plasticity": _own(edge, feedback)}
    if isinstance(feedback, WeightMirror):
        forward = sum(call.products.forward for call in found.calls if call.layer == edge.target.module)
        a_sample = Fraction(forward, _batch(found, edge))
        return {"plasticity": 2 * feedback.samples * a_sample / feedback.every}
    parts: Sequence[LowRank] = feedback.parts if isinstance(feedback, Parts) else [feedback]
    return {"svd": sum((_refactoring(part) for part in parts), Fraction(0))}


def retractions(loss: LocalLoss) -> Costs:
    """Return the FLOPs of bringing a factored layer's U and V back by QR, a step's share of them."""
    every = loss.weighing.retract_every
    sizes = [tuple(factor.shape) for factor in (loss.layer.U, loss.layer.V)]
    return {"local": sum((thin_qr(*size) for size in sizes), Fraction(0)) / every} if every else {}


def _refactoring(part: LowRank) -> Fraction:
    if not part.refactor_every:
        return Fraction(0)
    n = part.Q[0].numel()
    return truncation(part.geometry.m, n, part.rank, part.svd_iterations) / part.refactor_every


def _own(edge: Edge, feedback: Feedback) -> Fraction:
    bare = copy.deepcopy(feedback)
    try:
        with torch.no_grad(), torch.device("meta"):
            total = counting(lambda: [bare.advance(step, ()) for step in range(1, OWN_STEPS + 1)])
    except Exception as error:
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__}.advance cannot be counted on shapes alone "
            f"({type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0][:200]}); let it look at no "
            "values, and draw numbers on no generator of the meta device"
        ) from None
    return Fraction(total, OWN_STEPS)


def _batch(found: Walk, edge: Edge) -> int:
    return found.shapes[edge.target][0]


def _blank(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")
