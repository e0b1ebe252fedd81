"""Benchmark of learning rules: a training step of each against backpropagation's, interleaved in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfmodel import precision
from rfmodel.bench import seconds
from rfmodel.errors import one_of
from rfmodel.models import VGG, ViT
from rfmodel.routing import Routed, make_rule

BATCH = 128
NETWORKS: dict[str, Callable[[], nn.Module]] = {"vgg": VGG, "vit": ViT}


@dataclass(frozen=True)
class Case:
    """A rule as it is timed on one network: its label, where it is laid, and its options."""

    label: str
    site: str
    rule: str
    options: dict[str, object]


CASES = {
    "vgg": (
        Case("FA", "*", "fa", {}),
        Case("DFA", "*", "dfa", {}),
        Case("LDFA, r = m/8", "*", "ldfa", {"rank": 0.125}),
        Case("LDFA, r = m/8, Hebbian Q", "*", "ldfa", {"rank": 0.125, "q": "hebbian"}),
        Case("LDFA normative, r = m/8", "*", "ldfa_normative", {"rank": 0.125}),
    ),
    "vit": (
        Case("FA", "*", "fa", {}),
        Case("DFA", "*", "dfa", {}),
        Case("LDFA, r = 24", "blocks.*", "ldfa", {"rank": 24}),
        Case("LDFA, r = 24, Hebbian Q", "blocks.*", "ldfa", {"rank": 24, "q": "hebbian"}),
        Case("LDFA normative, r = 24", "blocks.*", "ldfa_normative", {"rank": 24}),
    ),
}


def bench_rules(
    network: str,
    casting: str = "fp32",
    repeats: int = 7,
    device: str = "cpu",
    batch: int = BATCH,
    compiled: bool = False,
    only: Sequence[str] = (),
) -> list[dict[str, str]]:
    """Time a training step (forward, backward, both optimisers) of each rule against backpropagation.

    Both are the same network from the same seed, fused AdamW on weights and feedback, random CIFAR-sized images that
    are on the device already. One repeat times a step of backpropagation, then one of the rule; a ratio is taken
    within a repeat, and the first repeat warms both up.

    Parameters
    ----------
    network : {"vgg", "vit"}
        Tables C1 and C2 of Hanut & Kadmon.
    casting : {"fp32", "bf16"}
    repeats : int
    device : str
    batch : int
    compiled : bool
        Compile both by `torch.compile`.
    only : sequence of str
        Rules' names; all by default.

    Returns
    -------
    list of dict
        One row a rule: minimum and median of the ratios, and the ratio of FLOPs, which bounds them where all
        arithmetic runs equally fast.
    """
    make = NETWORKS[one_of("network", network, NETWORKS)]
    one_of("precision", casting, ("fp32", "bf16"))
    for rule in only:
        one_of("rule", rule, {case.rule for case in CASES[network]})
    rows = []
    for case in CASES[network]:
        if only and case.rule not in only:
            continue
        rules = {case.site: make_rule(case.rule, **case.options)}
        ours = stepping(make, rules, casting, device, batch, compiled)
        plain = stepping(make, {}, casting, device, batch, compiled)
        pairs = [(seconds(plain, device), seconds(ours, device)) for _ in range(repeats + 1)][1:]
        ratios = [mine / theirs for theirs, mine in pairs]
        rows.append(
            {
                "network": network,
                "precision": casting + (", compiled" if compiled else ""),
                "rule": case.label,
                "time, minimum": f"{min(ratios):.3f}",
                "time, median": f"{statistics.median(ratios):.3f}",
                "time, maximum": f"{max(ratios):.3f}",
                "FLOPs": f"{flops(make, rules, batch) / flops(make, {}, batch):.3f}",
                "BP, ms": f"{1e3 * statistics.median(theirs for theirs, _ in pairs):.1f}",
                "threads": str(torch.get_num_threads()),
            }
        )
    return rows


def stepping(
    make: Callable[[], nn.Module], rules: dict, casting: str, device: str, batch: int, compiled: bool = False
) -> Callable[[], None]:
    """Return a function that does one training step."""
    torch.manual_seed(0)
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device=device)
    routed = Routed(make().to(device), rules, images[:2]).to(memory_format=torch.channels_last)
    groups = [[*routed.network.parameters(), *routed.feedback_parameters(True)], routed.feedback_parameters(False)]
    optimisers = [torch.optim.AdamW(params, lr=1e-4, fused=True) for params in groups if params]
    model = torch.compile(routed, fullgraph=True) if compiled else routed

    def step() -> None:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        with precision.autocast(casting, torch.device(device)):
            logits = model(images, labels)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        for optimiser in optimisers:
            optimiser.step()
        routed.advance(optimisers[1:])

    return step


def flops(make: Callable[[], nn.Module], rules: dict, batch: int) -> int:
    """Return the floating-point operations of a step's forward and backward pass, maps and plasticity included.

    Counted on the meta device, where they cost nothing; element-wise operations and optimisers are not counted.
    """
    with torch.device("meta"):
        routed = Routed(make(), rules, torch.empty(2, 3, 32, 32))
        images, labels = torch.empty(batch, 3, 32, 32), torch.empty(batch, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            nn.functional.cross_entropy(routed(images, labels), labels).backward()
    return counter.get_total_flops()
