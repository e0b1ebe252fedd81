"""What the terminal prints: every string as it is, nothing cut, no accuracy of a run that has none."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from studies import TINY

from rfmodel import progress, protocols, store, tables, tables_of_runs
from rfmodel.study import Outcome, run_study

TITLE = "x [/b] [red]y[/red] :smile: [/]"
LONG = "BP [/x] into a retina whose name is as long as a file name may ever be, and on"
LABEL = "BP [/x] :dog:"


@pytest.fixture(autouse=True)
def pipe(monkeypatch):
    """Print as into a pipe."""
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, text: str) -> protocols.Protocol:
    path = folder / "tiny.toml"
    path.write_text(text.replace("shift = 0.1", "shift = 0.0"), encoding="utf-8")
    return protocols.load(path)


@pytest.fixture
def nasty(tmp_path):
    return written(tmp_path, TINY.replace('title = "tiny"', f'title = "{TITLE}"').replace('"BP, wide"', f'"{LABEL}"'))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of three runs, one of which is said to have diverged, and its longest file name."""
    folder = tmp_path_factory.mktemp("study")
    text = TINY.replace("seed = [0, 1]", "seed = [0]").replace("epochs = 2", "epochs = 1")
    text = text.replace(
        '"BP, wide"', '"BP [/x] into a retina whose name is as long as a file name may ever be, and on"'
    )
    run_study(written(folder, text), folder)
    path = next((folder / "runs").glob("ldfa*.nc"))
    lost = store.load(path)
    store.save(lost.assign_attrs(state="diverged"), path)
    return folder


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


def test_progress_prints_titles_and_labels_as_they_are(nasty, tmp_path, capsys):
    with progress.StudyProgress(nasty, tmp_path / "out") as shown:
        shown.started(nasty.runs[0], 2, 10)
        shown.spoken = -1e9
        shown.progress(nasty.runs[0], 1, 5, 0.5)
        shown.ended(Outcome(nasty.runs[0], "done", 0.5, 1.0))
    out = capsys.readouterr().out
    assert f"{TITLE}\n6 runs in 3 conditions -> {tmp_path / 'out'}\n" in out
    assert f"run 1/6  {LABEL}, seed 0: epoch 1/2  loss 0.500\n" in out
    assert f"[1/6] {LABEL}, seed 0: done, test accuracy 50.0 %  1 s\n" in out


def test_progress_bars_of_a_terminal_show_labels_as_they_are(nasty, tmp_path, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    with progress.StudyProgress(nasty, tmp_path) as shown:
        shown.started(nasty.runs[0], 2, 10)
    with progress.transfer("set [/b]") as told:
        told("set [/b]", 1, 2)
    assert f"{LABEL}, seed 0" in stream.getvalue()
    assert "set [/b]" in stream.getvalue()


@pytest.mark.parametrize(
    ("state", "kept", "words"),
    [
        ("done", False, "done, test accuracy 8.3 %"),
        ("diverged", False, "diverged"),
        ("done", True, "kept from before, test accuracy 8.3 %"),
        ("diverged", True, "kept from before, diverged"),
    ],
)
def test_end_of_a_run_says_its_accuracy_unless_it_diverged(nasty, tmp_path, capsys, state, kept, words):
    shown = progress.StudyProgress(nasty, tmp_path)
    shown.ended(Outcome(nasty.runs[0], state, 0.083, 0.0, kept=kept))
    assert capsys.readouterr().out.splitlines()[-1] == f"[1/6] {LABEL}, seed 0: {words}"


def test_protocol_is_shown_with_its_strings_as_they_are(nasty, tmp_path, capsys):
    tables.show_protocol(str(tmp_path / "tiny.toml"))
    out = capsys.readouterr().out
    assert TITLE in out
    assert LABEL in out


def test_cells_titles_and_heads_of_any_table_are_printed_as_they_are(capsys):
    tables.show_rows("bench [/b]", [{"head [/c]": "cell [/d]"}])
    out = capsys.readouterr().out
    assert all(text in out for text in ("bench [/b]", "head [/c]", "cell [/d]"))


def test_every_condition_of_a_sweep_is_listed_with_its_own_settings(tmp_path, capsys):
    sweep = 'name = "BP, {bottleneck} into {depth}"\naxes.depth = [0, 2]'
    written(tmp_path, TINY.replace('name = "BP, bottleneck {bottleneck}"', sweep))
    tables.show_protocol(str(tmp_path / "tiny.toml"))
    lines = capsys.readouterr().out.splitlines()
    cells = {c[0]: c[1:] for line in lines if len(c := [cell.strip() for cell in line.split("│")[1:-1]]) == 4}
    assert list(cells) == ["BP, wide", "BP, 2 into 0", "BP, 2 into 2", "LDFA, r = 2"]
    assert cells["BP, 2 into 0"] == ["retina_vvs, bottleneck 2, depth 0, width 4", "bp", "2"]
    assert cells["BP, 2 into 2"] == ["retina_vvs, bottleneck 2, depth 2, width 4", "bp", "2"]


def test_nothing_is_cut_in_a_pipe(finished, capsys):
    files = store.run_files(finished)
    assert max(len(path.name) for path in files) > 60
    tables_of_runs.show_study(finished)
    out = capsys.readouterr().out
    assert "…" not in out
    assert all(path.name in out for path in files)
    assert LONG in out
    tables_of_runs.show_run(files[0])
    out = capsys.readouterr().out
    assert "…" not in out
    assert {str(name) for name in store.load(files[0]) if name.startswith(("loss", "accuracy"))} <= set(out.split())


def test_narrow_console_folds_and_cuts_nothing(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    tables_of_runs.show_study(finished)
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 60


def test_diverged_run_is_listed_without_an_accuracy(finished, capsys):
    tables_of_runs.show_study(finished)
    lines = [line for line in capsys.readouterr().out.splitlines() if ".nc" in line]
    assert len(lines) == 3
    for line in lines:
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        assert (cells[4] == "-") == (cells[2] == "diverged")
        assert (cells[4].endswith("%")) == (cells[2] == "done")


def test_runs_of_one_label_with_other_settings_are_listed_apart(finished, tmp_path, capsys):
    run = store.load(store.run_files(finished)[0])
    for name, rate in (("a_seed0_0123456789ab", "0.001"), ("b_seed0_0123456789ab", "0.5")):
        text = run.attrs["settings"].replace('"learning_rate":0.001', f'"learning_rate":{rate}')
        (tmp_path / "runs").mkdir(exist_ok=True)
        store.save(run.assign_attrs(settings=text, name=name), tmp_path / "runs" / f"{name}.nc")
    tables_of_runs.show_study(tmp_path)
    out = capsys.readouterr().out
    assert "(train.optimiser.learning_rate 0.001)" in out
    assert "(train.optimiser.learning_rate 0.5)" in out


def test_a_download_is_shown_by_what_it_fetches():
    from rfmodel.progress import transfer

    with transfer("cifar10") as progress:
        progress("cifar-10-python.tar.gz", 1, None)
        progress("cifar-10-python.tar.gz", 2, 2)


def test_drawing_names_each_figure():
    from rfmodel.progress import drawing

    with drawing() as progress:
        progress("Receptive fields [/b]")
