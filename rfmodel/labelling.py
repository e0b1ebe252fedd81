"""Labelling: a training's history and diagnostics as one xarray Dataset."""

from __future__ import annotations

import numpy as np
import xarray as xr

from rfmodel import diagnostics, history, training


def labelled(result: training.Trained) -> xr.Dataset:
    """Return a training's history (by epoch, and by edge or factored layer) and diagnostics (by step and edge)."""
    epochs = np.arange(len(result.history["angle"]))
    edges, sites = [str(edge) for edge in result.routed.edges], list(result.routed.losses)
    variables = {}
    for key, rows in result.history.items():
        names = edges if key in history.BY_EDGE else sites if key in history.BY_SITE else None
        if names is None:
            variables[key] = ("epoch", np.asarray(rows, float))
        elif names:
            table = [[row.get(name, np.nan) for name in names] for row in rows]
            variables[key] = (("epoch", "edge" if names is edges else "site"), np.asarray(table, float))
    if edges:
        variables["feedback_gain"] = ("edge", [float(f.gain) for f in result.routed.maps.values()])
    coords = {"epoch": epochs} | ({"edge": edges} if edges else {}) | ({"site": sites} if sites else {})
    parts = [xr.Dataset(variables, coords), _diagnosed(result), _spent(result)]
    return xr.merge(parts, compat="equals", join="outer")


def _spent(result: training.Trained) -> xr.Dataset:
    """Return what a step costs by layer and part, and the peak of memory."""
    peak = np.nan if result.peak is None or result.peak.bytes is None else float(result.peak.bytes)
    kind = "" if result.peak is None else result.peak.kind
    found = xr.Dataset({"peak_memory": ((), peak, {"units": "bytes", "kind": kind})})
    if result.account is not None:
        found["flops"] = result.account.table.rename(layer="cost_layer")
    return found


def _diagnosed(result: training.Trained) -> xr.Dataset:
    """Return the diagnostics by step and edge; nothing where none were taken."""
    samples = list(result.diagnostics.values())
    if not samples:
        return xr.Dataset()
    edges = [str(edge) for edge in result.routed.edges]
    variables = {
        name: (("step", "edge"), [[sample[name][edge] for edge in edges] for sample in samples], _said(*said))
        for name, said in diagnostics.EDGES.items()
    }
    for name, said in diagnostics.WHOLE.items():
        variables[name] = ("step", [sample[name] for sample in samples], _said(*said))
    steps = ("step", list(result.diagnostics), {"long_name": "updates of the weights so far"})
    return xr.Dataset(variables, {"step": steps, "edge": edges})


def _said(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}
