"""A study that is killed over and over ends as one that nobody disturbed; the long test is `python tests/crash.py`."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import torch
from crash import STUDY, crash_test, differences

from rfmodel import protocols, store, study

DASK = pytest.param({"dask": True}, marks=pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="distributed is not installed: extra `cluster`"
), id="cluster")  # fmt: skip


def test_one_process_that_is_killed_loses_nothing():
    tally = crash_test(3)
    assert not tally.faults, tally
    assert tally.kills == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"runners": 2}, {"workers": 2}, DASK], ids=str)
def test_fifty_kills_lose_nothing(how):
    tally = crash_test(50, **how)
    assert not tally.faults, tally
    assert tally.kills == 50


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two equal studies of two runs each."""
    folder = tmp_path_factory.mktemp("twice")
    (folder / "crash.toml").write_text(STUDY)
    read = protocols.load(folder / "crash.toml", ["train.epochs=1", "fields.at=[]"], ["seed=0", "condition=BP*"])
    for name in "ab":
        study.run_study(read, folder / name)
    return folder, read.runs[0].name


def test_equal_studies_do_not_differ(studies):
    assert differences(studies[0] / "a", studies[0] / "b") == []


def changed(folder, name, harm):
    path, weights = store.run_path(folder, name), store.weights_path(folder, name)
    dataset = store.load(path)
    if harm == "value":
        dataset["rf"][dict(unit=0, stage=0, y=0, x=0)] += 1e-7
        store.save(dataset, path)
    elif harm == "attribute":
        store.save(dataset.assign_attrs(condition="other"), path)
    elif harm == "weights":
        state = torch.load(weights, weights_only=True)
        next(value for value in state.values() if value.is_floating_point()).view(-1)[0] += 1e-3
        torch.save(state, weights)
    elif harm == "lost":
        path.unlink()
    else:
        (folder / "runs" / ".x.part").write_bytes(b"half")


@pytest.mark.parametrize("harm", ["value", "attribute", "weights", "lost", "stray"])
def test_the_crash_test_sees_what_differs(studies, tmp_path, harm):
    shutil.copytree(studies[0] / "a", tmp_path / "a")
    changed(tmp_path / "a", studies[1], harm)
    assert differences(tmp_path / "a", studies[0] / "b")
