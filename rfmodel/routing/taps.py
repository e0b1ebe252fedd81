"""Taps: the autograd identities that hand errors on, and what they do besides in the backward pass.

`Tap` stands on an activity, `Tell` and `Deliver` are its two halves where error is read far from where it is delivered,
`WeightTap` stands on a layer's weight, `FactorTap` on its factors. They change nothing forward; backward they hand on
what arrives, and besides deliver an error, return a feedback map's plasticity as its gradient, or add a local loss.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor


class Tap(torch.autograd.Function):
    """The identity on `source`; its backward pass also delivers the feedback's error to `live`, at once."""

    @staticmethod
    def forward(ctx, source, live, labels, edge, feedback, passed, *given):
        ctx.save_for_backward(live, labels, *given)
        ctx.edge, ctx.feedback, ctx.passed = edge, feedback, passed
        return source.view_as(source)

    @staticmethod
    def backward(ctx, delta):
        return delta, *_delivered(ctx, delta)


class Tell(torch.autograd.Function):
    """The identity on `source`; its backward pass leaves the error for the edge's `Deliver`, whose output `due` is."""

    @staticmethod
    def forward(ctx, source, due, edge, passed):
        ctx.edge, ctx.passed, ctx.kind = edge, passed, (due.dtype, due.device)
        return source.view_as(source)

    @staticmethod
    def backward(ctx, delta):
        ctx.passed.told[ctx.edge] = delta
        dtype, device = ctx.kind
        return delta, torch.zeros((), dtype=dtype, device=device), None, None


class Deliver(torch.autograd.Function):
    """Stands on `live` as soon as it is there; its backward pass delivers the error that the edge's `Tell` has left.

    Autograd runs what was made last first. A tap on the network's output would carry its error to all targets before
    any of them hands it on, and all errors, as large as the activities, would be held at once. This node was made with
    its target: its turn comes when the units after it are done, and there is one such error at a time.
    """

    @staticmethod
    def forward(ctx, live, labels, edge, feedback, passed, *given):
        ctx.save_for_backward(live, labels, *given)
        ctx.edge, ctx.feedback, ctx.passed = edge, feedback, passed
        return live.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return _delivered(ctx, ctx.passed.told.pop(ctx.edge))


def _delivered(ctx, delta: Tensor) -> tuple:
    """Return the gradients of live, labels, edge, feedback, pass and maps."""
    live, labels, *given = ctx.saved_tensors  # read once: activation checkpointing recomputes at each access
    feedback, passed = ctx.feedback, ctx.passed
    step = replace(passed.step, labels=labels)
    plastic = (None,) * len(given)
    with as_written(delta):
        carried, y = feedback.deliver(delta, live, step, *given)
        if any(ctx.needs_input_grad[-len(given) :] if given else ()):
            learnt = tuple(feedback.plasticity(delta, y, live, step, *given))
            plastic = learnt + (None,) * (len(given) - len(learnt))
    if passed.note is not None:
        passed.note(ctx.edge, delta, carried)
    return carried.to(live.dtype), None, None, None, None, *plastic


class WeightTap(torch.autograd.Function):
    """The identity on a layer's weight; its backward pass also tells the feedback map the weight's gradient."""

    @staticmethod
    def forward(ctx, weight, feedback, step, *maps):
        ctx.save_for_backward(*maps)
        ctx.feedback, ctx.step = feedback, step
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, dW):
        with as_written(dW):
            return dW, None, None, *ctx.feedback.from_gradient(dW, ctx.step, *ctx.saved_tensors)


class FactorTap(torch.autograd.Function):
    """The identity on a layer's U, S and V; its backward pass also adds the gradients of the layer's local loss."""

    @staticmethod
    def forward(ctx, U, S, V, loss, passed, *maps):
        ctx.save_for_backward(U, S, V, *maps)
        ctx.loss, ctx.passed = loss, passed  # the pass lives as long as its graph
        return U.view_as(U), S.view_as(S), V.view_as(V)

    @staticmethod
    def backward(ctx, dU, dS, dV):
        U, S, V, *maps = ctx.saved_tensors
        with as_written(dU):
            own, learnt = ctx.loss.gradients((dU, dS, dV), (U, S, V), maps, ctx.passed.step.share)
        return *own, None, None, *learnt


def as_written(x: Tensor) -> AbstractContextManager:
    """Return a context without autocast, so that maps learn in their own dtype wherever backward() is called.

    A compiled backward pass has the autocast of its forward pass whatever stands here; see
    torch._functorch.config.backward_pass_autocast.
    """
    device = x.device.type
    if torch.compiler.is_compiling() or not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
