"""The benchmark of memory: which cases are measured, what is said of each, and what is refused."""

from __future__ import annotations

import pytest

from rfmodel import costs, memory_bench
from rfmodel.errors import InputError


def test_backpropagation_is_measured_first_and_factored_rules_at_every_fraction(monkeypatch):
    asked = []

    def measured(*given):
        asked.append(given)
        return 10**6 * len(asked)

    monkeypatch.setattr(memory_bench, "_measured", measured)
    rows = memory_bench.bench_memory("lenet", ["svd_bp", "dfa"], [1.0, 0.5], batch=3)
    assert [given[1:3] for given in asked] == [("bp", None), ("svd_bp", 1.0), ("svd_bp", 0.5), ("dfa", None)]
    assert [row["of BP, measured"] for row in rows] == ["1.00", "2.00", "3.00", "4.00"]
    half = costs.memory(memory_bench.routed_of("lenet", "svd_bp", 0.5, "meta"), 3, (3, 32, 32))
    assert rows[2]["of BP"] == f"{half.total() / half.backpropagation().total():.2f}"
    assert rows[0]["FLOPs of BP"] == "1.00" and float(rows[3]["FLOPs of BP"]) < 1


def test_a_rules_steps_are_measured_at_a_rank():
    assert memory_bench.peak_of("lenet", "svd_bp", 0.5, 2, "cpu") >= 0  # 0 where the process had held more before


def test_an_impossible_rank_is_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(memory_bench, "_measured", lambda *given: pytest.fail(f"measured {given}"))
    with pytest.raises(InputError, match="rank 1.5 of rule 'svd_bp'"):
        memory_bench.bench_memory("lenet", ["svd_bp"], [1.0, 1.5], batch=2)


def test_unknown_networks_and_processes_that_fail_are_refused():
    with pytest.raises(InputError, match="network 'vgg31' is unknown"):
        memory_bench.bench_memory("vgg31")
    with pytest.raises(InputError, match=r"that measures \('lenet', 'bp', None\) failed \(.*device 'meta' cannot be"):
        memory_bench._measured("lenet", "bp", None, 2, "meta")
