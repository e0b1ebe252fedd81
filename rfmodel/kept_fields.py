"""Fields from kept weights: any layer of a finished study, extracted and measured again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr

from rfmodel import building, datasets, store
from rfmodel.errors import InputError
from rfmodel.measuring import extract_layers, measured, null_metrics
from rfmodel.protocols import Run, select
from rfmodel.rule_files import RuleFile, attach, parted
from rfmodel.settings import RuleSettings, Settings


def extract_again(
    folder: Path,
    layers: Sequence[str],
    *,
    method: str = "gradient",
    only: Sequence[str] = (),
    out: Path,
    allow_code: bool = False,
) -> Path:
    """Extract and measure the fields of any layers from a study's kept weights, and write them as one Dataset.

    Parameters
    ----------
    folder : Path
        A study's folder.
    layers : sequence of str
    method : {"gradient", "maximise", "sta"}
    only : sequence of "axis=value"
        As for `protocols.load`.
    out : Path
        NetCDF file to write.
    allow_code : bool
        Give leave to execute the rule files of the user's own that the study keeps.

    Raises
    ------
    InputError
        If no kept weights fit, a layer is not in the network, or the file cannot be written.
    """
    kept, lost = {}, 0
    for path in store.run_files(folder):
        dataset = store.load(path)
        if dataset.attrs["state"] != "done":
            lost += 1
            continue
        run = Run(dataset.attrs["condition"], Settings.model_validate_json(dataset.attrs["settings"]), {})
        kept[run.identity] = (run, dataset)
    if not kept:
        raise InputError(f"no finished run in '{folder}' has fields: {lost} diverged; run it with other settings")
    chosen = select([run for run, _ in kept.values()], only)
    found = [_again(folder, *kept[run.identity], tuple(layers), method, allow_code) for run in chosen]
    store.save(store.together(found), out)
    return out


def _again(
    folder: Path, run: Run, kept: xr.Dataset, layers: tuple[str, ...], method: str, allow_code: bool
) -> xr.Dataset:
    wanted = run.settings.fields.model_copy(update={"layers": layers, "method": method, "preset": None})
    settings = attach(run.settings, lambda rule: _kept_file(folder, rule, allow_code))
    settings = settings.model_copy(update={"fields": wanted})
    classes = int(kept.attrs["classes"])
    known = settings.data.model_copy(update={"classes": classes, "options": {}})  # the data need not be there any more
    shape, _ = datasets.shape_of(known.model_dump())
    untrained = extract_layers(building.build(settings, shape, classes).network, settings, shape)
    network = _restored(settings, shape, classes, store.weights_path(folder, run.name))
    both = measured(untrained, extract_layers(network, settings, shape), null_metrics(settings, shape, classes))
    return both.assign_attrs({**kept.attrs, **both.attrs})


def _kept_file(folder: Path, rule: RuleSettings, allowed: bool) -> RuleFile:
    file, function = parted(rule.name)
    path = store.rule_path(folder, file, str(rule.sha256))
    if not path.is_file():
        raise InputError(f"'{path}' is not there: the study kept '{file}' in it, sha256 {rule.sha256}; put it back")
    return RuleFile(file, function, path.resolve(), path.parent.resolve(), path.read_bytes(), allowed)


def _restored(settings: Settings, shape: tuple[int, ...], classes: int, path: Path) -> torch.nn.Module:
    if not path.is_file():
        raise InputError(
            f"weights '{path}' are not there: the run was made with train.keep = '{settings.train.keep}'; "
            "run it again with --set train.keep=network into another folder"
        )
    routed = building.build(settings, shape, classes)
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged pickle raises whatever its bytes spell
        raise InputError(
            f"weights '{path}' cannot be read ({type(error).__name__}); delete the run's .nc beside them, and run the "
            "protocol again"
        ) from None
    try:
        missing = routed.load_state_dict(state, strict=settings.train.keep == "network").missing_keys
    except RuntimeError as error:
        told = " ".join(str(error).split())[:160]
        raise InputError(
            f"weights '{path}' do not fit their network ({told}): another version kept them; run it again into another "
            "folder"
        ) from None
    for layer in settings.fields.layers:
        if any(name.startswith(f"network.{layer.partition('.')[0]}.") for name in missing):
            raise InputError(
                f"layer '{layer}' was not kept: the run was made with train.keep = 'features', all but the head; "
                "run it again with --set train.keep=network into another folder"
            )
    return routed.network.eval()
