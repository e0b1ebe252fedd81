"""Kept weights: those that a run file tells of or none, and no settings that a run cannot have."""

from __future__ import annotations

import pytest
import torch
from studies import TINY

from rfmodel import kept, protocols, store, study
from rfmodel.errors import InputError


@pytest.fixture
def one(tmp_path):
    """A study of one run, told the checksum of its weights, and the run's two files."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    study.run_study(protocols.load(path, ["train.epochs=0"], ["seed=0", "condition=BP, wide"]), tmp_path)
    (results,) = store.run_files(tmp_path)
    weights = results.with_suffix(".pt")
    store.save(store.load(results).assign_attrs(weights_sha256=store.digest(weights)), results)
    return tmp_path, results, weights


def restored(folder):
    (run,) = kept.kept_runs(folder)
    return run.trained(run.settings, ())


def test_weights_that_the_run_file_tells_of_are_loaded(one):
    assert isinstance(restored(one[0]), torch.nn.Module)


def test_other_weights_are_refused_before_they_are_parsed(one, monkeypatch):
    folder, _, weights = one
    torch.save({name: value + 1 for name, value in torch.load(weights, weights_only=True).items()}, weights)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("parsed"))
    with pytest.raises(InputError, match=f"weights '{weights}' are not those of the run: their checksum is another"):
        restored(folder)


def test_weights_that_are_no_tensors_by_name_are_refused(one):
    folder, results, weights = one
    torch.save([1, 2], weights)
    store.save(store.load(results).assign_attrs(weights_sha256=store.digest(weights)), results)
    with pytest.raises(InputError, match=f"weights '{weights}' cannot be read .they are no tensors by name"):
        restored(folder)


@pytest.mark.parametrize(
    ("attrs", "told"),
    [
        ({"settings": '{"seed": -1}'}, "settings that this version cannot read .seed: .*greater than or equal to 0"),
        ({"settings": '{"netwerk": {}}'}, "settings that this version cannot read .netwerk"),
        ({"classes": float("nan")}, "classes = nan is no number of classes"),
        ({"classes": 0.0}, "classes = 0 is no number of classes"),
    ],
)
def test_settings_that_no_run_has_are_refused_by_file(one, attrs, told):
    folder, results, _ = one
    store.save(store.load(results).assign_attrs(attrs), results)
    with pytest.raises(InputError, match=f"run file '{results}' has .*{told}") as caught:
        kept.kept_runs(folder)
    assert "\n" not in str(caught.value)
