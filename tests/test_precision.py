"""bf16 is chosen where it is computed in hardware, and only there."""

from __future__ import annotations

import pytest
import torch

from rfmodel import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [({"avx2", "avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx2", "avx512f"}, "fp32"), (set(), "fp32")],
)
def test_auto_follows_the_processors_flags(monkeypatch, flags, chosen):
    monkeypatch.setattr(precision, "_processor_flags", lambda: frozenset(flags))
    assert precision.resolve("auto", CPU) == chosen


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_a_named_precision_is_kept(asked):
    assert precision.resolve(asked, CPU) == asked


def test_autocast_leaves_weights_and_is_off_in_fp32():
    layer = torch.nn.Linear(3, 2)
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with precision.autocast(name, CPU):
            assert layer(torch.zeros(1, 3)).dtype == dtype
        assert layer.weight.dtype == torch.float32
