"""Untrained retinas: what extraction and metrics together find where nothing has been learned."""

import numpy as np
import pytest
import torch
from torch import nn

from rfmodel.fields import extract
from rfmodel.symmetry import classify, measure


@pytest.fixture(scope="module")
def untrained():
    fields = []
    for seed in range(12):
        torch.manual_seed(seed)
        retina = nn.Sequential(nn.Conv2d(1, 32, 9, padding=4), nn.ReLU(), nn.Conv2d(32, 4, 9, padding=4), nn.ReLU())
        fields.append(extract(retina, "2"))
    return fields


def test_no_unit_is_dead_before_its_relu_on_grey(untrained):
    assert all(data.attrs["n_dead"] == 0 for data in untrained)


def test_fields_span_the_composed_kernels(untrained):
    # Two 9 x 9 kernels about index 16 of 32: pixels 8 to 24.
    for data in untrained:
        seen = (data.rf != 0).any("unit").values
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, 24, 8, 24)


def test_metrics_have_the_medians_of_the_untrained_null(untrained):
    m = measure(np.concatenate([data.rf.values for data in untrained]), bars=False)
    # Known over 48 units: ranges .52-.55, .19, .06-.07, .08-.11, .06-.07 and 5.2 px, at most one standard error wide.
    known = {"osi": 0.535, "gosi": 0.19, "gosi_mean": 0.065, "coherence": 0.095, "p0": 0.065, "radius": 5.2}
    for name, median in known.items():
        error = 1.25 * float(m[name].std()) / np.sqrt(48)
        assert m[name].median() == pytest.approx(median, abs=3 * error), name
    assert (classify(m) == "unstructured").mean() > 0.8
