"""What the scripts of this folder share: studies given by folder, and a page of numbers beside the published values."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from rfmodel import figures, store
from rfmodel.errors import InputError
from rfmodel.published import published_of

READING = "\n## Reading\n"
HEAD = "| condition | runs | ours, % | theirs, % | difference | FLOPs relative to BP | not like for like |"


@dataclass(frozen=True)
class Given:
    """One study folder: its name, its runs, and the published values beside them."""

    name: str
    title: str
    study: xr.Dataset
    compared: list[figures.Comparison]


def opened(folder: str, networks: tuple[str, ...]) -> Given:
    """Return a study with at least one finished run of one of the networks, by the start of its name."""
    study = figures.tidied(store.open_study(folder))
    figures.require_finished(study)
    found = sorted({str(figures.place(study, c, "network")) for c in figures.conditions(study)})
    if not any(name.startswith(networks) for name in found):
        raise InputError(
            f"study '{folder}' holds networks {', '.join(found)}, and this figure is of {', '.join(networks)}; "
            "give a study of these"
        )
    compared = figures.compare(study, published_of(store.protocol_text(folder)))
    return Given(Path(folder).name, store.title(folder), study, compared)


def pages(conditions: list[str], most: int) -> list[list[str]]:
    """Return conditions in as few parts as hold at most so many, of nearly equal size."""
    count = -(-len(conditions) // most)
    size = -(-len(conditions) // max(count, 1))
    return [conditions[start : start + size] for start in range(0, len(conditions), max(size, 1))]


def run(name: str, networks: tuple[str, ...], draw: Callable[[list[Given]], Figure]) -> None:
    """Draw the studies of the command line into NAME.png, and write their numbers and provenance into NAME.md."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="folders that `rfmodel run` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where to write")
    parser.add_argument("--name", default=name, help="of the files")
    parser.add_argument("--command", default="", help="what the studies were run by, kept on the page")
    asked = parser.parse_args()
    try:
        given = [opened(folder, networks) for folder in asked.studies]
        picture = figures.png(draw(given))
        asked.out.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        sys.exit(2)
    store.write_aside(asked.out / f"{asked.name}.png", lambda path: path.write_bytes(picture))
    written = asked.out / f"{asked.name}.md"
    text = page(asked.name, given, asked.command) + kept_reading(written)
    store.write_aside(written, lambda path: path.write_text(text, encoding="utf-8"))


def page(name: str, given: list[Given], command: str) -> str:
    """Return the Markdown page of a figure: how each study was made, and its numbers beside the published ones."""
    parts = [*heading(name, command), "", f"![{name}]({name}.png)"]
    for one in given:
        parts += ["", f"## {one.title}", "", provenance(one), "", *table(one)]
    return "\n".join(parts) + "\n"


def heading(name: str, command: str) -> list[str]:
    """Return the lines that begin a page: its name, what the studies were run by, and the script's own command."""
    drawn = shlex.join(["python", f"analysis/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return [f"# {name}", "", *(f"    {line}" for line in (command, drawn) if line)]


def kept_reading(written: Path) -> str:
    """Return what a person wrote below a page that is there."""
    before = written.read_text(encoding="utf-8") if written.is_file() else ""
    return before[before.index(READING) :] if READING in before else ""


def provenance(given: Given) -> str:
    """Return in a paragraph what made a study: epochs, seeds, commit, machine, data, time."""
    study = given.study
    machines = sorted({_machine(text) for text in figures.per_run(study, "hardware")})
    settings = [figures.settings_of(study, condition) for condition in figures.conditions(study)]
    epochs = sorted({one["train"]["epochs"] for one in settings})
    data = sorted({_data(one["data"]) for one in settings})
    preset = "".join(f"preset {name}, " for name in sorted(set(figures.per_run(study, "preset")) - {""}))
    seconds = sum(float(text) for text in figures.per_run(study, "seconds") if text)
    return (
        f"Study `{given.name}`: {preset}{'/'.join(map(str, epochs))} epochs, seeds {figures.seeds(study)}, commit "
        f"{'/'.join(sorted(set(figures.per_run(study, 'commit'))))}, {'; '.join(machines)}; data "
        f"{'/'.join(data)}, fingerprint "
        f"{'/'.join(sorted(set(figures.per_run(study, 'data_fingerprint'))))}; {seconds / 3600:.2f} h of training in "
        "all. Ours: test accuracy at the last epoch, mean with Student's 95 % interval over runs."
    )


def _data(chosen: dict) -> str:
    limit = chosen.get("train")
    return f"{chosen['name']} ({limit} training images)" if limit else chosen["name"]


def _machine(text: str) -> str:
    held = json.loads(text)
    return f"{held['name']}, {held['threads']} thread(s), {held['precision']}"


def table(given: Given) -> list[str]:
    """Return the lines of a study's table: every condition, then the published ones that have not been run."""
    theirs = {row.condition: row for row in given.compared}
    rows = [_line(row, theirs.get(row.condition)) for row in figures.overall(given.study)]
    left = [
        f"| {r.condition} | 0 | | {_theirs(r)} | | | not run yet |" for r in given.compared if not r.runs + r.diverged
    ]
    said = sorted({row.theirs.evidence for row in given.compared if row.theirs.evidence})
    return [
        HEAD,
        "|" + "---|" * (HEAD.count("|") - 1),
        *rows,
        *left,
        *(["", f"Theirs: {'; '.join(said)}."] if said else []),
    ]


def _line(row: figures.Row, theirs: figures.Comparison | None) -> str:
    mean, low, high = (100 * value for value in row.estimates["test_accuracy"])
    ours = "" if math.isnan(mean) else f"{mean:.2f}" + ("" if math.isnan(low) else f" ({low:.2f}, {high:.2f})")
    relative = row.estimates.get("flops_relative", (math.nan,))[0]
    cost = "" if math.isnan(relative) else f"{relative:.2f}"
    runs = f"{row.runs}" + (f", {row.diverged} diverged" if row.diverged else "")
    if theirs is None:
        return f"| {row.condition} | {runs} | {ours} | | | {cost} | |"
    difference = "" if math.isnan(theirs.difference) else f"{100 * theirs.difference:+.2f}"
    why = "; ".join(theirs.differs) or "like for like"
    return f"| {row.condition} | {runs} | {ours} | {_theirs(theirs)} | {difference} | {cost} | {why} |"


def _theirs(row: figures.Comparison) -> str:
    spread = "" if row.theirs.std is None else f" ± {100 * row.theirs.std:.2f}"
    return f"{100 * row.theirs.accuracy:.2f}{spread}"
