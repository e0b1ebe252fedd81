"""Receptive fields of all units of one layer of any network, in one call, as one labelled dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from importlib import metadata

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from rfmodel.errors import InputError, nearest, one_of
from rfmodel.fields.gradient import gradients
from rfmodel.fields.maximise import Ascent, most_exciting
from rfmodel.fields.probe import Probe, evaluating, find_layer, open_probe, refuse_routed
from rfmodel.fields.sta import Noise, spike_triggered_averages

METHODS = {"gradient": None, "maximise": Ascent, "sta": Noise}
PRESETS = ("lindsey2019",)
DEAD_BELOW = 1e-8


def extract(
    model: nn.Module,
    layer: str,
    units: Sequence[int] | None = None,
    *,
    method: str = "gradient",
    image_shape: tuple[int, int, int] = (1, 32, 32),
    blank: float = 0.5,
    normalise: tuple[float | Sequence[float], float | Sequence[float]] = (0.0, 1.0),
    position: Sequence[int] | int | None = None,
    preset: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options,
) -> xr.Dataset:
    """Return the receptive fields of units of one layer.

        gradient:  rf_u = d a_u / d x  at  x = blank
        maximise:  rf_u = argmax a_u(x) - blank   over   |x - blank| <= R
        sta:       rf_u = sum_i (r_i - mean r) x_i / (n sigma^2),   x_i white noise around the blank

    The forward pass ends at the layer, the network runs in eval mode, and it is left as it was found: parameters,
    gradients, hooks and modes. Name the layer before its nonlinearity to see the drive of a unit, rather than the zero
    gradient of a unit that is silent at the blank.

    Parameters
    ----------
    model : any module that maps images (n, channels, height, width) to something.
    layer : dotted name of a module whose output is (n, channels, height, width), (n, tokens, features) or
        (n, features).
    units : indices of channels or features; all by default.
    method : "gradient", "maximise" or "sta".
    image_shape : (channels, height, width).
    blank : grey level of the blank in image units, from 0 (black) to 1 (white).
    normalise : (mean, std), each one number or one for each channel: the network sees (image - mean) / std.
    position : the unit's place in the layer's map: (y, x), or a token; by default index size // 2 on every axis.
    preset : "lindsey2019" takes one step of ascent along the gradient over its RMS, gradient / (RMS + 1e-5), from a
        black image, at index size // 2 (16 of 32); the paper's layers are read after their ReLU.
    seed : seed of the noise of "sta", and of the start of "maximise".
    chunk : units ("sta": images) at a time, which bounds the memory; by default 64 (256).
    progress : called as progress(done, in_all) after every chunk.
    **options : of "maximise", the fields of `rfmodel.fields.Ascent`; of "sta", of `rfmodel.fields.Noise`.

    Returns
    -------
    xr.Dataset
        `rf` (unit, y, x), float32, or (unit, channel_in, y, x) for colour; NaN where `status` is "dead", that is
        where no pixel has an absolute value of 1e-8. On `unit`: `layer`, `channel`, `cy`, `cx` (NaN where the layer
        has no map), `status`, `activation`. Attributes: method, arguments (JSON), blank, units, model_hash (sha256
        of the state dict, less the modules that run only after the layer: the fields do not depend on those), version.

    Raises
    ------
    InputError
        If the layer, units, method, preset, an option, the position or the image shape cannot be used; if the layer
        does not fire exactly once; if a module routes errors by a learning rule; or if a field is not finite.

    Notes
    -----
    "lindsey2019": Lindsey, Ocko, Ganguli & Deny (2019) and the code that goes with the paper.
    """
    one_of("field method", method, METHODS)
    setting = _options(method, options)
    if preset is not None:
        blank = _preset_blank(preset, method, blank, position)
    # A compiled network shares its modules with the plain one, which can be stopped at a layer.
    model = getattr(model, "_orig_mod", model)
    find_layer(model, layer)
    refuse_routed(model)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        image, mean, std = _blank(model, image_shape, blank, normalise)
        probe = open_probe(model, layer, image, mean, std, position)
        chosen = _units(units, probe)
        index = torch.tensor(chosen, device=image.device)
        step = _chunk(chunk, method)
        if method == "gradient":
            found, activation = gradients(probe, image, index, step, progress)
        elif method == "maximise":
            found, activation = most_exciting(probe, image, index, step, setting, seed, progress)
        else:
            found, activation = spike_triggered_averages(probe, image, index, step, setting, seed, progress)
    rf, dead = _finished(found, layer, chosen, preset)
    arguments = {
        "layer": layer, "image_shape": list(image_shape), "normalise": _plain(normalise),
        "position": list(probe.position), "preset": preset, "seed": seed,
        "options": {} if setting is None else asdict(setting),
    }  # fmt: skip
    attrs = {
        "method": method, "arguments": json.dumps(arguments), "blank": float(blank), "units": "pixel",
        "model_hash": model_hash(model, probe.trace.state_after(model)), "version": _version(),
        "n_dead": int(dead.sum()),
    }  # fmt: skip
    return _labelled(rf, dead, activation, layer, chosen, probe.position, attrs)


def check_method(method: str, preset: str | None = None, options: Mapping | None = None) -> None:
    """Refuse a method, preset or option that `extract` would refuse, without a network.

    Raises
    ------
    InputError
        The message lists what is known.
    """
    one_of("field method", method, METHODS)
    if preset is not None:
        one_of("field preset", preset, PRESETS)
    _options(method, dict(options or {}))


def model_hash(model: nn.Module, leave_out: Collection[str] = ()) -> str:
    """Return the sha256 of a network's state dict (names, types, shapes, values, in order), less the named entries."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if name in leave_out:
            continue
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        else:
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()


def _options(method: str, options: dict):
    schema = METHODS[method]
    known = [] if schema is None else [field.name for field in dataclass_fields(schema)]
    for name in options:
        if name not in known:
            raise InputError(
                f"field method '{method}' has no option '{name}': it has {', '.join(known) or 'none'}"
                f"{nearest(name, known)}"
            )
    return None if schema is None else schema(**options)


def _preset_blank(preset: str, method: str, blank: float, position) -> float:
    one_of("field preset", preset, PRESETS)
    if method != "gradient" or position is not None or blank not in (0.5, 0.0):
        raise InputError(
            f"preset '{preset}' is one gradient from a black image at the centre; found method '{method}', "
            f"blank {blank}, position {position}: leave them out"
        )
    return 0.0


def _blank(model, image_shape, blank, normalise) -> tuple[Tensor, Tensor, Tensor]:
    """Return the blank (1, channels, height, width), mean and std (channels, 1, 1), on the network's device."""
    if len(image_shape) != 3 or any(int(n) != n or n < 1 for n in image_shape):
        raise InputError(f"image_shape {tuple(image_shape)} is no image: (channels, height, width) would do")
    if not 0 <= blank <= 1:
        raise InputError(f"blank = {blank} is no grey level: from 0 (black) to 1 (white) would do")
    like = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(()))
    channels = int(image_shape[0])
    mean, std = (
        np.broadcast_to(np.asarray(v, dtype=float), ()) if np.ndim(v) == 0 else np.asarray(v) for v in normalise
    )
    for name, value in (("mean", mean), ("std", std)):
        if (
            value.ndim > 1
            or value.size not in (1, channels)
            or not np.isfinite(value).all()
            or (name == "std" and not (value > 0).all())
        ):
            raise InputError(
                f"normalise has {name} {value.tolist()}: one number, or one for each of {channels} channels "
                f"({'positive' if name == 'std' else 'finite'}), would do"
            )
    mean, std = (torch.tensor(v.reshape(-1, 1, 1), dtype=like.dtype, device=like.device) for v in (mean, std))
    image = torch.full((1, *map(int, image_shape)), float(blank), dtype=like.dtype, device=like.device)
    return image, mean, std


def _units(units, probe: Probe) -> list[int]:
    chosen = list(range(probe.size)) if units is None else [int(u) for u in np.atleast_1d(units)]
    if not chosen:
        raise InputError(f"no unit of layer '{probe.layer}' was asked for: indices from 0 to {probe.size - 1} would do")
    outside = [u for u in chosen if not 0 <= u < probe.size]
    if outside:
        raise InputError(
            f"unit {outside[0]} is not in layer '{probe.layer}', which has {probe.size}: "
            f"indices from 0 to {probe.size - 1} would do"
        )
    if len(set(chosen)) < len(chosen):
        twice = next(u for u in chosen if chosen.count(u) > 1)
        raise InputError(
            f"unit {twice} of layer '{probe.layer}' was asked for more than once: each index once would do"
        )
    return chosen


def _chunk(chunk: int | None, method: str) -> int:
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk = {chunk} holds nothing: 1 or more would do")
    return chunk or (256 if method == "sta" else 64)


def _finished(found: Tensor, layer: str, chosen: list[int], preset: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return fields (n, channels, height, width) as float32, NaN where dead, and which are dead."""
    fields = found.detach().double().cpu().numpy()
    broken = ~np.isfinite(fields).all((1, 2, 3))
    if broken.any():
        raise InputError(
            f"the field of unit {chosen[int(np.flatnonzero(broken)[0])]} of layer '{layer}' is not finite "
            f"({int(broken.sum())} of {len(chosen)} units): a network with finite weights and activations would do"
        )
    dead = np.abs(fields).max((1, 2, 3)) < DEAD_BELOW
    if preset == "lindsey2019":
        fields = fields / (np.sqrt((fields**2).mean((1, 2, 3), keepdims=True)) + 1e-5)
    fields = fields.astype(np.float32)
    fields[dead] = np.nan
    return fields, dead


def _labelled(rf, dead, activation, layer, chosen, position, attrs) -> xr.Dataset:
    colour = rf.shape[1] > 1
    place = [float(p) for p in position] if len(position) == 2 else [np.nan, np.nan]
    n = len(chosen)
    return xr.Dataset(
        {"rf": (("unit", "channel_in", "y", "x") if colour else ("unit", "y", "x"), rf if colour else rf[:, 0])},
        coords={
            "unit": [f"{layer}/{u}" for u in chosen],
            "layer": ("unit", [layer] * n),
            "channel": ("unit", chosen),
            "cy": ("unit", [place[0]] * n),
            "cx": ("unit", [place[1]] * n),
            "status": ("unit", np.where(dead, "dead", "ok")),
            "activation": ("unit", activation.double().cpu().numpy()),
            "y": np.arange(rf.shape[2]),
            "x": np.arange(rf.shape[3]),
        },
        attrs=attrs,
    )


def _plain(normalise) -> list:
    return [np.asarray(v, dtype=float).tolist() for v in normalise]


def _version() -> str:
    try:
        return metadata.version("rfmodel")
    except metadata.PackageNotFoundError:
        return "0+source"
