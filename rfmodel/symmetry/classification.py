"""What kind of field a unit has: centre-surround, oriented, mixed or unstructured, against a stated null.

The thresholds were fixed on synthetic shapes before any trained network was looked at. The shapes: differences of
Gaussians (centre sigma 1.3-2.2 px, surround twice as large, aspects 1-3, balanced, or half balanced), Gaussians (sigma
1.5-3), circular Gabors (sigma 2-3.5) of any orientation at nx = .2-.8 with phases 0, 45 and 90 degrees, all up to 3
px off the centre of 32 x 32 pixels, in white noise of the given ratio of energies over the canvas; and fields that
are noise alone. Percentage of 200 fields each (centre-surround / oriented / mixed / unstructured) at a
signal-to-noise ratio of

    shape                    no noise       20 dB          10 dB          5 dB
    DoG, aspect 1            100/0/0/0      100/0/0/0      100/0/0/0      99/0/1/0
    DoG, aspect 1.25         100/0/0/0      100/0/0/0      100/0/0/0      100/0/0/0
    DoG, aspect 1.5          100/0/0/0      100/0/0/0      100/0/0/0      100/0/0/0
    DoG, aspect 2            92/8/0/0       75/25/0/0      98/2/0/0       92/0/8/0
    DoG, aspect 3            0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    DoG, half balanced       100/0/0/0      100/0/0/0      100/0/0/0      100/0/0/0
    Gaussian                 0/0/100/0      0/0/100/0      0/0/100/0      3/0/97/0
    Gabor, nx 0.2, 0 deg     0/100/0/0      0/100/0/0      0/100/0/0      18/46/36/0
    Gabor, nx 0.2, 45 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.2, 90 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.3, 0 deg     0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.3, 45 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.3, 90 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.5, 0 deg     0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.5, 45 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.5, 90 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.8, 0 deg     0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.8, 45 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0
    Gabor, nx 0.8, 90 deg    0/100/0/0      0/100/0/0      0/100/0/0      0/100/0/0

Aspect 2 is where centre-surround is meant to end (A = 1/3), and an even Gabor of nx = .2 is a blob with weak flanks
(p0 = .875, A = .41): noise moves both across the line, since white noise lowers A by its share of the energy.

Of 1000 fields that are noise alone:

    white noise              0/0/5/95
      under envelope 2 px    0/2/0/97
      under envelope 4 px    0/0/2/97
    smooth noise (2 px)      0/1/99/0
      under envelope 4 px    9/33/58/0

Noise that is smooth and local looks like a field, and no metric of one field tells it from one: judge trained networks
against their own untrained selves, by `null`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr

from rfmodel.errors import InputError
from rfmodel.symmetry.measurement import measure
from rfmodel.symmetry.nulls import enveloped_noise, white_noise

KINDS = ("centre-surround", "oriented", "mixed", "unstructured", "dead", "absent")
NEEDED = ("p0", "p1", "p2", "anisotropy", "surround_of_mean", "radius", "status")

# An isotropic field stretched by 2 has A = (2 - 1) / (2 + 1).
ANISOTROPY = 1 / 3
ISOTROPY = 0.5
BLOB = 0.9
SURROUND = 0.15
# Two metrics are held against the null, so each gets half of the 5 %.
LEVEL = 0.975


def classify(
    metrics: xr.Dataset, null: xr.Dataset | None = None, *, canvas: tuple[int, int] | None = None
) -> xr.DataArray:
    """Return the kind of every field.

        structured        p0 + p1 + p2 or A above the null's 97.5 %; otherwise "unstructured" (5 % of the null pass)
        centre-surround   A < 1/3,  p0 >= 0.5,  surround of the angular mean >= 0.15
        oriented          A >= 1/3, p0 < 0.9
        mixed             structured, and neither

    Parameters
    ----------
    metrics : what `measure` gave.
    null : what `measure` gave for null fields, such as those of the untrained network: the honest null where there
        is one. By default, white noise under Gaussian envelopes, of each field's own radius.
    canvas : (height, width) of the fields, for the default null; by default that which `measure` recorded.

    Returns
    -------
    DataArray `kind` over the fields' dimensions, with the thresholds and the null in its attributes.

    Raises
    ------
    InputError
        If metrics are missing, the null holds no live field, or the canvas is not known.
    """
    missing = [name for name in NEEDED if name not in metrics]
    if missing:
        raise InputError(f"metrics to classify lack {', '.join(missing)}: what symmetry.measure(...) returns would do")
    share = metrics["p0"] + metrics["p1"] + metrics["p2"]
    limits = _flat_limits(null) if null is not None else _matched_limits(metrics, canvas)
    structured = (share > limits[0]) | (metrics["anisotropy"] > limits[1])
    stretched = metrics["anisotropy"] >= ANISOTROPY
    isotropic = ~stretched & (metrics["p0"] >= ISOTROPY) & (metrics["surround_of_mean"] >= SURROUND)
    kind = xr.where(structured, "mixed", "unstructured").astype("U15")
    kind = kind.where(~(structured & stretched & (metrics["p0"] < BLOB)), "oriented")
    kind = kind.where(~(structured & isotropic), "centre-surround")
    known = metrics["p0"].notnull()
    kind = kind.where(known, metrics["status"].where(metrics["status"] == "absent", "dead")).astype(str)
    kind.attrs = {
        "anisotropy": ANISOTROPY, "p0_centre_surround": ISOTROPY, "p0_oriented_below": BLOB,
        "surround_of_mean": SURROUND, "null_level": LEVEL,
        "null": "white noise under Gaussian envelopes of each field's radius" if null is None else "as given",
    }  # fmt: skip
    if null is not None:
        kind.attrs |= {"null_share": limits[0], "null_anisotropy": limits[1]}
    return kind.rename("kind")


def _flat_limits(null: xr.Dataset) -> tuple[float, float]:
    missing = [name for name in ("p0", "p1", "p2", "anisotropy") if name not in null]
    if missing:
        raise InputError(f"the null lacks {', '.join(missing)}: what symmetry.measure(...) returns would do")
    if not bool(null["p0"].notnull().any()):
        raise InputError("the null holds no live field: at least one field that is not dead would do")
    share = null["p0"] + null["p1"] + null["p2"]
    return float(share.quantile(LEVEL)), float(null["anisotropy"].quantile(LEVEL))


def _matched_limits(metrics: xr.Dataset, canvas: tuple[int, int] | None) -> tuple[xr.DataArray, xr.DataArray]:
    canvas = metrics.attrs.get("canvas") if canvas is None else canvas
    if canvas is None:
        raise InputError(
            "the fields' canvas is not recorded in the metrics: canvas=(height, width), or a null, would do"
        )
    radius, share, anisotropy = noise_limits(int(canvas[0]), int(canvas[1]))
    found = metrics["radius"]
    return found.copy(data=np.interp(found, radius, share)), found.copy(data=np.interp(found, radius, anisotropy))


@lru_cache(maxsize=8)
def noise_limits(height: int, width: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radii (pixels), and the 97.5 % of p0 + p1 + p2 and of A of noise of these radii on a canvas.

    Small fields of noise have few degrees of freedom, so that many of them look structured by chance.
    """
    envelopes = np.geomspace(1.0, max(height, width) / 2.5, 8)
    draws = [enveloped_noise(n, (height, width), sigma=0, envelope=e, seed=i) for i, e in enumerate(envelopes)]
    draws.append(white_noise(n, (height, width), seed=len(draws)))
    rows = []
    for fields in draws:
        m = measure(fields, bars=False)
        share = m["p0"] + m["p1"] + m["p2"]
        rows.append((float(m["radius"].mean()), float(share.quantile(LEVEL)), float(m["anisotropy"].quantile(LEVEL))))
    radius, share, anisotropy = np.array(sorted(rows)).T
    return radius, share, anisotropy
