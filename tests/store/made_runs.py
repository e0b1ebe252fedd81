"""Runs made up of nothing but names and numbers, as ragged as those of a study are."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from hypothesis import strategies as st

from rfmodel import store

STAGES = (("untrained", "trained"), ("untrained", "epoch 0.5", "epoch 1", "trained"))


def made(
    seed=0,
    condition="BP, wide",
    position=0,
    units=2,
    epochs=2,
    edges=1,
    stages=0,
    fits=True,
    state="done",
    classifier=0.5,
    name=None,
):
    """Return one run's Dataset, with words, numbers, truths and gaps; `fits`, `edges` and `units` may be lacking."""
    rng = np.random.default_rng([seed, position, units, epochs])
    labels = STAGES[stages]
    coords = {"epoch": np.arange(epochs + 1)}
    variables = {
        "accuracy_test": ("epoch", rng.uniform(size=epochs + 1), {"units": "1"}),
        "peak_memory": ((), 2.0**20, {"units": "bytes", "kind": "resident rise"}),
    }
    if edges:
        coords["edge"] = [f"head->layer{i}" for i in range(edges)]
        variables["angle"] = (("epoch", "edge"), rng.normal(size=(epochs + 1, edges)))
    if units:
        coords |= {"stage": list(labels), "unit": [f"retina.conv2/{i}" for i in range(units)]}
        coords |= {"layer": ("unit", ["retina.conv2"] * units), "channel": ("unit", np.arange(units))}
        shape = (len(labels), units)
        p0 = np.where(rng.uniform(size=shape) < 0.2, np.nan, rng.uniform(size=shape))
        variables |= {
            "p0": (("stage", "unit"), p0),
            "status": (("stage", "unit"), np.where(np.isnan(p0), "dead", "ok")),
            "rf": (("stage", "unit", "y", "x"), rng.normal(size=(*shape, 12, 12)).astype("f4")),
            "opponency": ("unit", np.array(["opponent", "none"])[rng.integers(0, 2, units)]),
            "counted": ("unit", rng.integers(0, 9, units).astype("i4")),
        }
        if fits:
            coords["model"] = ["dog", "gabor"]
            variables["fit_success"] = (("stage", "unit", "model"), rng.uniform(size=(*shape, 2)) < 0.5)
    slug = "".join(c if c.isalnum() else "-" for c in condition.lower())
    attrs = {
        "condition": condition, "rule": "bp", "rank": np.nan, "network": "retina_vvs", "bottleneck": float(units),
        "depth": 1.0, "width": 4.0, "classes": 12.0, "seed": seed, "preset": "", "position": position,
        "name": name or f"{slug}_seed{seed}_{position:012x}", "state": state, "epochs_done": epochs, "seconds": 1.5,
        "settings": json.dumps({"seed": seed, "network": {"bottleneck": units}}), "versions": '{"python": "3.11"}',
        "hardware": '{"device": "cpu"}', "commit": "0123abc", "data_fingerprint": "251e872a", "data_source": "made",
        "classifier_p0": classifier, "classifier_null (retina.conv2)": f"{units} units",
    }  # fmt: skip
    return xr.Dataset(variables, coords, attrs)


def keep(folder, datasets):
    """Write runs where a study keeps them, and return their files."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    paths = [store.run_path(folder, dataset.attrs["name"]) for dataset in datasets]
    for dataset, path in zip(datasets, paths, strict=True):
        store.save(dataset, path)
    return paths


def assert_same(one, other):
    """Two Datasets are equal in all that can be seen of them: values, types, attributes, and order."""
    assert one.identical(other)
    for parts in ("variables", "coords", "data_vars", "attrs", "sizes"):
        assert list(getattr(one, parts)) == list(getattr(other, parts))
    for name in one.variables:
        assert one[name].dtype == other[name].dtype, name
        assert list(one[name].attrs) == list(other[name].attrs), name


ragged = st.fixed_dictionaries(
    {
        "units": st.sampled_from((0, 1, 2, 11)),
        "epochs": st.integers(0, 3),
        "edges": st.integers(0, 2),
        "stages": st.sampled_from((0, 1)),
        "fits": st.booleans(),
        "state": st.sampled_from(("done", "diverged")),
        "classifier": st.sampled_from((0.5, np.nan)),
    }
)


@st.composite
def studies(draw, most=6):
    """Draw the runs of a study: conditions of one form each or of several, in any order."""
    forms = draw(st.lists(ragged, min_size=1, max_size=3))
    return [
        made(seed, f"condition {which}", which, **forms[which % len(forms)])
        for which, seed in draw(
            st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=most, unique=True)
        )
    ]
