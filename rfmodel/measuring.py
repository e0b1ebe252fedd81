"""Measuring a run: fields of its layers before and after training, their metrics and kinds against one null."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import xarray as xr

from rfmodel import building, fields, symmetry
from rfmodel.network_settings import RetinaVVSSettings
from rfmodel.settings import Settings, TrainSettings

STAGES = ("untrained", "trained")
NULL_UNITS, NULL_SEED = 100, 10_000  # seeds far from those that a study trains


def extract_layers(network: torch.nn.Module, settings: Settings, image_shape: Sequence[int]) -> xr.Dataset:
    """Return the fields of every unit of the settings' layers, `rf` (unit, y, x).

    Fields of colour images are factorised: `rf` is their leading spatial pattern, `rf_colour` (unit, channel_in) its
    weight on each colour, and `colour_separability` the share of the field's energy that this product holds.
    """
    chosen = settings.fields
    parts = [
        fields.extract(
            network,
            layer,
            method=chosen.method,
            preset=chosen.preset,
            image_shape=tuple(image_shape),
            blank=chosen.blank,
            normalise=(settings.train.mean, settings.train.std),
            seed=settings.seed,
            **chosen.options,
        )
        for layer in chosen.layers
    ]
    together = xr.concat(
        parts,
        "unit",
        join="exact",
        data_vars="minimal",
        coords="different",
        compat="equals",
        combine_attrs="drop_conflicts",
    )
    return separated(together) if "channel_in" in together.dims else together


def separated(colour: xr.Dataset) -> xr.Dataset:
    r"""Return colour fields as the best product of a colour and a spatial pattern.

    .. math:: w(c, y, x) \approx s_1\, u(c)\, v(y, x)

    by singular value decomposition of each field; u has unit length and a positive sum, `rf` is s_1 v, and
    `colour_separability` s_1^2 / sum s_i^2. A dead field stays NaN.

    Parameters
    ----------
    colour : xr.Dataset
        With `rf` (unit, channel_in, y, x).
    """
    rf = colour["rf"].transpose("unit", "channel_in", "y", "x")
    n, channels, height, width = rf.shape
    values = rf.values.reshape(n, channels, -1).astype(float)
    live = np.isfinite(values).all((1, 2))
    u, s, v = np.linalg.svd(np.where(live[:, None, None], values, 0.0), full_matrices=False)
    sign = np.where(u[:, :, 0].sum(1) < 0, -1.0, 1.0)
    spatial = (sign * s[:, 0])[:, None] * v[:, 0]
    spatial[~live] = np.nan
    with np.errstate(invalid="ignore"):
        share = np.where(live, s[:, 0] ** 2 / (s**2).sum(1), np.nan)
    return colour.drop_vars("rf").assign(
        rf=(("unit", "y", "x"), spatial.reshape(n, height, width).astype(np.float32)),
        rf_colour=(("unit", "channel_in"), np.where(live[:, None], sign[:, None] * u[:, :, 0], np.nan)),
        colour_separability=("unit", share),
    )


def measured(untrained: xr.Dataset, trained: xr.Dataset, null: xr.Dataset) -> xr.Dataset:
    """Measure and classify both stages, each layer against its own null; thresholds go to the attributes.

    Parameters
    ----------
    untrained, trained : what `extract_layers` gave.
    null : what `null_metrics` gave.
    """
    stages, attrs = [], {}
    for stage in (untrained, trained):
        metrics = symmetry.measure(stage)
        kinds = []
        for layer in dict.fromkeys(stage["layer"].values):
            kind, stated = _classified(metrics, null, str(layer))
            kinds.append(kind)
            attrs |= stated
        found = xr.merge(
            [metrics, xr.concat(kinds, "unit", join="exact", coords="different", compat="equals"), stage],
            compat="override",
            join="exact",
            combine_attrs="drop",
        )
        # What differs between the stages is a variable, never a coordinate.
        stages.append(found.reset_coords("status").drop_vars(["cy", "cx", "activation"], errors="ignore"))
    both = xr.concat(
        stages,
        xr.DataArray(list(STAGES), dims="stage", name="stage"),
        join="exact",
        data_vars="all",
        coords="different",
        compat="equals",
    )
    return both.assign_attrs(attrs)


def _classified(metrics: xr.Dataset, null: xr.Dataset, layer: str) -> tuple[xr.DataArray, dict]:
    own = null.isel(unit=null["layer"].values == layer)
    live = int(own["p0"].notnull().sum())
    # Where every untrained unit is dead there is no such null; the classifier then says which one it took.
    kind = symmetry.classify(metrics.isel(unit=metrics["layer"].values == layer), null=own if live else None)
    stated = {f"classifier_{key}": value for key, value in kind.attrs.items() if not key.startswith("null")}
    stated |= {f"classifier_{key} ({layer})": v for key, v in kind.attrs.items() if key.startswith("null_")}
    which = f"{live} live units of untrained networks of this form" if live else kind.attrs["null"]
    return kind, stated | {f"classifier_null ({layer})": which}


def null_metrics(settings: Settings, shape: tuple[int, ...], classes: int) -> xr.Dataset:
    """Return the metrics of fields of untrained networks of the same form, at least 100 units a layer, other seeds.

    No field before the dense head depends on it, so that one unit of it will do for those. Runs that differ in nothing
    that an untrained field depends on share one null.
    """
    headless = not any(layer.partition(".")[0] in ("", "head") for layer in settings.fields.layers)
    one = {"hidden": 1} if isinstance(settings.network, RetinaVVSSettings) and headless else {}
    network = settings.network.model_copy(update=one)
    train = TrainSettings(mean=settings.train.mean, std=settings.train.std)
    form = Settings(network=network, fields=settings.fields, train=train, data=settings.data)
    return _null_of(form.model_dump_json(), tuple(shape), classes)


@lru_cache(maxsize=64)
def _null_of(form: str, shape: tuple[int, ...], classes: int) -> xr.Dataset:
    settings, found, fewest = Settings.model_validate_json(form), [], 0
    for seed in range(NULL_SEED, NULL_SEED + NULL_UNITS):
        drawn = settings.model_copy(update={"seed": seed})
        part = extract_layers(building.build(drawn, shape, classes).network, drawn, shape)
        found.append(symmetry.measure(part).drop_vars("unit").assign_coords(layer=part["layer"].drop_vars("unit")))
        fewest += min(int((part["layer"] == layer).sum()) for layer in np.unique(part["layer"]))
        if fewest >= NULL_UNITS:
            break
    return xr.concat(found, "unit", join="exact", data_vars="all", coords="different", compat="equals")
