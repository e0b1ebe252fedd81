"""One labelled dataset of symmetry metrics from an array of receptive fields."""

from __future__ import annotations

import numpy as np
import xarray as xr

from rfmodel.errors import InputError, one_of
from rfmodel.symmetry import angular, spatial, tuning
from rfmodel.symmetry.bars import bar_scores
from rfmodel.symmetry.given import Given, read_fields
from rfmodel.symmetry.polar import polar_grid, polar_spectrum

CENTRES = ("centroid", "unit", "middle")
METRICS = (
    "p0", "p1", "p2", "p_rest", "rotation_correlation", "anisotropy", "coherence", "osi", "gosi", "gosi_mean",
    "surround", "surround_of_mean", "bar_score", "bar_sd", "radius", "participation", "offset_y", "offset_x",
    "border_frac", "preferred_orientation", "preferred_frequency",
)  # fmt: skip


def measure(
    fields: xr.Dataset | xr.DataArray | np.ndarray,
    *,
    recentre: str = "centroid",
    frequency: float | None = None,
    margin: int = 2,
    border_above: float = 0.05,
    dead_below: float = 1e-8,
    bars: bool = True,
    corrected: bool = False,
    chunk: int = 256,
) -> xr.Dataset:
    """Return the symmetry, tuning and size of every receptive field.

        p_m = integral |w_m(r)|^2 r dr / |w|^2           w(r, f) = sum_m w_m(r) exp(i m f), about the field's centre
        anisotropy = |sum_t W exp(2 i t)| / sum_t W      W(t) = integral |F(k, t)|^2 k dk
        osi = (R_pref - R_orth) / (R_pref + R_orth)      R(t) = |F(f*, t)|

    and the others as their functions state (`rfmodel.symmetry.angular`, `.tuning`, `.spatial`, `.bars`). p0 + p1 + p2 +
    p_rest = 1, and p0 equals the rotation correlation: both are given, since people ask for either.

    Parameters
    ----------
    fields : Dataset with `rf` (..., y, x) and, if it has them, `status`; or DataArray (..., y, x); or ndarray
        (n, y, x). Further dimensions (unit, run, stage) are kept. Canvases need not be square; at least 5 x 5 pixels.
    recentre : what rotations turn about: "centroid", the centroid of the energy w^2; "unit", the unit's own pixel
        (height // 2, width // 2); "middle", the middle of the canvas ((height - 1) / 2, (width - 1) / 2).
    frequency : cycles per pixel of the gratings of `osi`, `gosi` and `tuning`; by default each field's own peak f* > 0.
    margin : pixels from the edge that count as border.
    border_above : share of the energy in the border above which `status` is "border".
    dead_below : fields whose largest absolute value is below this are "dead".
    bars : whether to compute the bar bank's scores (they take half of the time); NaN otherwise.
    corrected : whether bars move along their own normal (`rfmodel.symmetry.bars`) rather than as published.
    chunk : fields at a time, which bounds the memory.

    Returns
    -------
    xr.Dataset with the metrics over the fields' dimensions, `tuning` (..., orientation) with its peak at 1, and
    `status` ("ok", "border", "dead", "absent"). Angles are in degrees counter-clockwise as displayed, sizes in
    pixels, offsets in pixels from the unit's own pixel. Dead and absent fields are NaN.

    Raises
    ------
    InputError
        If there is no field, a canvas is smaller than 5 pixels, a field that is not dead has values that are not
        finite, or an option cannot be used.

    Notes
    -----
    Closed forms that these metrics reproduce: circular Gabors, p0 = I0(K/2) / cosh(K/2) with K = 4 pi^2 (sigma f)^2; a
    field stretched by a, anisotropy (a - 1) / (a + 1) and coherence (a^2 - 1) / (a^2 + 1). Sources: Ringach (2002) for
    OSI and circular variance; Bigun & Granlund (1987) for the structure tensor; Lindsey et al. (2019) for the bars.
    """
    one_of("recentring", recentre, CENTRES)
    given = read_fields(fields, dead_below)
    _check_options(given, frequency, margin, chunk)
    height, width = given.values.shape[1:]
    grid = polar_grid(height, width)
    live = np.flatnonzero(np.isin(given.status, ("ok", "border")))
    found = {name: np.full(len(given.values), np.nan) for name in METRICS}
    curves = np.full((len(given.values), len(grid.angle)), np.nan)
    for start in range(0, len(live), chunk):
        rows = live[start : start + chunk]
        metrics, curve = _measure(given.values[rows], grid, recentre, frequency, margin)
        if bars:
            metrics["bar_score"], metrics["bar_sd"] = bar_scores(given.values[rows], corrected=corrected).T
        for name, values in metrics.items():
            found[name][rows] = values
        curves[rows] = curve
    status = given.status.copy()
    status[live] = np.where(found["border_frac"][live] > border_above, "border", "ok")
    options = {
        "recentre": recentre, "margin": margin, "border_above": border_above, "dead_below": dead_below,
        "bars": ("corrected" if corrected else "published") if bars else "none",
        "frequency": "peak" if frequency is None else frequency,
    }  # fmt: skip
    return _labelled(given, found, curves, status, grid.angle, options)


def _measure(fields, grid, recentre, frequency, margin) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the metrics of live fields (n, height, width), and their tuning curves (n, n_t) with the peak at 1."""
    # Gain cancels in every metric; dividing by it here keeps float32 products away from under- and overflow.
    fields = fields / np.abs(fields).max((1, 2), keepdims=True)
    height, width = fields.shape[1:]
    unit = np.array([height // 2, width // 2])
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    centroid = spatial.energy_centroid(fields)
    centre = {"centroid": centroid, "unit": unit + 0 * centroid, "middle": middle + 0 * centroid}[recentre]
    spectrum = polar_spectrum(fields, grid.frequency, grid.angle)
    power = angular.power_spectrum(spectrum)
    amplitude = np.sqrt(power)
    about = angular.centred(spectrum, grid, centre - middle)
    p = angular.angular_power(about, grid)
    curve, best = tuning.tuning_curve(amplitude, grid)
    if frequency is not None:
        curve, best = tuning.tuning_at(fields, grid, frequency), np.full(len(fields), frequency)
    preferred = tuning.preferred_orientation(curve, grid.angle)
    metrics = {
        "p0": p[:, 0], "p1": p[:, 1], "p2": p[:, 2], "p_rest": np.clip(1 - p.sum(1), 0, 1),
        "rotation_correlation": angular.rotation_correlation(about, grid),
        "anisotropy": angular.anisotropy(power, grid), "coherence": angular.coherence(power, grid),
        "osi": tuning.osi(fields, best, preferred), "gosi": tuning.gosi(curve, grid.angle),
        "gosi_mean": tuning.gosi(tuning.mean_tuning(amplitude), grid.angle),
        "preferred_orientation": preferred, "preferred_frequency": best,
        "surround": spatial.surround_index(fields),
        "surround_of_mean": angular.surround_of_mean(about, grid), "radius": spatial.radius(fields, centroid),
        "participation": spatial.participation(fields), "border_frac": spatial.border_fraction(fields, margin),
        "offset_y": centroid[:, 0] - unit[0], "offset_x": centroid[:, 1] - unit[1],
    }  # fmt: skip
    return metrics, curve / curve.max(1, keepdims=True)


def _labelled(given: Given, found, curves, status, angle, options) -> xr.Dataset:
    shape = tuple(given.template.sizes[name] for name in given.dims)
    data = {name: (given.dims, values.reshape(shape)) for name, values in found.items()}
    data["tuning"] = ((*given.dims, "orientation"), curves.reshape(*shape, -1))
    data["status"] = (given.dims, status.reshape(shape))
    kept = {name: c for name, c in given.template.coords.items() if set(c.dims) <= set(given.dims) and name != "status"}
    out = xr.Dataset(data, coords={**kept, "orientation": angle})
    out["orientation"].attrs = {"units": "degrees", "long_name": "carrier direction, counter-clockwise as displayed"}
    for name in ("radius", "offset_y", "offset_x"):
        out[name].attrs["units"] = "pixel"
    out["participation"].attrs["units"] = "pixel^2"
    out["preferred_orientation"].attrs["units"] = "degrees"
    out["preferred_frequency"].attrs["units"] = "cycles/pixel"
    out.attrs = {**options, "n_dead": int((status == "dead").sum()), "canvas": list(given.values.shape[1:])}
    return out


def _check_options(given: Given, frequency, margin, chunk) -> None:
    if frequency is not None and not 0 < frequency <= 0.5:
        raise InputError(f"a grating of {frequency} cycles/pixel cannot be shown: more than 0 and at most 0.5 would do")
    half = min(given.values.shape[1:]) / 2
    if not 0 <= margin < half:
        raise InputError(f"a border of {margin} pixels does not fit the canvas: 0 or more and below {half:g} would do")
    if chunk < 1:
        raise InputError(f"chunk = {chunk} holds no field: 1 or more would do")
