"""`rfmodel run`: what is missing of a protocol, here, by several workers, or by a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfmodel import stopping
from rfmodel.cli_options import AllowCode, DataFolder, Device, Only, Overrides, Preset, ProtocolName, Threads, device_of
from rfmodel.cli_theory import refuse_idle, run_protocol
from rfmodel.errors import InputError
from rfmodel.terminal import plain

if TYPE_CHECKING:
    from rfmodel.running.outcomes import Outcome, Standing

FAILED, INTERRUPTED = 1, 130  # exit codes


def run(
    context: typer.Context,
    protocol: ProtocolName,
    out: Annotated[Path | None, typer.Option(help="Where the study is kept [runs/PROTOCOL].")] = None,
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    data: DataFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the runs, and the threads or GPUs.")] = 1,
    dask: Annotated[str, typer.Option(help="Address of a dask.distributed scheduler: tcp://host:8786.")] = "",
    checkpoint: Annotated[
        str, typer.Option(help="What lies between two checkpoints of a run: 5m, 2 epochs, 500 steps, never.")
    ] = "5m",
    retry: Annotated[list[str] | None, typer.Option(help="failed: try again what failed before.")] = None,
    wait: Annotated[bool, typer.Option(help="Stay for the runs that other processes have under way.")] = True,
    lease: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life after which a claim is taken over.")
    ] = 60.0,
    allow_code: AllowCode = False,
) -> None:
    """Run what is missing of a protocol; each finished run is kept, and a second call does only what is left.

    Several calls may work on one folder at once, on one machine or on many. A run that was cut off goes on from its
    last checkpoint. Exit code 1: some runs failed, and `rfmodel ls` shows why.
    """
    from rfmodel import protocols
    from rfmodel.progress import StudyProgress
    from rfmodel.running.outcomes import in_order
    from rfmodel.store import refuse_other

    read = protocols.load(protocol, overrides or (), only or (), preset=preset, allow_code=allow_code)
    folder = out or Path("runs") / read.name
    if read.theory:
        refuse_idle(context, read)
        return run_protocol(read, folder, threads)
    refuse_other(folder)
    _refuse_two_ways(workers, dask)
    if (stands := _nothing_left(read, folder, retry or ())) is not None:
        return _summary(in_order(read, stands.kept), folder)
    try:
        with stopping.at_signals(_stopping), StudyProgress(read, folder, silent=is_follower()) as shown:
            from rfmodel.parallel import together
            from rfmodel.study import Manner, run_study

            manner = Manner(checkpoint, lease, retry or (), wait, workers, dask, threads)
            with together(device if dask else device_of(device, threads)) as own:
                outcomes = run_study(
                    read,
                    folder,
                    data_folder=data,
                    device=own,
                    manner=manner,
                    started=shown.started,
                    progress=shown.progress,
                    ended=shown.ended,
                    told=shown.told,
                )
    except KeyboardInterrupt:
        if not is_follower():
            typer.echo(
                "interrupted; finished runs are kept, and the same command goes on with the rest from its checkpoints",
                err=True,
            )
        raise typer.Exit(INTERRUPTED) from None
    if not is_follower():
        _summary(outcomes, folder)


def is_follower() -> bool:
    """Whether torchrun started this process, and another one is the first: that one tells."""
    return os.environ.get("RANK", "0") != "0"


def _refuse_two_ways(workers: int, dask: str) -> None:
    ways = [
        name
        for name, given in (
            (f"--workers {workers}", workers > 1),
            (f"--dask {dask}", bool(dask)),
            ("torchrun", os.environ.get("WORLD_SIZE", "1") != "1"),
        )
        if given
    ]
    if len(ways) > 1:
        raise InputError(f"{' and '.join(ways)} are different ways to share the work; use one of them")


def _nothing_left(read, folder: Path, retry: list[str] | tuple[str, ...]) -> Standing | None:
    """Return where a study stands that needs nothing more, found without torch; None for any other."""
    from rfmodel import store
    from rfmodel.running.outcomes import standing

    if os.environ.get("WORLD_SIZE", "1") != "1" or not (folder / "runs").is_dir():
        return None
    stands = standing(read, folder, retry)
    if stands.left:
        return None
    store.prepare(folder, read.text, read.rule_files)
    store.tidy(folder)
    return stands


def _stopping() -> None:
    if not is_follower():
        typer.echo("stopping: the run keeps a checkpoint after this step; once more to end at once", err=True)


def _summary(outcomes: list[Outcome], folder: Path) -> None:
    states = [outcome.state for outcome in outcomes]
    kept = sum(outcome.kept and outcome.state != "failed" for outcome in outcomes)
    away = states.count("elsewhere")
    before = sum(outcome.kept for outcome in outcomes)
    parts = [f"{len(outcomes) - before - away} run", f"{kept} kept from before"]
    if away:
        parts.append(f"{away} under way in other processes")
    for state in ("diverged", "failed"):
        if state in states:
            lost = [f"{o.run.condition} seed {o.run.settings.seed}" for o in outcomes if o.state == state]
            parts.append(f"{len(lost)} {state} ({', '.join(lost[:6])}{', ...' if len(lost) > 6 else ''})")
    told = f"{', '.join(parts)}; results in {folder}. "
    if "failed" in states:
        again = "Why: rfmodel ls; to try them again: the same command with --retry failed"
        typer.echo(plain(told + again))
        raise typer.Exit(FAILED)
    typer.echo(plain(f"{told}Next: rfmodel report {folder}"))
