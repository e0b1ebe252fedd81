"""What the command line prints of runs: the list of a study's, and one run that is finished, under way, or failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.progress import plain_console
from rfmodel.store.failures import failures, read_failure
from rfmodel.store.holders import holders
from rfmodel.store.manifest import Entry
from rfmodel.tables import show_table

COLUMNS = ("condition", "seed", "state", "epochs", "test accuracy", "time", "file")
SHOWN_LEFT = 6


def show_study(folder: Path) -> None:
    """Print the runs of a study: done, diverged, running, failed with the error, and how many are left.

    Raises
    ------
    InputError
        If there is none, or a file of the study is damaged.
    """
    entries, failed, asked = store.entries(folder), failures(folder), store.asked(folder)
    if not entries and not asked:
        store.run_files(folder)  # says what was looked for
    failed = {name: one for name, one in failed.items() if name not in entries}
    away = _away(folder, [name for name in asked if name not in entries and name not in failed])
    rows = list(_finished_rows(folder, list(entries.values())))
    rows += [(*asked[name], "running", "", "", "", told) for name, told in away.items()]
    rows += [(one.condition, one.seed, "failed", "", "", "", f"{name}.failed.json") for name, one in failed.items()]
    show_table(f"{folder}: {_counted(entries, failed, away)}", COLUMNS, rows)
    for one in failed.values():
        plain_console().print(f"failed: {one.condition}, seed {one.seed} ({_times(one.attempts)}): {one.error}")
    left = [f"{what}, seed {seed}" for name, (what, seed) in asked.items() if name not in {*entries, *failed, *away}]
    if left:
        more = ", ..." if len(left) > SHOWN_LEFT else ""
        plain_console().print(f"{len(left)} of its protocol left: {', '.join(left[:SHOWN_LEFT])}{more}")


def _counted(entries: dict[str, Entry], failed: dict, away: dict) -> str:
    diverged = sum(entry.state == "diverged" for entry in entries.values())
    told = [f"{len(entries)} runs"]
    told += [
        f"{n} {word}" for n, word in ((diverged, "diverged"), (len(away), "running"), (len(failed), "failed")) if n
    ]
    return ", ".join(told)


def _times(attempts: int) -> str:
    return "once" if attempts == 1 else f"{attempts} times"


def _finished_rows(folder: Path, entries: list[Entry]) -> Iterator[tuple]:
    entries.sort(key=lambda entry: entry.name)
    for entry, label in zip(entries, _labels(folder, entries), strict=True):
        score = "-" if entry.state == "diverged" else f"{100 * entry.accuracy:.1f} %"
        yield label, entry.seed, entry.state, entry.epochs, score, f"{entry.seconds:.0f} s", f"{entry.name}.nc"


def _labels(folder: Path, entries: list[Entry]) -> list[str]:
    """Return each run's condition as figures and reports name it: those of one name that differ are told apart."""
    forms: dict[str, set[str]] = {}
    for entry in entries:
        forms.setdefault(entry.condition, set()).add(entry.form)
    mixed = {entry.name for entry in entries if len(forms[entry.condition]) > 1}
    if not mixed:
        return [entry.condition for entry in entries]
    from rfmodel.figures.labels import distinct_labels  # brings matplotlib, which nothing else here needs

    read = {name: store.load(store.run_path(folder, name)).attrs for name in mixed}
    alike = {key: float("nan") for key in store.PLACES[1:]} | {"settings": ""}
    attrs = [read.get(entry.name, alike) for entry in entries]
    return distinct_labels(
        [entry.condition for entry in entries],
        [entry.seed for entry in entries],
        [one["settings"] for one in attrs],
        {key: [one[key] for one in attrs] for key in store.PLACES[1:]},
    )


def _away(folder: Path, names: list[str]) -> dict[str, str]:
    """Return by name who has a run under way."""
    found = holders(folder)
    alive = {name: found[name] for name in names if name in found and found[name].alive is not False}
    sure = {True: "", None: ", if it still lives"}
    return {
        name: f"process {holder.pid} on {holder.host} since {holder.since}{sure[holder.alive]}"
        for name, holder in alive.items()
    }


def show_run(path: Path) -> None:
    """Print one finished run's settings and history, or one condition of a solvable model."""
    if "model" in store.load(_there(path)).attrs:
        from rfmodel.tables_of_theory import show_condition

        return show_condition(path)
    dataset = store.load_run(path)
    attrs = dataset.attrs
    console = plain_console()
    console.print(f"{attrs['condition']}, seed {attrs['seed']}: {attrs['state']}")
    console.print_json(attrs["settings"])
    plain = ("commit", "data_fingerprint", "data_source", "seconds", "cpu_seconds", "resumed")
    console.print_json(
        json.dumps(
            {key: attrs[key] for key in plain if key in attrs}
            | {"peak_memory": _bytes(float(dataset["peak_memory"])) if "peak_memory" in dataset else "unknown"}
            | {key: json.loads(attrs.get(key, "{}")) for key in ("versions", "hardware", "rule_files")},
            default=lambda value: value.item(),
        )
    )
    columns = [name for name in dataset if dataset[name].dims == ("epoch",)]
    rows = [(int(e), *(f"{float(dataset[c][i]):.4g}" for c in columns)) for i, e in enumerate(dataset["epoch"].values)]
    show_table("history", ("epoch", *columns), rows)


def _bytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB" if count == count else "unknown"


def show_checkpoint(path: Path) -> None:
    """Print how far a run has come that is under way, or was cut off."""
    from rfmodel.checkpoint_positions import position_of  # brings torch, which nothing else here needs

    found = position_of(_there(path))
    console = plain_console()
    console.print(f"{path.name.partition('.')[0]}: epoch {found.epoch}, step {found.step}, after {found.seconds:.0f} s")
    best = "none yet" if found.best is None else f"{100 * found.best[1]:.1f} % after epoch {found.best[0]}"
    console.print(f"taken up {found.resumed} times; best validation accuracy: {best}")
    columns = list(found.history)
    rows = [
        (epoch, *(f"{value:.4g}" for value in row))
        for epoch, row in enumerate(zip(*found.history.values(), strict=True))
    ]
    show_table("history", ("epoch", *columns), rows)


def show_failure(path: Path) -> None:
    """Print why a run failed."""
    one = read_failure(_there(path))
    console = plain_console()
    console.print(f"{one.condition}, seed {one.seed}: failed {_times(one.attempts)}, at {one.when} in {one.where}")
    console.print(one.error)
    if one.traceback:
        console.print(one.traceback)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"run file '{path}' is not there; `rfmodel ls STUDY` lists those that are")
    return path


SHOWN: dict[str, Callable[[Path], None]] = {
    ".nc": show_run,
    ".checkpoint": show_checkpoint,
    ".checkpoint.previous": show_checkpoint,
    ".failed.json": show_failure,
}
