"""Studies that nobody vouches for: whatever file of theirs is spoilt, each command ends in order and runs no code."""

from __future__ import annotations

import json
import shutil
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safety.commands import call
from safety.crafted import craft
from safety.malformed_files import payloads, spoilt
from studies import TINY

from rfmodel import protocols, store, study
from rfmodel.checkpoints import Checkpoints, interval
from rfmodel.store.alive import machine
from rfmodel.store.holders import LENGTH

QUICK = settings(
    deadline=None, max_examples=20, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
CHANGES = ("data.options.train_per_class=8", 'fields.layers=["retina.conv2"]')
CHOSEN = ("--only", "seed=0", *(word for change in CHANGES for word in ("--set", change)), "--device", "cpu")
COMMANDS = {
    "ls": ("ls", "{study}"),
    "show a run": ("show", "{runs}/{done}.nc"),
    "show a checkpoint": ("show", "{runs}/{begun}.checkpoint"),
    "show a failure": ("show", "{runs}/{failed}.failed.json"),
    "rf": ("rf", "{study}", "--layer", "retina.conv2"),
    "analyse": ("analyse", "{study}", "--analysis", "tuning"),
    "report": ("report", "{study}"),
    "animate": ("animate", "{study}", "--out", "{study}/fields.gif"),
    "run": ("run", "{protocol}", "--out", "{study}", "--lease", "1", *CHOSEN),
    "retry": ("run", "{protocol}", "--out", "{study}", "--retry", "failed", "--lease", "1", *CHOSEN),
}
# What reads a file, and what therefore is tried most on one of its kind.
READERS = {
    ".nc": ("ls", "show a run", "rf", "analyse", "report", "run"),
    ".pt": ("rf", "analyse"),
    ".checkpoint": ("show a checkpoint", "run", "run"),
    ".checkpoint.previous": ("run",),
    ".failed.json": ("ls", "show a failure", "run", "retry"),
    ".claim1": ("ls", "ls", "ls", "run"),
    "manifest.json": ("ls", "run"),
    "consolidated.npz": ("report", "animate"),
    "protocol.toml": ("ls", "report", "run"),
    ".json": ("ls", "run"),
}


class Interrupted(Exception):
    """Raised on purpose, in the middle of a training."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A protocol, and a study of a finished run, one under way and one that failed."""
    folder = tmp_path_factory.mktemp("study")
    furnish(folder)
    return folder


def furnish(folder):
    """Write the protocol, and make of its first seed a study with every kind of file."""
    path, sane = folder / "tiny.toml", folder / "sane"
    path.write_text(TINY)
    read = protocols.load(path, CHANGES, ("seed=0",))
    done, failed, begun = read.runs
    study.run_study(protocols.load(path, CHANGES, ("seed=0", "condition=BP, wide")), sane)
    store.write_plan(sane, [{"name": r.name, "condition": r.condition, "seed": r.settings.seed} for r in read.runs])
    store.record_failure(sane, store.Failure(failed.name, failed.condition, 0, "OSError: x", 1, "now", "here", "a\nb"))
    data = study.open_data(begun.settings, None, "cpu")
    kept = Checkpoints(store.checkpoint_path(sane, begun.name), begun.identity, data.fingerprint, interval("1 step"))
    with pytest.raises(Interrupted):
        study.execute(begun, data, "cpu", _interrupt, kept)
    dead = {"claim": "0" * 24, "host": "here", "machine": machine(), "pid": 2**22 + 1, "start": 1}
    row = json.dumps(dead | {"since": "2026-01-01T00:00:00+00:00", "beat": 0}).encode()
    store.claim_path(sane, begun.name, 1).write_bytes(row.ljust(LENGTH - 1) + b"\n")
    assert store.entries(sane) and store.consolidate(sane, fewest=1)
    names = {"done": done.name, "failed": failed.name, "begun": begun.name}
    (folder / "names.json").write_text(json.dumps(names))


def _interrupt(epoch, step, loss):
    if epoch == 2:
        raise Interrupted


def on(place, what):
    """Return how a command on the study ends; what a training is begun by is its first epoch, checkpoints taken up."""
    names = json.loads((place / "names.json").read_text())
    study = place / "study"
    words = (
        word.format(study=study, runs=study / "runs", protocol=place / "tiny.toml", **names) for word in COMMANDS[what]
    )
    with mock.patch("rfmodel.figures.plates", lambda *_, **__: iter(())):  # a second each
        return call(*words, beginning="rfmodel.loop.Loop.epoch")


def fresh(place):
    """Lay the sane study out anew; return its files."""
    shutil.rmtree(place / "study", ignore_errors=True)
    shutil.copytree(place / "sane", place / "study")
    return sorted(path for path in (place / "study").rglob("*") if path.is_file())


def check(place, draw):
    """Fail unless a command on a study with one spoilt file ends in order: done, refused in one line, or to train.

    Returns the kind of file and how the command ended.
    """
    files = fresh(place)
    file = files[draw(st.integers(0, len(files) - 1))]
    crafted = draw(st.booleans())
    if crafted:
        craft(draw, file)
    else:
        file.write_bytes(draw(spoilt([file.read_bytes()], payloads(place / "canary"))))
    kind = next(end for end in READERS if file.name.endswith(end))
    readers = READERS[kind]
    what = readers[draw(st.integers(0, len(readers) - 1))]
    ended = on(place, what)
    lost = what == "run" and ended.code == 1 and "failed" in ended.out  # a run whose checkpoint will not do
    assert ended.code in (0, None) or ended.refused or lost, (file, what, ended)
    assert not (place / "canary").exists()
    assert not any(
        "Traceback" in path.read_text() for path in (place / "study" / "runs").glob("*.failed.json") if path != file
    )
    return f"{'crafted' if crafted else 'spoilt'} {kind} {'refused' if ended.refused else 'harmless'}"


@pytest.mark.parametrize("what", COMMANDS)
def test_no_command_refuses_the_sane_study(place, what):
    fresh(place)
    ended = on(place, what)
    assert ended.code == (None if what in ("run", "retry") else 0), ended


@given(data=st.data())
@QUICK
def test_a_spoilt_file_of_a_study_is_refused_in_one_line_or_harmless(place, data):
    check(place, data.draw)


@pytest.mark.slow
@given(data=st.data())
@settings(QUICK, max_examples=1200)
def test_twelve_hundred_spoilt_files_of_a_study_are_refused_in_one_line_or_harmless(place, data):
    check(place, data.draw)


def test_words_where_numbers_should_stand_are_refused(place):
    fresh(place)
    run = next((place / "study" / "runs").glob("*.nc"))
    dataset = store.load_run(run)
    store.save(dataset.assign(p0=(dataset["p0"].dims, np.full(dataset["p0"].shape, "x"))), run)
    told = on(place, "report")
    assert told.refused and "do not fit together ('p0' holds words)" in told.err


@pytest.mark.parametrize("number", range(6))
def test_weights_that_are_a_program_are_never_executed(place, number):
    fresh(place)
    path = next((place / "study" / "runs").glob("*.pt"))
    path.write_bytes(payloads(place / "canary")[3 * number])
    run = path.with_suffix(".nc")
    for told in (store.load_run(run).attrs["weights_sha256"], store.digest(path)):  # the second is no help of checksums
        store.save(store.load_run(run).assign_attrs(weights_sha256=told), run)
        assert on(place, "rf").refused
    assert not (place / "canary").exists()


@pytest.mark.parametrize("number", range(6))
def test_a_checkpoint_that_is_a_program_is_never_executed(place, number):
    fresh(place)
    for path in (place / "study" / "runs").glob("*.checkpoint*"):  # of the newest alone, the one before takes its place
        path.write_bytes(payloads(place / "canary")[3 * number])
    assert on(place, "show a checkpoint").refused
    ended = on(place, "run")  # the run fails for it, by name, and the study goes on
    assert ended.code == 1 and "cannot be read" in ended.out
    assert not (place / "canary").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 5000, b"a." * 40 + b"a = 1", b"published = 1979-05-27\n"])
def test_a_spoilt_protocol_of_a_study_spoils_its_report_alone(place, content):
    fresh(place)
    (place / "study" / "protocol.toml").write_bytes(content + b"\n#\n")
    assert on(place, "report").refused
    assert on(place, "ls").code == 0
