"""`rfmodel bench train | fields | rules | memory | store`."""

from __future__ import annotations

from typing import Annotated

import typer

from rfmodel.cli_options import Device, Threads, device_of

bench_app = typer.Typer(no_args_is_help=True, help="Time rfmodel against the loops that it replaces.")


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

    where = device_of(device, threads)
    rows = [
        row for name in net or ["retina_vvs"] for row in bench.bench_train(name, repeats, where, compiled, precision)
    ]
    tables.show_rows("training step, rfmodel against a plain fp32 loop", rows)


@bench_app.command("fields")
def bench_fields(
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats.")] = 5, threads: Threads = None
) -> None:
    """Time the extraction of a layer's fields against loops and captum, the metrics, and the fits."""
    from rfmodel import bench, tables

    device_of("cpu", threads)
    tables.show_rows("fields of every unit of a layer, one call against others", bench.bench_fields(repeats))
    tables.show_rows("metrics of 32 x 32 fields, one process", bench.bench_metrics(repeats))
    tables.show_rows("fits of known 32 x 32 shapes with comparison, one thread", bench.bench_fits(repeats))


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

    where = device_of(device, threads)
    rows = [
        row
        for name in network or rule_bench.NETWORKS
        for casting in precision or ("fp32", "bf16")
        for row in rule_bench.bench_rules(name, casting, repeats, where, batch, compiled, rule or ())
    ]
    tables.show_rows(f"training step of each rule, time relative to backpropagation, batches of {batch}", rows)


@bench_app.command("memory")
def bench_memory(
    net: Annotated[str, typer.Option(help="By its name, as in network.name.")] = "vgg13",
    rule: Annotated[list[str] | None, typer.Option(help="svd_bp and ssa by default; several times.")] = None,
    rank_fraction: Annotated[list[float] | None, typer.Option(help="Of full ranks; 1, 0.7 and 0.3 by default.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 128,
    device: Device = "auto",
) -> None:
    """Measure the peak memory of a rule's training step in processes of their own, beside its account."""
    from rfmodel import memory_bench, tables

    given = (rule or ("svd_bp", "ssa"), rank_fraction or (1.0, 0.7, 0.3), batch, device_of(device, None))
    tables.show_rows(f"training step of {batch} images, 32 x 32", memory_bench.bench_memory(net, *given), whole=True)


@bench_app.command("store")
def bench_store(
    protocol: Annotated[list[str] | None, typer.Option(help="Whose first run is timed; quickstart by default.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Finished runs of the study that is opened.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Of each.")] = 3,
    checkpoint: Annotated[str, typer.Option(help="What lies between two checkpoints.")] = "5m",
    epochs: Annotated[int | None, typer.Option(min=0, help="In place of the protocol's.")] = None,
    threads: Threads = None,
) -> None:
    """Time what keeping a run costs of it, and how long a study of many finished runs takes to start and to open."""
    from rfmodel import store_bench, tables

    device_of("cpu", threads)
    rows = store_bench.bench_keeping(protocol or ["quickstart"], repeats, checkpoint, epochs)
    tables.show_rows("claims, checkpoints, weights, results and progress of a run", rows)
    tables.show_rows("a study that is finished, each in a process of its own", store_bench.bench_opening(runs, repeats))
