"""Provenance: what a reviewer needs to trust a run, and to make it again."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from rfmodel import datasets, precision, training
from rfmodel.protocols import Run
from rfmodel.rule_files import files_of

PACKAGES = ("rfmodel", "torch", "numpy", "scipy", "scikit-image", "xarray", "h5netcdf", "pillow", "torchvision")


def provenance(run: Run, data: datasets.Dataset, result: training.Trained, device: torch.device) -> dict:
    """Return the attributes of a run: its place, settings, versions, data, hardware, commit, own files."""
    casting = precision.resolve(run.settings.train.precision, device)
    return {
        **run.coordinates,
        "classes": float(len(data.classes)),
        "preset": run.preset,
        "position": run.position,
        "name": run.name,
        "identity": run.identity,
        "state": result.state,
        "epochs_done": result.epochs,
        "seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "resumed": result.resumed,
        "settings": run.settings.model_dump_json(),
        "versions": json.dumps(versions()),
        "data_fingerprint": data.fingerprint,
        "data_source": data.source,
        "hardware": json.dumps(hardware(device) | {"precision": casting}),
        "commit": commit(),
        "rule_files": json.dumps({file: code.digest for file, code in files_of(run.settings.rules).items()}),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that numbers depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


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
