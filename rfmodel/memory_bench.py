"""Benchmark of memory: the peak of training steps in a process of their own, beside the memory account."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import torch
from torch import nn

from rfmodel import costs
from rfmodel.errors import InputError, one_of
from rfmodel.factors import factored
from rfmodel.models import NETWORKS
from rfmodel.routing import Routed, make_rule

IMAGE = (3, 32, 32)
STEPS = 2  # the second has the optimiser's state from its beginning
PROGRAM = (
    "import sys, json; from rfmodel.memory_bench import peak_of; print(json.dumps(peak_of(*json.loads(sys.argv[1]))))"
)


def bench_memory(
    network: str = "vgg13",
    rules: Sequence[str] = ("svd_bp", "ssa"),
    fractions: Sequence[float] = (1.0, 0.7, 0.3),
    batch: int = 128,
    device: str = "cpu",
) -> list[dict[str, str]]:
    """Measure the peak of a rule's training steps at ranks of its factored layers, and of backpropagation's.

    Each is two steps with Adam on random images of 32 x 32 in colour, in a process of its own, all that the process
    took since it had imported torch. The account holds no more than what lives until the backward pass: a measured
    peak is above it by what single operations need.

    Parameters
    ----------
    network : str
        By its name, with its usual sizes.
    rules : sequence of str
    fractions : sequence of float
        Of the full rank; a rule without factored layers is measured once.
    batch : int
    device : str

    Returns
    -------
    list of dict
        A row of backpropagation, then one a rule and fraction: MB by the account and measured, both over those of
        backpropagation, and the FLOPs of a step over backpropagation's.

    Raises
    ------
    InputError
        If the network, a rule or a fraction cannot be, or a measuring process fails.
    """
    one_of("network", network, NETWORKS)
    cases: list[tuple[str, float | None]] = [("bp", None)]
    for rule in rules:
        has_factors = bool(factored(routed_of(network, rule, None, "meta").network))
        cases += [(rule, fraction) for fraction in (fractions if has_factors else [None])]
    made = [routed_of(network, *case, "meta") for case in cases]  # what cannot be is refused before any is measured
    rows, plain = [], None
    for (rule, fraction), routed in zip(cases, made, strict=True):
        measured = _measured(network, rule, fraction, batch, device)
        held, spent = costs.memory(routed, batch, IMAGE), costs.account(routed, batch, IMAGE)
        plain = plain or (held.at_once, measured)
        rows.append(
            {
                "network": network,
                "rule": rule,
                "rank": "" if fraction is None else f"{fraction:g}",
                "account, MB": f"{held.at_once / 1e6:.0f}",
                "of BP": f"{held.at_once / plain[0]:.2f}",
                "measured, MB": f"{measured / 1e6:.0f}",
                "of BP, measured": f"{measured / plain[1]:.2f}",
                "FLOPs of BP": f"{costs.relative_to_bp(spent):.2f}",
            }
        )
    return rows


def routed_of(network: str, rule: str, fraction: float | None, device: str) -> Routed:
    """Return a network with a rule everywhere, its factors at a fraction of the full rank."""
    options = {} if fraction is None else {"rank": float(fraction)}
    with torch.device(device):
        torch.manual_seed(0)
        made = NETWORKS[network](channels=IMAGE[0], size=IMAGE[1], classes=10)
        rules = {} if rule == "bp" else {"*": make_rule(rule, **options)}
        return Routed(made, rules, torch.zeros(2, *IMAGE), epochs=100)


def peak_of(network: str, rule: str, fraction: float | None, batch: int, device: str) -> int:
    """Return the peak of this process's memory over the making of a network and its first training steps, in bytes."""
    with costs.peak_memory(device) as peak:
        routed = routed_of(network, rule, fraction, device)
        groups = [
            [*routed.network.parameters(), *routed.feedback_parameters(True)],
            routed.feedback_parameters(False),
        ]
        optimisers = [torch.optim.Adam(params, lr=1e-4) for params in groups if params]
        images, labels = torch.randn(batch, *IMAGE, device=device), torch.randint(0, 10, (batch,), device=device)
        routed.start_epoch(1, optimisers)
        for _ in range(STEPS):
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            with routed.freeing_units():
                output = routed(images, labels)
            nn.functional.cross_entropy(output, labels).backward()
            for optimiser in optimisers:
                optimiser.step()
            routed.advance(optimisers)
    return peak.bytes


def _measured(*given: object) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(given)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"the process that measures {given[:3]} failed ({reason[:200]}); use a smaller batch or network"
        )
    return int(done.stdout)
