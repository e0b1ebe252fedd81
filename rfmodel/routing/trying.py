"""Trying: a feedback map is tried where it is laid, so that what cannot be is refused there and not in training."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from rfmodel.errors import InputError
from rfmodel.routing.feedback import Feedback, Step
from rfmodel.routing.ports import Edge, Port, Trace
from rfmodel.routing.reciprocal import WeightMirror

if TYPE_CHECKING:
    from rfmodel.routing.rules import Plan


def refuse_tied(edge: Edge, feedback: Feedback, record: Trace) -> None:
    """A map that is updated as a weight is cannot follow one that other modules' gradients move too."""
    if feedback.learns_as_weights and feedback.layer is not None:
        own = feedback.layer.weight
        owners = [n for n, m in record.network.named_modules() if any(p is own for p in m.parameters(recurse=False))]
        if len(owners) > 1:
            raise InputError(
                f"edge '{edge}': {' and '.join(owners)} share one weight, which no map can follow; untie it"
            )


def refuse_silent(plan: Plan, feedback: Feedback) -> None:
    """Refuse a map that takes its spread from weights without any, and cannot grow one."""
    grows = isinstance(feedback, WeightMirror) or any(p.requires_grad for p in feedback.maps[:1])
    if not (plan.std > 0 or grows or bool(feedback.effective().any())):
        raise InputError(
            f"edge '{plan.edge}': the weights of '{plan.edge.target.module}' are all alike (standard deviation "
            f"{plan.std}), and a map of their spread would deliver nothing; initialise them, or leave the site out"
        )


@torch.no_grad()
def try_out(edge: Edge, feedback: Feedback, record: Trace) -> None:
    """Send one blank error along an edge: a map of the wrong shape is refused here and not in training."""
    if type(feedback).__module__.startswith("rfmodel.routing."):
        return
    given = feedback.given()
    blank = dict(device=given[0].device, dtype=given[0].dtype) if given else {}
    delta = torch.zeros(1, *record.shape(edge.source), **blank)
    like = torch.zeros(1, *record.shape(edge.target), **blank)
    step = Step(1.0, 1.0, torch.zeros(1, record.shape(Port("", "output"))[-1], **blank))
    try:
        carried, y = feedback.deliver(delta, like, step, *given)
        learnt = list(feedback.plasticity(delta, y, like, step, *given))
    except InputError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__} cannot carry an error of {tuple(delta.shape)} to "
            f"{tuple(like.shape)} ({found}); mend its carry or its weights' shapes"
        ) from None
    if carried.shape != like.shape:
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__} delivers {tuple(carried.shape)} where the target is "
            f"{tuple(like.shape)}; carry must return a tensor shaped like its target"
        )
    shapes = [None if d is None else tuple(d.shape) for d in learnt]
    if any(shape not in (None, tuple(p.shape)) for shape, p in zip(shapes, feedback.maps, strict=False)) or len(
        shapes
    ) != len(feedback.maps):
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__}.plasticity returns {shapes} for maps of "
            f"{[tuple(p.shape) for p in feedback.maps]}; return one pseudo-gradient a map, or None"
        )
    _try_effective(edge, feedback)


def _try_effective(edge: Edge, feedback: Feedback) -> None:
    if type(feedback).effective is Feedback.effective:
        return
    try:
        found = tuple(feedback.effective().shape)
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    asked = (feedback.geometry.m, prod(feedback.geometry.weight_shape(1)))
    if found != asked:
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__}.effective gives {found}; return B in the forward weight's "
            f"orientation, {asked}"
        )
