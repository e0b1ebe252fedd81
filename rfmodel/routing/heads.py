"""Heads: local losses at the ends of units, each of which teaches the unit that it stands on and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.feedback import generator_for
from rfmodel.routing.ports import Edge, Port, Trace
from rfmodel.routing.taps import as_written
from rfmodel.routing.wiring import Cut, Pass, Wiring


@dataclass(frozen=True)
class HeadPlan:
    """What a rule is told about the end of a unit that it makes a head for.

    Parameters
    ----------
    port : Port
        Where the unit ends.
    shape : tuple of int
        Of the activity there, without the batch.
    classes : int
        Size of the network's output.
    record : Trace
    ends : tuple of Port
        Where the rule's units end, in the order in which they fire.
    place : int
        Which of them this is.
    shared : dict
        What one head's making leaves for the next of the same rule.
    """

    port: Port
    shape: tuple[int, ...]
    classes: int
    record: Trace
    ends: tuple[Port, ...] = ()
    place: int = 0
    shared: dict = field(default_factory=dict)


def no_edges(record: Trace, sites: Sequence[str]) -> list[Edge]:
    """Lay no edge: the routing of rules that teach by other means."""
    return []


def no_map(plan: object) -> None:
    """Make no feedback map: there is no edge that would have one."""


def lay_heads(record: Trace, laid: Mapping[str, tuple[object, Sequence[str]]], seed: int = 0) -> dict[Port, nn.Module]:
    """Make the heads of every rule that has some.

    Parameters
    ----------
    record : Trace
    laid : mapping of site pattern to (Rule, sites)
    seed : int
        Each head is drawn from (seed, port).

    Returns
    -------
    dict of Port to Module
        Each takes (h, y), one-hot labels y (batch, classes), and returns its loss, a mean over the batch.

    Raises
    ------
    InputError
        If a unit cannot be cut where it ends, or has no head; the message names the pattern.
    """
    heads: dict[Port, nn.Module] = {}
    for pattern, (rule, sites) in laid.items():
        try:
            cuts, shared = tuple(rule.cuts(record, sites)), {}
            for place, port in enumerate(cuts):
                _check(record, port, heads)
                plan = HeadPlan(port, record.shape(port), record.classes, record, cuts, place, shared)
                head = _made(plan, rule.head, seed)
                if head is not None:
                    heads[port] = head
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    return heads


def _made(plan: HeadPlan, make: Callable[[HeadPlan], nn.Module | None], seed: int) -> nn.Module | None:
    example = plan.record.example
    with drawn_from(seed, str(plan.port), example.device):
        head = make(plan)
        if head is not None:
            _try(plan, head.to(example.device, example.dtype if example.is_floating_point() else None))
        return head


def _try(plan: HeadPlan, head: nn.Module) -> None:
    """Give the head a blank activity: one that it cannot take is refused here and not in training."""
    example = plan.record.example
    head.eval()
    h = torch.zeros(2, *plan.shape, device=example.device, dtype=next(head.parameters()).dtype)
    try:
        with torch.no_grad():
            head(h, h.new_zeros(2, plan.classes))
    except InputError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InputError(
            f"{type(head).__name__} at '{plan.port}' cannot take an activity of {plan.shape} ({found}); name sites "
            "that leave this unit out, or use another rule"
        ) from None
    head.train()


def _check(record: Trace, port: Port, heads: Mapping[Port, nn.Module]) -> None:
    seen = record.firing(port)
    if port in heads:
        raise InputError(f"'{port}' ends a unit of two rules; keep one of the two")
    if record.classes < 2 or len(record.shape(Port("", "output"))) != 1:
        raise InputError(
            f"local losses ask for classes, and the network's output is {record.firings[Port('', 'output')].shape} a "
            "sample; use a network with one logit a class"
        )
    if seen.is_overwritten:
        raise InputError(f"what '{port}' carries is overwritten in place later on; write h = h + x in place of h += x")
    if seen.batch != record.firings[Port("", "output")].batch:
        raise InputError(f"'{port}' carries {seen.batch} samples where the output has another number; name other sites")
    if not seen.upstream_learns:
        raise InputError(f"'{port}' ends a unit in which nothing learns; leave it out")


@contextmanager
def drawn_from(seed: int, name: str, device: torch.device) -> Iterator[None]:
    """Within this context modules are made on the processor, drawn from (seed, name); torch's state is then as before.

    On the meta device nothing is drawn.
    """
    here = device if device.type == "meta" else torch.device("cpu")
    with torch.random.fork_rng(devices=[]), here:
        torch.manual_seed(generator_for(seed, name).initial_seed())
        yield


class Share(torch.autograd.Function):
    """The identity on the network's output; its backward pass also sends the update's share into the local losses."""

    @staticmethod
    def forward(ctx, output: Tensor, passed: object, *losses: Tensor) -> Tensor:
        # The pass lives as long as the graph, so that modules which are run again are cut as they were.
        ctx.passed, ctx.share = passed, passed.step.share
        ctx.kinds = [(loss.dtype, loss.device) for loss in losses]
        return output.view_as(output)

    @staticmethod
    def backward(ctx, delta: Tensor) -> tuple:
        shares = [torch.full((), ctx.share, dtype=dtype, device=device) for dtype, device in ctx.kinds]
        return delta, None, *shares


@dataclass
class HeadHere(Cut):
    """A cut at a unit's end, before which the unit's own loss is taken of the activity, and learnt from if it frees."""

    head: nn.Module

    def seen(self, value: Tensor, passed: Pass) -> None:
        loss = self.head(value, passed.step.labels)
        if passed.live is None:  # the module is run again in a backward pass
            return
        if not passed.frees or torch.compiler.is_compiling():
            passed.losses.append(loss)
            return
        del passed.live[self.port]  # nothing is delivered here: with the loss the unit's graph goes
        is_again = torch._C._current_autograd_node() is not None  # by activation checkpointing, as a unit learns
        if loss.requires_grad and not is_again:
            with as_written(loss):
                loss.backward(torch.full_like(loss, passed.step.share))


@dataclass
class ShareHere:
    """Forward hook on the network that lets its output's backward pass reach the local losses, and hold the pass."""

    wiring: Wiring

    def __call__(self, module: nn.Module, args: tuple, output: Tensor):
        passed = self.wiring.serving()
        if passed is None or not passed.cutting:
            return None
        if passed.frees and not output.requires_grad:  # all that learns has done so, and backward() is still to come
            output = output.detach().requires_grad_()
        losses, passed.losses = passed.losses, []
        return Share.apply(output, passed, *losses)
