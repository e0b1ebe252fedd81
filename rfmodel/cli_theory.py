"""`rfmodel run` of a solvable model's protocol: its conditions side by side, a thread each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rfmodel.errors import InputError
from rfmodel.terminal import plain

if TYPE_CHECKING:
    from rfmodel.protocols import Protocol
    from rfmodel.theory_study import Solved

INTERRUPTED = 130  # exit code
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read by the libraries as they are loaded
LONG = ("linear_dynamics",)  # models whose products are long enough for threads to run beside each other
HARMLESS = {"device": ("auto", "cpu"), "workers": (1,), "dask": ("",), "wait": (True,), "allow_code": (False,)}
IDLE = {
    "data": "it reads no data",
    "device": "it is computed on the processor",
    "workers": "its conditions are computed by threads",
    "dask": "its conditions are computed here",
    "checkpoint": "a condition takes seconds, and is kept when it is done",
    "retry": "a condition that failed is computed again anyhow",
    "wait": "it waits for no other process",
    "lease": "it claims nothing",
    "allow_code": "it names no files",
}


def refuse_idle(context: typer.Context, protocol: Protocol) -> None:
    """Refuse options that have no meaning for a protocol that trains nothing.

    Raises
    ------
    InputError
        Of the first that was given.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(f"{protocol.name} is of a solvable model, whose conditions need no torchrun; start it without")
    for name, why in IDLE.items():
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and context.params[name] not in HARMLESS.get(name, ()):
            told = name.replace("_", "-") if context.params[name] is not False else f"no-{name}"
            raise InputError(f"--{told}: {protocol.name} is of a solvable model, and {why}; leave it out")


def run_protocol(protocol: Protocol, folder: Path, threads: int | None) -> None:
    """Compute what is missing of a protocol, show it, and say what to do next.

    As many conditions at once as threads are asked for, or as there are processors where that is faster, each by one.
    """
    from rfmodel.progress import TheoryProgress

    _single_threaded()
    with TheoryProgress(protocol, folder) as shown:
        try:
            from rfmodel.theory_study import run_theory

            found = run_theory(
                protocol,
                folder,
                threads=threads or (_processors() if protocol.theory in LONG else 1),
                started=shown.started,
                progress=shown.progress,
                ended=shown.ended,
            )
        except KeyboardInterrupt:
            typer.echo(
                "interrupted; finished conditions are kept, and the same command goes on with the rest", err=True
            )
            raise typer.Exit(INTERRUPTED) from None
    _summary(found, folder)


def _single_threaded() -> None:
    """Leave numpy's library, which must not be loaded yet, and torch one thread: products are too small for more."""
    os.environ.update(dict.fromkeys(POOLS, "1"))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _summary(found: list[Solved], folder: Path) -> None:
    kept = sum(solved.kept for solved in found)
    told = f"{len(found) - kept} run, {kept} kept from before; results in {folder}"
    typer.echo(plain(f"{told}. Next: rfmodel report {folder}"))
