"""Benchmarks: rfmodel against the loop a person would write, interleaved in one run, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from rfmodel import precision
from rfmodel.datasets import Dataset, Split
from rfmodel.memory import keep_freed_memory
from rfmodel.models import RetinaVVS
from rfmodel.settings import NetworkSettings, OptimiserSettings, RuleSettings, Settings, TrainSettings
from rfmodel.training import build, make_steps

BATCH = 64
CASES = {
    "5x5, 16 px": (NetworkSettings(kernel=5, depth=2), 16),
    "9x9, 32 px": (NetworkSettings(kernel=9, depth=3), 32),
}
CONDITIONS = {
    "BP, wide": {},
    "LDFA, r = 4": {"retina": RuleSettings(name="ldfa", options={"rank": 4, "q": "hebbian"})},
}


def bench_train(repeats: int = 7, device: str = "cpu", steps: int = 4) -> list[dict[str, str]]:
    """Time a training step of the Retina-VVS network: ours against a plain fp32 loop of the same.

    Both train the same architecture from the same seed with RMSprop (learning rate 1e-4, L2 1e-5) on batches of
    64 random grey images that are on the device already; the plain loop runs backpropagation in fp32, in torch's
    default layout and under the C library's own memory policy, as a script would. One repeat times `steps` steps of
    each, one after the other; a ratio is taken within a repeat.

    Returns
    -------
    list of dict
        One row a network and condition: images/s of both (medians) and the ratio's minimum, median and maximum.
    """
    rows = []
    for case, (network, size) in CASES.items():
        images = torch.randint(0, 256, (BATCH * steps, 1, size, size), dtype=torch.uint8, device=device)
        split = Split(images, torch.randint(0, 10, (len(images),), device=device))
        for condition, rules in CONDITIONS.items():
            ours, plain = _ours(network, rules, split, device), _plain(network, split, device)
            pairs = list(_interleaved(ours, plain, repeats, device))
            rows.append({"network": case, "condition": condition} | _row(pairs, len(split)))
    return rows


def _ours(network: NetworkSettings, rules: dict, split: Split, device: str) -> Callable[[], None]:
    optimiser = OptimiserSettings(learning_rate=1e-4, weight_decay=1e-5)
    settings = Settings(network=network, rules=rules, train=TrainSettings(optimiser=optimiser, batch=BATCH))
    empty = split[slice(0, 0)]
    data = Dataset("bench", split, empty, empty, tuple("0123456789"), "", "random")
    routed = build(settings, data.image_shape, 10, device)
    return make_steps(routed, settings, split, torch.device(device))


def _plain(network: NetworkSettings, split: Split, device: str) -> Callable[[], None]:
    torch.manual_seed(0)
    chosen = network.model_dump(exclude={"name"})
    model = RetinaVVS(**chosen, size=split.images.shape[-1]).to(device)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-4, weight_decay=1e-5)

    def loop() -> None:
        for start in range(0, len(split), BATCH):
            images = (split.images[start : start + BATCH].float() / 255 - 0.5) / 0.5
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(images), split.labels[start : start + BATCH])
            loss.backward()
            optimiser.step()

    return loop


def bench_fields(repeats: int = 5) -> list[dict[str, str]]:
    """Time the fields of the 32 units of retina.conv2 (9x9, 32x32): one call against a loop over units.

    The loop is the one a person would write: a forward pass of the network and `torch.autograd.grad` for each unit.
    See `rfmodel.fields.bench`.
    """
    from rfmodel.fields import bench

    torch.manual_seed(0)
    found = bench.bench_fields(RetinaVVS(), repeats=repeats)
    pairs = list(zip(found["call_seconds"], found["loop_seconds"], strict=True))
    row = _row(pairs, found["units"], "fields/s")
    return [{"layer": f"{found['layer']}, {found['units']} units"} | row | {"difference": f"{found['difference']:.1e}"}]


def _interleaved(
    ours: Callable[[], object], plain: Callable[[], object], repeats: int, device: str
) -> Iterator[tuple[float, float]]:
    for turn in range(repeats + 1):
        keep_freed_memory(True)
        mine = seconds(ours, device)
        keep_freed_memory(False)  # the plain loop runs as in a process of its own
        pair = (mine, seconds(plain, device))
        if turn:  # the first warms both up
            yield pair


def seconds(work: Callable[[], object], device: str) -> float:
    """Return how long `work` takes by the wall clock, the device's queue included."""
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _row(pairs: list[tuple[float, float]], count: int, unit: str = "images/s") -> dict[str, str]:
    ratios = [plain / ours for ours, plain in pairs]
    ours, plain = (statistics.median(count / seconds for seconds in side) for side in zip(*pairs, strict=True))
    return {
        f"ours {unit}": f"{ours:.0f}",
        f"plain {unit}": f"{plain:.0f}",
        "ratio": f"{statistics.median(ratios):.2f}",
        "min": f"{min(ratios):.2f}",
        "max": f"{max(ratios):.2f}",
        "threads": str(torch.get_num_threads()),
        "bf16": "yes" if precision.has_bf16_units(torch.device("cpu")) else "no",
    }
