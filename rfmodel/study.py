"""Studies: from a protocol to labelled results, one run after another, each finished run kept.

One run is: draw the network, extract its fields, train it by its rule, extract its fields again, measure and
classify both, and keep everything in one Dataset. The untrained twin is the null against which fields are judged.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from rfmodel import datasets, fields, precision, store, symmetry, training
from rfmodel.errors import InputError
from rfmodel.protocols import Protocol, Run, select
from rfmodel.settings import Settings

PACKAGES = ("rfmodel", "torch", "numpy", "scipy", "scikit-image", "xarray", "h5netcdf")
STAGES = ("untrained", "trained")
NULL_UNITS, NULL_SEED = 100, 10_000  # seeds far from those that a study trains


@dataclass(frozen=True)
class Outcome:
    """What became of one run: "done", "diverged", or "kept" where it was finished before."""

    run: Run
    state: str
    accuracy: float
    seconds: float


def open_data(settings: Settings, folder: Path | None, device: torch.device | str) -> datasets.Dataset:
    """Return the settings' data set on the device."""
    chosen = settings.data.model_dump()
    options = chosen.pop("options")
    return datasets.load(chosen.pop("name"), folder=folder, **chosen, **options).to(device)


def run_study(
    protocol: Protocol,
    folder: Path,
    *,
    data_folder: Path | None = None,
    device: torch.device | str = "cpu",
    started: Callable[[Run, int, int], None] | None = None,
    progress: Callable[[Run, int, int, float], None] | None = None,
    ended: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run what is missing of a protocol, and return what became of each run.

    Everything is checked before the first run is trained. A run that diverges is kept as such and the others go on.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
        Where the study is kept.
    data_folder : Path, optional
        Where published data sets lie.
    device : torch.device
    started, progress, ended : callables, optional
        Told of each run's begin (run, epochs, steps), of its steps (run, epoch, step, loss) and of its end.

    Raises
    ------
    InputError
        If a run cannot be, the data are missing, or the folder cannot be written.
    """
    validate(protocol)
    opened = {_data_key(run): run for run in protocol.runs}
    opened = {key: open_data(run.settings, data_folder, device) for key, run in opened.items()}
    commit()  # of the code that runs, not of what the checkout holds when a run ends
    store.prepare(folder, protocol.text)
    plan = [{"name": r.name, "condition": r.condition, "seed": r.settings.seed} for r in protocol.runs]
    store.write_plan(folder, plan)
    outcomes = []
    # Seeds outermost: a study that is stopped early has whole rounds of conditions.
    for run in sorted(protocol.runs, key=lambda r: r.settings.seed):
        data = opened[_data_key(run)]
        outcome = _run_one(run, protocol, folder, data, device, started, progress)
        outcomes.append(outcome)
        if ended is not None:
            ended(outcome)
    return outcomes


def validate(protocol: Protocol) -> None:
    """Refuse a protocol one of whose runs cannot be: network, rules, sites, ranks, layers. Opens no data.

    Raises
    ------
    InputError
        The message names the file, the condition, the key and the value.
    """
    for run in protocol.runs:
        try:
            shape, classes = datasets.shape_of(run.settings.data.model_dump())
            training.check(run.settings, shape, classes)
            chosen = run.settings.fields
            fields.check_method(chosen.method, chosen.preset, chosen.options)
        except InputError as error:
            raise InputError(f"{protocol.name}.toml: condition '{run.condition}': {error}") from None


def _data_key(run: Run) -> str:
    return run.settings.data.model_dump_json()


def _run_one(run, protocol, folder, data, device, started, progress) -> Outcome:
    if store.finished(folder, run.name):
        kept = store.load(store.run_path(folder, run.name))
        return Outcome(run, "kept", float(kept["accuracy_test"][-1]), 0.0)
    options = run.settings.train
    if started is not None:
        started(run, options.epochs, -(-len(data.train) // options.batch))
    told = None if progress is None else lambda epoch, step, loss: progress(run, epoch, step, loss)
    result, dataset = execute(run, data, device, told, position=_position(run, protocol))
    _keep_weights(result, options.keep, store.weights_path(folder, run.name))
    store.save(dataset, store.run_path(folder, run.name))
    return Outcome(run, result.state, float(dataset["accuracy_test"][-1]), result.seconds)


def _position(run: Run, protocol: Protocol) -> int:
    return list(dict.fromkeys(r.condition for r in protocol.runs)).index(run.condition)


def _keep_weights(result: training.Trained, keep: str, path: Path) -> None:
    if keep == "nothing":
        return
    state = result.routed.state_dict()
    if keep == "features":  # all but the dense head, which holds nine tenths of the weights and shapes no field
        state = {name: value for name, value in state.items() if ".head." not in name}
    store.write_aside(path, lambda aside: torch.save(state, aside))


def execute(
    run: Run,
    data: datasets.Dataset,
    device: torch.device | str = "cpu",
    progress: training.Progress | None = None,
    position: int = 0,
) -> tuple[training.Trained, xr.Dataset]:
    """Train one run and return its network with its labelled results.

    Parameters
    ----------
    run : Run
    data : Dataset
        On `device`.
    device : torch.device
    progress : callable of (epoch, step, loss), optional
    position : int
        Where the run's condition stands in its protocol.
    """
    settings = run.settings
    before = training.build(settings, data.image_shape, len(data.classes), device)
    untrained = _extract(before.network, settings, data.image_shape)
    result = training.train(settings, data, device, progress)
    if result.state == "done":
        with result.routed.exact() as network:
            trained = _extract(network, settings, data.image_shape)
    else:  # weights that are not finite have no fields
        trained = untrained.copy(data={"rf": np.full_like(untrained["rf"].values, np.nan)})
        trained["status"] = xr.full_like(trained["status"], "dead", dtype="<U4")
    measured = _measured(untrained, trained, _null(settings, data.image_shape, len(data.classes)))
    dataset = xr.merge([_history(result), measured], compat="equals", join="outer", combine_attrs="override")
    dataset.attrs = _provenance(run, data, result, torch.device(device)) | {"position": position} | measured.attrs
    return result, dataset


def _extract(network: torch.nn.Module, settings: Settings, image_shape: Sequence[int]) -> xr.Dataset:
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
    return xr.concat(
        parts,
        "unit",
        join="exact",
        data_vars="minimal",
        coords="different",
        compat="equals",
        combine_attrs="drop_conflicts",
    )


def extract_again(
    folder: Path, layers: Sequence[str], *, method: str = "gradient", only: Sequence[str] = (), out: Path
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

    Raises
    ------
    InputError
        If no kept weights fit, a layer is not in the network, or the file cannot be written.
    """
    kept = {}
    for path in store.run_files(folder):
        dataset = store.load(path)
        run = Run(dataset.attrs["condition"], Settings.model_validate_json(dataset.attrs["settings"]), {})
        kept[run.identity] = (run, dataset)
    chosen = select([run for run, _ in kept.values()], only)
    found = [_again(folder, *kept[run.identity], tuple(layers), method) for run in chosen]
    study = store.together(found)
    store.write_aside(out, lambda aside: study.to_netcdf(aside, engine="h5netcdf"))
    return out


def _again(folder: Path, run: Run, kept: xr.Dataset, layers: tuple[str, ...], method: str) -> xr.Dataset:
    wanted = run.settings.fields.model_copy(update={"layers": layers, "method": method, "preset": None})
    settings = run.settings.model_copy(update={"fields": wanted})
    shape, classes = datasets.shape_of(settings.data.model_dump())
    untrained = _extract(training.build(settings, shape, classes).network, settings, shape)
    trained = _extract(_restored(settings, shape, classes, store.weights_path(folder, run.name)), settings, shape)
    measured = _measured(untrained, trained, _null(settings, shape, classes))
    return measured.assign_attrs({**kept.attrs, **measured.attrs})


def _restored(settings: Settings, shape: tuple[int, ...], classes: int, path: Path) -> torch.nn.Module:
    if not path.is_file():
        raise InputError(
            f"weights '{path}' are not there: the run was made with train.keep = '{settings.train.keep}'; "
            "run it again with --set train.keep=network into another folder"
        )
    routed = training.build(settings, shape, classes)
    state = torch.load(path, weights_only=True, map_location="cpu")
    routed.load_state_dict(state, strict=settings.train.keep == "network")
    return routed.network.eval()


def _measured(untrained: xr.Dataset, trained: xr.Dataset, null: xr.Dataset) -> xr.Dataset:
    """Measure and classify both stages against the null; the classifier's thresholds go to the attributes."""
    live = bool(null["p0"].notnull().any())
    stages = []
    for stage in (untrained, trained):
        metrics = symmetry.measure(stage)
        # Where every untrained unit is dead there is no such null; the classifier then says which one it took.
        kind = symmetry.classify(metrics, null=null if live else None)
        found = xr.merge([metrics, kind, stage[["rf"]]], compat="override", join="exact", combine_attrs="drop")
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
    both.attrs = {f"classifier_{key}": value for key, value in kind.attrs.items()}
    if live:
        both.attrs["classifier_null"] = f"{int(null['p0'].notnull().sum())} live units of untrained networks"
    return both


def _null(settings: Settings, shape: tuple[int, ...], classes: int) -> xr.Dataset:
    """Metrics of the fields of at least 100 units of untrained networks of the same form, other seeds.

    No field depends on the dense head, so that one unit of it will do.
    """
    slim = settings.network.model_copy(update={"hidden": 1})
    found, units = [], 0
    for seed in range(NULL_SEED, NULL_SEED + NULL_UNITS):
        drawn = settings.model_copy(update={"seed": seed, "network": slim, "rules": {}})
        part = _extract(training.build(drawn, shape, classes).network, drawn, shape)
        found.append(symmetry.measure(part).drop_vars("unit", errors="ignore"))
        units += part.sizes["unit"]
        if units >= NULL_UNITS:
            break
    return xr.concat(found, "unit", join="exact", data_vars="all", coords="different", compat="equals")


def _history(result: training.Trained) -> xr.Dataset:
    epochs = np.arange(len(result.history["angle"]))
    edges = [str(edge) for edge in result.routed.edges]
    variables = {}
    for key, rows in result.history.items():
        if key in ("angle", "feedback_norm"):
            if edges:
                table = [[row.get(edge, np.nan) for edge in edges] for row in rows]
                variables[key] = (("epoch", "edge"), np.asarray(table, float))
        else:
            variables[key] = ("epoch", np.asarray(rows, float))
    coords = {"epoch": epochs} | ({"edge": edges} if edges else {})
    return xr.Dataset(variables, coords)


def _provenance(run: Run, data: datasets.Dataset, result: training.Trained, device: torch.device) -> dict:
    casting = precision.resolve(run.settings.train.precision, device)
    return {
        **run.coordinates,
        "name": run.name,
        "identity": run.identity,
        "state": result.state,
        "epochs_done": result.epochs,
        "seconds": result.seconds,
        "settings": run.settings.model_dump_json(),
        "versions": json.dumps({"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}),
        "data_fingerprint": data.fingerprint,
        "data_source": data.source,
        "hardware": json.dumps(hardware(device) | {"precision": casting}),
        "commit": commit(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def hardware(device: torch.device) -> dict[str, str | int]:
    """Return what the numbers were computed on: processor or GPU, threads, system."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = (
        [
            line.partition(":")[2].strip()
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("model name")
        ]
        if path.is_file()
        else []
    )
    return names[0] if names else platform.machine()


@cache
def commit() -> str:
    """Return the commit of the checkout that runs, marked where it has changes; "released" outside a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return "released"
    done = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
