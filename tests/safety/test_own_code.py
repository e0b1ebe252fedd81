"""A study by a rule of the user's own: what reads it executes the rule's file by leave, and never without."""

from __future__ import annotations

import shutil
from unittest import mock

import pytest
from safety.commands import call
from studies import TINY

from rfmodel import protocols, store, study
from rfmodel.errors import InputError

RULE = """
from rfmodel.routing import make_rule
open({canary!r}, "w").close()
def my_rule(**options):
    return make_rule("fa")
"""
OWN = TINY.split("[[conditions]]")[0].replace("epochs = 2", "epochs = 0").replace("seed = [0, 1]", "seed = [0]")
OWN += '[[conditions]]\nrules.retina = "my_rules.py:my_rule"\n'
READING = {  # which do not need what the rule does
    "ls": ("ls", "{study}"),
    "show a run": ("show", "{run}"),
    "show a protocol": ("show", "{protocol}"),
    "report": ("report", "{study}", "--out", "{place}/report"),
}
BUILDING = {
    "validate": ("validate", "{protocol}"),
    "cost": ("cost", "{protocol}"),
    "run": ("run", "{protocol}", "--out", "{place}/other", "--device", "cpu"),
    "rf": ("rf", "{study}", "--layer", "retina.conv2"),
    "analyse": ("analyse", "{study}", "--analysis", "tuning"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A protocol beside a rule file that leaves a trace where it is executed, and a study that was run by it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_rules.py").write_text(RULE.format(canary=str(folder / "canary")))
    (folder / "own.toml").write_text(OWN)
    study.run_study(protocols.load(folder / "own.toml", allow_code=True), folder / "sane")
    return folder


@pytest.fixture
def at(place, monkeypatch):
    """The same, with the study as it was and no trace, to a process that has executed nothing yet."""
    monkeypatch.setattr("rfmodel.user_rules._LOADED", {})
    shutil.rmtree(place / "study", ignore_errors=True)
    shutil.copytree(place / "sane", place / "study")
    (place / "canary").unlink(missing_ok=True)
    return place


def on(at, words, *more):
    folder = at / "study"
    (run,) = store.run_files(folder)
    names = {"study": folder, "run": run, "protocol": at / "own.toml", "place": at}
    with mock.patch("rfmodel.figures.plates", lambda *_, **__: iter(())):
        return call(*(word.format(**names) for word in words), *more)


@pytest.mark.parametrize("command", READING)
def test_what_only_reads_a_study_executes_no_code_of_it(at, command):
    assert on(at, READING[command]).code == 0
    assert not (at / "canary").exists()


@pytest.mark.parametrize("command", BUILDING)
def test_what_builds_a_network_executes_its_rules_file_only_by_leave(at, command):
    told = on(at, BUILDING[command])
    assert told.refused and "'my_rules.py' is code that this would execute; read it, then give --allow-code" in told.err
    assert not (at / "canary").exists()
    assert on(at, BUILDING[command], "--allow-code").code in (0, None)
    assert (at / "canary").exists()


def a_link_out(kept):
    kept.rename(kept.parent.parent.parent / "elsewhere.py")
    kept.symlink_to(kept.parent.parent.parent / "elsewhere.py")


def a_linked_folder(kept):
    shutil.rmtree(kept.parent.parent.parent / "folder", ignore_errors=True)
    kept.parent.rename(kept.parent.parent.parent / "folder")
    kept.parent.symlink_to(kept.parent.parent.parent / "folder")


def a_folder(kept):
    kept.unlink()
    kept.mkdir()


def another(kept):
    kept.write_text(kept.read_text() + "\n")


def nothing(kept):
    kept.unlink()


HARM = {
    "a link out": (a_link_out, "leads out of the study's folder 'rules': the study kept 'my_rules.py' in it"),
    "a linked folder": (a_linked_folder, "leads out of the study's folder 'rules'"),
    "a folder": (a_folder, "cannot be read .it is no file, but a folder, pipe or device"),
    "another file": (another, "'my_rules.py' was edited: its sha256 is"),
    "nothing": (nothing, "is not there: the study kept 'my_rules.py' in it"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_kept_rule_that_is_not_the_studys_own_file_is_not_executed(at, harm):
    make, message = HARM[harm]
    (kept,) = (at / "study" / "rules").iterdir()
    make(kept)
    with pytest.raises(InputError, match=message):
        study.extract_again(at / "study", ["retina.conv2"], out=at / "f.nc", allow_code=True)
    assert on(at, BUILDING["rf"], "--allow-code").refused
    assert not (at / "canary").exists()
