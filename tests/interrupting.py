"""Trainings that are interrupted at chosen updates and taken up again, and what of two of them must be equal."""

from __future__ import annotations

import math

import torch

from rfmodel import training
from rfmodel.checkpoints import Checkpoints, interval


class Interrupted(Exception):
    """Raised on purpose, in the middle of a training."""


def checkpoints(path, every="1 step", **more):
    return Checkpoints(path, "run", "data", interval(every), **more)


def stop(*_):
    raise Interrupted


def cut(settings, data, path, updates, every="1 step", **more):
    """Train with an interruption after each of the updates, each time taken up by what is built anew; then to the end.

    The visit that interrupts comes before the update's checkpoint, so that the update itself is done again.
    """
    for update in updates:
        try:
            training.train(settings, data, visits={update: stop}, checkpoints=checkpoints(path, every), **more)
        except Interrupted:
            continue
        raise AssertionError(f"update {update} was never done")
    return training.train(settings, data, checkpoints=checkpoints(path, every), **more)


def assert_equal(a, b):
    """Whether two trainings ended alike, bit by bit, in all but what the clock says."""
    assert (a.state, a.epochs) == (b.state, b.epochs)
    first, second = a.routed.state_dict(), b.routed.state_dict()
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, equal_nan=True, msg=name)
        assert value.stride() == second[name].stride(), name
    assert_same(untimed(a), untimed(b))
    assert list(a.diagnostics) == list(b.diagnostics)
    assert_same(a.diagnostics, b.diagnostics)
    assert a.account == b.account


def untimed(result):
    return {name: rows for name, rows in result.history.items() if name != "images_per_second"}


def assert_same(a, b, where="history"):
    """Equality in which NaN is NaN."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b or (math.isnan(a) and math.isnan(b)), where
