"""Kinds of synthetic fields, against the table in the module's docstring."""

import re

import numpy as np
import pytest
import xarray as xr
from synthetic_fields import families, noisy

from rfmodel.errors import InputError
from rfmodel.symmetry import classification, classify, measure, nulls

KINDS = ("centre-surround", "oriented", "mixed", "unstructured")


def shares(fields):
    kind = classify(measure(fields, bars=False)).values
    return [100 * float((kind == k).mean()) for k in KINDS]


def tabulated():
    """Return {family: [[percentages] at each ratio]} from the docstring."""
    rows = {}
    for line in classification.__doc__.splitlines():
        found = re.findall(r"\d+/\d+/\d+/\d+", line)
        if len(found) == 4:
            rows[line.split(found[0])[0].strip()] = [[int(n) for n in cell.split("/")] for cell in found]
    return rows


def test_docstring_tabulates_every_family():
    assert set(tabulated()) == set(families(1))


@pytest.mark.parametrize("column", range(4))
def test_kinds_are_as_tabulated(column):
    table = tabulated()
    for name, fields in families(60).items():
        # 60 draws instead of 200: three standard errors of a share, and 2 % where it is 0 or 100.
        for found, expected in zip(shares(noisy(fields, (None, 20, 10, 5)[column])), table[name][column], strict=True):
            error = 3 * np.sqrt(expected * (100 - expected) / 60) + 3
            assert found == pytest.approx(expected, abs=error), name


def test_one_null_field_in_twenty_looks_structured():
    for envelope in (2, 4, 7):
        unstructured = shares(nulls.enveloped_noise(600, sigma=0, envelope=envelope, seed=50))[3]
        assert unstructured >= 92
    assert shares(nulls.white_noise(600, seed=50))[3] >= 92


def test_given_null_replaces_the_default():
    null = measure(nulls.enveloped_noise(400, seed=2), bars=False)
    smooth = measure(nulls.enveloped_noise(200, seed=3), bars=False)
    kind = classify(smooth, null)
    assert (kind == "unstructured").mean() > 0.9
    assert (classify(smooth) == "unstructured").mean() < 0.1
    assert kind.attrs["null"] == "as given" and 0 < kind.attrs["null_share"] < 1


def test_dead_and_absent_fields_have_their_kind():
    w = np.stack([families(1)["DoG, aspect 1"][0], np.zeros((32, 32)), np.full((32, 32), np.nan)])
    data = xr.Dataset({"rf": (("unit", "y", "x"), w)}, coords={"status": ("unit", ["ok", "ok", "absent"])})
    kind = classify(measure(data, bars=False))
    assert kind.values.tolist() == ["centre-surround", "dead", "absent"]
    assert kind.name == "kind" and kind.attrs["anisotropy"] == pytest.approx(1 / 3)


def test_metrics_without_what_is_needed_are_refused():
    m = measure(nulls.white_noise(3), bars=False)
    with pytest.raises(InputError, match="lack radius"):
        classify(m.drop_vars("radius"))
    with pytest.raises(InputError, match="null lacks p1"):
        classify(m, m.drop_vars("p1"))
    with pytest.raises(InputError, match="null holds no live field"):
        classify(m, measure(np.zeros((1, 32, 32))))
    del m.attrs["canvas"]
    with pytest.raises(InputError, match="canvas is not recorded"):
        classify(m)
    assert classify(m, canvas=(32, 32)).shape == (3,)
