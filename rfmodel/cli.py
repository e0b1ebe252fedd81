"""The command line: `rfmodel run | ls | show | validate | cost | report | rf | analyse | animate | compare | ...`.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfmodel.cli_bench import bench_app
from rfmodel.cli_data import data_app
from rfmodel.cli_options import AllowCode, DataFolder, Only, Overrides, Preset, ProtocolName, Study
from rfmodel.cli_run import is_follower, run
from rfmodel.errors import InputError
from rfmodel.terminal import one_line, plain

if TYPE_CHECKING:
    from rfmodel.protocols import Protocol

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How does the teaching signal shape what a network learns to see?",
)
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")


app.command()(run)


@app.command()
def validate(
    protocols_: Annotated[list[str], typer.Argument(metavar="PROTOCOL...")],
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Check protocols, their networks, rules, sites, ranks and spectra, without training and without the data."""
    from rfmodel import protocols

    for name in protocols_:
        read = protocols.load(name, overrides or (), only or (), preset=preset, allow_code=allow_code)
        _validate(read, data)
        conditions = len({r.condition for r in read.runs})
        typer.echo(plain(f"{read.name}: {len(read.runs)} runs in {conditions} conditions can be run"))


def _validate(read: Protocol, data: Path | None) -> None:
    if read.theory:
        from rfmodel import theory_study

        theory_study.validate(read)
    else:
        from rfmodel import study

        study.validate(read, data)


@app.command("ls")
def list_(
    folder: Annotated[Path | None, typer.Argument(help="A study's folder; none lists protocols.")] = None,
) -> None:
    """List the protocols that come with rfmodel, or the runs of a study and what is left of it."""
    from rfmodel import store, tables, tables_of_runs, tables_of_theory

    if folder is None:
        tables.show_protocols()
    elif store.is_theory(folder):
        tables_of_theory.show_study(folder)
    else:
        tables_of_runs.show_study(folder)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A protocol's name or file; a run's .nc, .checkpoint or .failed.json.")],
) -> None:
    """Show a protocol's conditions, or a run's settings and history: finished, under way, or failed."""
    from rfmodel import tables, tables_of_runs

    shown = next((show for end, show in tables_of_runs.SHOWN.items() if name.endswith(end)), None)
    tables.show_protocol(name) if shown is None else shown(Path(name))


@app.command()
def doctor(
    data: DataFolder = None,
    out: Annotated[Path, typer.Option(help="A folder that results would go to.")] = Path("runs"),
) -> None:
    """Examine this machine: versions, devices, bf16, threads, disk, data, torch.compile, in one table."""
    from rfmodel import tables
    from rfmodel.doctor import examine

    tables.show_rows("this machine", [row._asdict() for row in examine(data, out)])


@app.command()
def cost(
    protocol: ProtocolName,
    preset: Preset = None,
    overrides: Overrides = None,
    only: Only = None,
    layers: Annotated[bool, typer.Option("--layers", help="A table a condition, a row a layer.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Memory too: parameters, activations, ...")] = False,
    rank_fraction: Annotated[
        float | None, typer.Option(help="Of factored layers, of their full rank; the ranks at the start by default.")
    ] = None,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Count the arithmetic and memory of a training step of each condition, by layer, from shapes alone."""
    from rfmodel import protocols, tables_of_costs

    read = protocols.load(protocol, overrides or (), only or (), preset=preset, allow_code=allow_code)
    tables_of_costs.show_costs(read, data, layers, memory, rank_fraction)


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
        if store.is_theory(folder):
            from rfmodel.theory_report import write_theory_report as write

            study = store.open_theory(folder)
        else:
            from rfmodel.report import write_report as write

            study = store.open_study(folder)
        page = write(
            study,
            out or folder / "report",
            title=title or store.title(folder),
            protocol=store.protocol_text(folder),
            progress=progress,
        )
    typer.echo(plain(f"report of {study.sizes['run']} runs: {page}"))


@app.command()
def rf(
    folder: Study,
    layer: Annotated[list[str], typer.Option(help="Layer to extract; may be given several times.")],
    only: Only = None,
    method: Annotated[
        str, typer.Option(help="gradient, smoothed, effective, maximise, sta or stc: see rfmodel.fields.extract.")
    ] = "gradient",
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the method: steps=40.")] = None,
    images: Annotated[int, typer.Option(min=0, help="Training images that the method is given.")] = 0,
    fit: Annotated[list[str] | None, typer.Option(help="Model to fit to every field: dog, gabor, ...")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write [STUDY/fields.nc].")] = None,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Extract, measure and fit the receptive fields of any layer from a study's kept weights."""
    from rfmodel import protocols, study
    from rfmodel.progress import counting

    with counting("fields") as progress:
        path = study.extract_again(
            folder,
            layer,
            method=method,
            options=dict(protocols.assignment(text, "--option") for text in options or ()),
            images=images,
            fits=fit or (),
            only=only or (),
            out=out or folder / "fields.nc",
            data_folder=data,
            allow_code=allow_code,
            progress=progress,
        )
    typer.echo(plain(f"fields of {', '.join(layer)}: {path}"))


@app.command()
def analyse(
    folder: Study,
    analysis: Annotated[
        list[str], typer.Option(help="linearity, separability, complexity, opponency or tuning; several times.")
    ],
    layer: Annotated[list[str] | None, typer.Option(help="Layers; those of the study's fields by default.")] = None,
    only: Only = None,
    out: Annotated[Path | None, typer.Option(help="File to write [STUDY/analyses.nc].")] = None,
    data: DataFolder = None,
    allow_code: AllowCode = False,
) -> None:
    """Analyse any layer of a study's kept networks: what it represents, and how its units respond."""
    from rfmodel import study
    from rfmodel.progress import drawing

    with drawing("analysing") as progress:
        path = study.analyse_again(
            folder,
            analysis,
            layer or (),
            only=only or (),
            out=out or folder / "analyses.nc",
            data_folder=data,
            allow_code=allow_code,
            progress=lambda run, what: progress(f"{run}: {what}"),
        )
    typer.echo(plain(f"{', '.join(analysis)}: {path}"))


@app.command()
def animate(
    folder: Study,
    condition: Annotated[str | None, typer.Option(help="Of the study's; its first by default.")] = None,
    layer: Annotated[str | None, typer.Option(help="The retina's output by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="The lowest finished seed by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .gif, or with ffmpeg a .mp4 [STUDY/fields.gif].")] = None,
) -> None:
    """Animate how a layer's fields emerge, over the epochs that `fields.at` named."""
    from rfmodel import figures, store

    study = figures.tidied(store.open_study(folder))
    having = figures.fielded(study)
    if not having:
        raise InputError(f"no run in '{folder}' has fields to animate: a study run with fields.layers would do")
    chosen = condition or having[0]
    path = figures.animate_fields(study, out or folder / "fields.gif", chosen, layer=layer, seed=seed)
    typer.echo(plain(f"animation: {path}"))


@app.command()
def compare(
    folder: Study,
    metric: Annotated[list[str], typer.Option(help="p0, anisotropy, oriented_fraction, ...; several times.")],
    against: Annotated[str | None, typer.Option(help="The condition to compare with; the first by default.")] = None,
    layer: Annotated[str | None, typer.Option(help="The retina's output by default.")] = None,
    stage: Annotated[str, typer.Option(help="trained, untrained, or a stage of the trajectory.")] = "trained",
) -> None:
    """Compare conditions seed by seed: difference, permutation test, effect size, and the seeds that it takes."""
    from rfmodel import figures, store, tables
    from rfmodel.comparing import compare_conditions

    study = figures.tidied(store.open_study(folder))
    rows = compare_conditions(study, metric, against=against, layer=layer, stage=stage)
    tables.show_rows(f"differences by seed, {rows[0].layer}, {stage}", [row.told() for row in rows])


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    try:
        app()
    except InputError as error:
        if not is_follower() or getattr(error, "apart", False):
            typer.echo(f"rfmodel: {one_line(str(error))}", err=True)  # a file's name may hold a line break
        sys.exit(2)
