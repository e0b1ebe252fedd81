"""The command line: `rfmodel run | ls | show | validate | cost | rf | report | bench | data`.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rfmodel.errors import InputError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How does the teaching signal shape what a network learns to see?",
)
bench_app = typer.Typer(no_args_is_help=True, help="Time rfmodel against the loops that it replaces.")
data_app = typer.Typer(no_args_is_help=True, help="Find, verify and download data sets.")
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")

ProtocolName = Annotated[str, typer.Argument(help="A protocol's name, or a .toml file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: train.epochs=2.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="Select runs: seed=0, rank=2,4, condition='BP*'.")]
Preset = Annotated[str | None, typer.Option(help="One of the protocol's presets (paper, fast); its first by default.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Execute the files that rules name, as in my_rules.py:my_rule.")
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", envvar="RFMODEL_DATA", help="Folder of the published data sets.")
]
Study = Annotated[Path, typer.Argument(help="A study's folder, the --out of `rfmodel run`.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto: a GPU where there is one.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; all cores by default.")]


@app.command()
def run(
    protocol: ProtocolName,
    out: Annotated[Path | None, typer.Option(help="Where the study is kept [runs/PROTOCOL].")] = None,
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    data: DataFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    allow_code: AllowCode = False,
) -> None:
    """Run what is missing of a protocol; each finished run is kept, and a second call does only what is left."""
    from rfmodel import protocols
    from rfmodel.progress import StudyProgress

    read = protocols.load(protocol, overrides or (), only or (), preset=preset, allow_code=allow_code)
    folder = out or Path("runs") / read.name
    try:
        with StudyProgress(read, folder, silent=_is_follower()) as shown:
            from rfmodel.parallel import together
            from rfmodel.study import run_study

            with together(_device(device, threads)) as own:
                outcomes = run_study(
                    read,
                    folder,
                    data_folder=data,
                    device=own,
                    started=shown.started,
                    progress=shown.progress,
                    ended=shown.ended,
                )
    except KeyboardInterrupt:
        if not _is_follower():
            typer.echo("interrupted; finished runs are kept, and the same command goes on with the rest", err=True)
        raise typer.Exit(130) from None
    if not _is_follower():
        _summary(outcomes, folder)


def _is_follower() -> bool:
    """Whether torchrun started this process, and another one is the first: that one tells."""
    return os.environ.get("RANK", "0") != "0"


def _summary(outcomes: list, folder: Path) -> None:
    states = [outcome.state for outcome in outcomes]
    kept = sum(outcome.kept for outcome in outcomes)
    parts = [f"{len(outcomes) - kept} run", f"{kept} kept from before"]
    if "diverged" in states:
        lost = ", ".join(f"{o.run.condition} seed {o.run.settings.seed}" for o in outcomes if o.state == "diverged")
        parts.append(f"{states.count('diverged')} diverged ({lost})")
    typer.echo(f"{', '.join(parts)}; results in {folder}. Next: rfmodel report {folder}")


def _device(name: str, threads: int | None) -> str:
    import torch

    from rfmodel.memory import keep_freed_memory

    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("no device that trains")
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device '{name}' cannot be used ({reason}); use auto, cpu, or a GPU that is there"
        ) from None
    return name


@app.command()
def validate(
    protocols_: Annotated[list[str], typer.Argument(metavar="PROTOCOL...")],
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Check protocols, their networks, rules, sites and ranks, without training and without the data."""
    from rfmodel import protocols, study

    for name in protocols_:
        read = protocols.load(name, overrides or (), only or (), preset=preset, allow_code=allow_code)
        study.validate(read, data)
        conditions = len({r.condition for r in read.runs})
        typer.echo(f"{read.name}: {len(read.runs)} runs in {conditions} conditions can be run")


@app.command("ls")
def list_(
    folder: Annotated[Path | None, typer.Argument(help="A study's folder; none lists protocols.")] = None,
) -> None:
    """List the protocols that come with rfmodel, or the runs of a study and what is left of it."""
    from rfmodel import tables

    tables.show_study(folder) if folder else tables.show_protocols()


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A protocol's name or file, or a run's .nc file.")],
) -> None:
    """Show a protocol's conditions, or a run's settings and history."""
    from rfmodel import tables

    tables.show_run(Path(name)) if name.endswith(".nc") else tables.show_protocol(name)


@app.command()
def cost(
    protocol: ProtocolName,
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    layers: Annotated[bool, typer.Option("--layers", help="A table a condition, a row a layer.")] = False,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Count the arithmetic of a training step of each condition, by part and by layer, from shapes alone."""
    from rfmodel import protocols, tables

    read = protocols.load(protocol, overrides or (), only or (), preset=preset, allow_code=allow_code)
    tables.show_costs(read, data, layers)


@app.command()
def report(
    folder: Study,
    out: Annotated[Path | None, typer.Option(help="Where to write [STUDY/report].")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
) -> None:
    """Write one self-contained HTML page and its figures for a study."""
    from rfmodel import store
    from rfmodel.progress import drawing

    with drawing() as progress:
        from rfmodel.report import write_report

        study = store.open_study(folder)
        page = write_report(
            study,
            out or folder / "report",
            title=title or store.title(folder),
            protocol=store.protocol_text(folder),
            progress=progress,
        )
    typer.echo(f"report of {study.sizes['run']} runs: {page}")


@app.command()
def rf(
    folder: Study,
    layer: Annotated[list[str], typer.Option(help="Layer to extract; may be given several times.")],
    only: Only = None,
    method: Annotated[str, typer.Option(help="gradient, maximise or sta.")] = "gradient",
    out: Annotated[Path | None, typer.Option(help="File to write [STUDY/fields.nc].")] = None,
    allow_code: AllowCode = False,
) -> None:
    """Extract and measure the receptive fields of any layer from a study's kept weights."""
    from rfmodel import study

    out = out or folder / "fields.nc"
    path = study.extract_again(folder, layer, method=method, only=only or (), out=out, allow_code=allow_code)
    typer.echo(f"fields of {', '.join(layer)}: {path}")


@bench_app.command("train")
def bench_train(
    net: Annotated[list[str] | None, typer.Option(help="retina_vvs (the default), mlp, vgg, vit or resnet20.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats.")] = 7,
    precision: Annotated[str, typer.Option(help="Ours: auto, fp32 or bf16.")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Ours by torch.compile.")] = False,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Time a training step against a plain eager fp32 PyTorch loop of the same network, interleaved."""
    from rfmodel import bench, tables

    where = _device(device, threads)
    rows = [
        row for name in net or ["retina_vvs"] for row in bench.bench_train(name, repeats, where, compiled, precision)
    ]
    tables.show_rows("training step, rfmodel against a plain fp32 loop", rows)


@bench_app.command("fields")
def bench_fields(
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats.")] = 5, threads: Threads = None
) -> None:
    """Time the extraction of 32 receptive fields in one call against a loop over units, interleaved."""
    from rfmodel import bench, tables

    _device("cpu", threads)
    tables.show_rows("32 receptive fields, one call against a loop over units", bench.bench_fields(repeats=repeats))


@bench_app.command("rules")
def bench_rules(
    network: Annotated[list[str] | None, typer.Option(help="vgg or vit; both by default.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="fp32 or bf16; both by default.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="fa, dfa, ldfa, ldfa_normative; all by default.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats.")] = 7,
    batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 128,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the networks by torch.compile.")] = False,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Time a training step of each learning rule against backpropagation on the same network, interleaved."""
    from rfmodel import rule_bench, tables

    where = _device(device, threads)
    rows = [
        row
        for name in network or rule_bench.NETWORKS
        for casting in precision or ("fp32", "bf16")
        for row in rule_bench.bench_rules(name, casting, repeats, where, batch, compiled, rule or ())
    ]
    tables.show_rows(f"training step of each rule, time relative to backpropagation, batches of {batch}", rows)


@data_app.command("ls")
def data_list(data: DataFolder = None) -> None:
    """List the data sets, and which of them are found."""
    from rfmodel import tables

    tables.show_data(data)


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data: DataFolder = None) -> None:
    """Check the files of a data set against the published sizes and checksums."""
    from rfmodel import datasets, tables

    tables.show_files(name, datasets.verify(name, data))


@data_app.command("download")
def data_download(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data: DataFolder = None) -> None:
    """Download a data set from its published address, with its checksum."""
    from rfmodel import datasets
    from rfmodel.progress import transfer

    if data is None:
        raise InputError(f"where should {name} go? give --data DIR, or set RFMODEL_DATA")
    with transfer(name) as progress:
        path = datasets.download(name, data, progress)
    typer.echo(f"{name}: {path}")


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    try:
        app()
    except InputError as error:
        if not _is_follower() or getattr(error, "apart", False):
            told = " ".join(str(error).splitlines())  # a file's name may hold a line break
            typer.echo(f"rfmodel: {told}", err=True)
        sys.exit(2)
