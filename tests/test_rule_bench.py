"""The benchmark of rules: its table, and how it refuses."""

from __future__ import annotations

import pytest

from rfmodel import rule_bench
from rfmodel.errors import InputError


@pytest.mark.parametrize("casting", ["fp32", "bf16"])
def test_each_rule_has_a_row_with_its_ratios_and_their_limit(casting):
    (row,) = rule_bench.bench_rules("vgg", casting, repeats=1, batch=2, only=["dfa"])
    assert row["rule"] == "DFA"
    assert float(row["time, minimum"]) > 0
    assert 0.6 < float(row["FLOPs"]) < 0.7


@pytest.mark.parametrize(
    ("network", "casting", "only", "message"),
    [
        ("vggg", "fp32", (), "network 'vggg' is unknown: .*did you mean 'vgg'"),
        ("vgg", "fp16", (), "precision 'fp16' is unknown"),
        ("vgg", "fp32", ("ldfb",), "rule 'ldfb' is unknown: .*did you mean 'ldfa'"),
    ],
)
def test_unknown_choices(network, casting, only, message):
    with pytest.raises(InputError, match=message):
        rule_bench.bench_rules(network, casting, only=only)
