"""Going on with a study: what is done stays, what failed is named and tried again only when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
import xarray as xr
from studies import TINY
from typer.testing import CliRunner

from rfmodel import protocols, store, study, training
from rfmodel.checkpoints import interval
from rfmodel.cli import app
from rfmodel.errors import InputError
from rfmodel.running import one, outcomes
from rfmodel.store.claims import Claims
from rfmodel.store.failures import failures

SMALL = TINY.replace("seed = [0, 1]", "seed = [0]").replace("epochs = 2", "epochs = 1").replace(
    "[axes]", "[fields]\nlayers = []\n[axes]"
)  # fmt: skip


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def faulty(monkeypatch):
    """Let the training of chosen conditions raise; returns the dict of what each raises."""
    train, errors = training.train, {}

    def raising(settings, *args, **options):
        rule = next(iter(settings.rules.values())).name if settings.rules else "bp"
        if rule in errors:
            raise errors[rule]
        return train(settings, *args, **options)

    monkeypatch.setattr(training, "train", raising)
    return errors


def command(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_a_run_that_fails_is_recorded_and_the_others_go_on(small, tmp_path, faulty):
    faulty["ldfa"] = RuntimeError("shape '[2]' is invalid\nfor input")
    found = study.run_study(protocols.load(small), tmp_path / "out")
    assert sorted(outcome.state for outcome in found) == ["done", "done", "failed"]
    (failure,) = failures(tmp_path / "out").values()
    assert failure.error == "RuntimeError: shape '[2]' is invalid for input"
    assert "in raising" in failure.traceback
    assert not list((tmp_path / "out" / "runs").glob("*.claim*"))


def test_a_run_that_failed_is_tried_again_only_when_asked(small, tmp_path, faulty):
    faulty["ldfa"] = RuntimeError("no")
    read, out = protocols.load(small), tmp_path / "out"
    study.run_study(read, out)
    before = [(o.state, o.kept) for o in study.run_study(read, out)]
    assert sorted(before) == [("done", True), ("done", True), ("failed", True)]
    again = study.run_study(read, out, manner=study.Manner(retry=["failed"]))
    assert [o.state for o in again if not o.kept] == ["failed"]
    assert [failure.attempts for failure in failures(out).values()] == [2]
    faulty.clear()
    again = study.run_study(read, out, manner=study.Manner(retry=["failed"]))
    assert [o.state for o in again if not o.kept] == ["done"]
    assert not failures(out)


def test_a_study_all_of_whose_runs_fail_by_what_was_given_is_refused(small, tmp_path, faulty):
    faulty["bp"] = faulty["ldfa"] = InputError("rule 'x' will not do; use another")
    with pytest.raises(InputError, match="rule 'x' will not do; use another"):
        study.run_study(protocols.load(small), tmp_path / "out")


def test_a_disk_that_cannot_be_written_stops_the_study(small, tmp_path, faulty):
    faulty["bp"] = store.Unwritable("'a' cannot be written: the disk is full")
    with pytest.raises(store.Unwritable):
        study.run_study(protocols.load(small), tmp_path / "out")
    assert not failures(tmp_path / "out")


def test_what_may_be_retried_is_named(small, tmp_path):
    with pytest.raises(InputError, match="--retry 'lost' is unknown: known is failed"):
        study.run_study(protocols.load(small), tmp_path / "out", manner=study.Manner(retry=["lost"]))


def test_a_run_that_another_process_has_is_left_to_it_where_nobody_waits(small, tmp_path):
    read, out = protocols.load(small), tmp_path / "out"
    store.prepare(out, read.text)
    with Claims(out) as others:
        assert others.take(read.runs[1].name)
        found = study.run_study(read, out, manner=study.Manner(wait=False))
    states = {outcome.run.name: outcome.state for outcome in found}
    assert states.pop(read.runs[1].name) == "elsewhere"
    assert set(states.values()) == {"done"}


def test_a_run_that_another_process_finishes_is_waited_for(small, tmp_path, monkeypatch):
    read, out, told = protocols.load(small, only=["condition=BP, wide"]), tmp_path / "out", []
    store.prepare(out, read.text)
    others = Claims(out)
    claim = others.take(read.runs[0].name)

    def finish(line):  # as the other process would, while this one waits
        told.append(line)
        context = one.Context(out, None, "cpu", study.interval("never"))
        result, dataset = one.execute(read.runs[0], context.data(read.runs[0]))
        store.save(dataset, store.run_path(out, read.runs[0].name))
        claim.release()

    (outcome,) = study.run_study(read, out, told=finish)
    others.close()
    assert (outcome.state, outcome.kept) == ("done", True)
    assert told == ["BP, wide, seed 0: another process has it under way"]


def test_the_failure_that_another_process_has_just_recorded_is_not_repeated(small, tmp_path):
    read, out = protocols.load(small, only=["condition=BP, wide"]), tmp_path / "out"
    store.prepare(out, read.text)
    store.record_failure(out, one.failure_of(read.runs[0], RuntimeError("no"), 1))
    context = one.Context(out, None, "cpu", study.interval("never"))
    with Claims(out) as claims:
        outcome = one.complete(read.runs[0], context, claims)
    assert (outcome.state, outcome.kept, outcome.error) == ("failed", True, "RuntimeError: no")


def test_a_failure_while_fields_are_measured_does_not_cost_the_training(small, tmp_path, monkeypatch):
    read = protocols.load(small, ["fields.layers=['retina.conv2']"], ["condition=BP, wide"])
    measured, epochs = one.Seen.measured, []
    monkeypatch.setattr(one.Seen, "measured", lambda *_: (_ for _ in ()).throw(MemoryError("too large")))
    manner = study.Manner(checkpoint="1 epochs", retry=["failed"])
    (outcome,) = study.run_study(read, tmp_path / "out", manner=manner)
    assert outcome.error == "MemoryError: too large"
    monkeypatch.setattr(one.Seen, "measured", measured)
    (outcome,) = study.run_study(
        read, tmp_path / "out", manner=manner, progress=lambda run, epoch, step, loss: epochs.append(epoch)
    )
    assert outcome.state == "done" and not epochs


def test_what_a_crash_left_beside_finished_runs_is_removed(small, tmp_path):
    read, out = protocols.load(small, only=["condition=BP, wide"]), tmp_path / "out"
    study.run_study(read, out)
    name = read.runs[0].name
    before = {path.name for path in out.rglob("*")}
    for left in (
        store.checkpoint_path(out, name), store.claim_path(out, name, 3), store.failure_path(out, name),
        out / "runs" / f"{name}.checkpoint.previous", out / "runs" / f".{name}.nc.0123456789ab-1-1-01234567.part",
    ):  # fmt: skip
        left.write_bytes(b"half")
    store.tidy(out)
    left = {path.name for path in out.rglob("*")} - before
    assert all(name.endswith(".part") for name in left)  # another machine's writer may live


def test_the_command_says_what_failed_and_how_to_go_on(small, tmp_path, faulty):
    faulty["ldfa"] = RuntimeError("no \x1b[31mred")
    out = tmp_path / "out"
    done = command("run", small, "--out", out)
    assert done.exit_code == 1
    assert "3 run, 0 kept from before, 1 failed (LDFA, r = 2 seed 0)" in done.output
    assert "--retry failed" in done.output
    listed = command("ls", out)
    assert "failed: LDFA, r = 2, seed 0 (once): RuntimeError: no" in listed.output
    assert "\x1b" not in listed.output
    (path,) = (out / "runs").glob("*.failed.json")
    shown = command("show", path)
    assert "failed once" in shown.output and "Traceback" in shown.output
    assert command("run", small, "--out", out).exit_code == 1
    faulty.clear()
    assert command("run", small, "--out", out, "--retry", "failed").exit_code == 0


def test_a_failure_is_shown_wherever_its_file_is_named_from(small, tmp_path, faulty, monkeypatch):
    faulty["ldfa"] = RuntimeError("no such luck")
    study.run_study(protocols.load(small), tmp_path / "out")
    (path,) = (tmp_path / "out" / "runs").glob("*.failed.json")
    monkeypatch.chdir(path.parent)
    assert "RuntimeError: no such luck" in command("show", path.name).output
    path.write_text("{")
    refused = command("show", path.name).exception
    assert isinstance(refused, InputError)
    assert "is damaged" in str(refused) and path.name in str(refused)


@pytest.mark.parametrize(("given", "told"), [({"workers": 0}, "--workers 0"), ({"lease": float("nan")}, "--lease nan")])
def test_a_manner_that_cannot_be_is_refused(given, told):
    with pytest.raises(InputError, match=told):
        study.Manner(**given)


def test_noise_that_never_rests_does_not_depend_on_what_was_drawn_before(tmp_path):
    (tmp_path / "noisy.toml").write_text(TINY)
    noise = ["network.input_noise=0.3", 'network.noise="always"', "train.epochs=2", "fields.at=[0.5]"]
    runs = protocols.load(tmp_path / "noisy.toml", noise, ["seed=0", "condition=BP*"]).runs
    context = one.Context(tmp_path, None, "cpu", interval("never"))
    found = []
    for order in (runs, runs[::-1]):  # as one process does them, and as another that is given the second first
        found.append({run.name: one.execute(run, context.data(run))[1] for run in order})
    own = ["images_per_second", "peak_memory"]
    for run in runs:
        ours, theirs = (results[run.name].drop_vars(own) for results in found)
        xr.testing.assert_equal(ours, theirs)


def test_the_list_says_what_is_running_and_what_is_left(small, tmp_path):
    read, out = protocols.load(small), tmp_path / "out"
    store.prepare(out, read.text)
    store.write_plan(out, [{"name": r.name, "condition": r.condition, "seed": 0} for r in read.runs])
    with Claims(out) as others:
        others.take(read.runs[1].name)
        listed = command("ls", out).output
    assert "0 runs, 1 running" in listed
    assert "running" in next(line for line in listed.splitlines() if "BP, bottleneck 2 " in line)
    assert "2 of its protocol left: BP, wide, seed 0, LDFA, r = 2, seed 0" in listed


def test_a_run_under_way_is_shown_by_its_checkpoint(small, tmp_path):
    read, out = protocols.load(small, ["train.epochs=3"], ["condition=BP, wide"]), tmp_path / "out"

    def stop(run, epoch, step, loss):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_study(read, out, progress=stop, manner=study.Manner(checkpoint="1 epochs"))
    (path,) = (out / "runs").glob("*.checkpoint")
    shown = command("show", path).output
    assert "epoch 3, step 0" in shown and "taken up 0 times; best validation accuracy" in shown
    path.write_bytes(path.read_bytes()[:-100])
    done = command("show", path)
    assert isinstance(done.exception, InputError)
    assert "cannot be read" in str(done.exception)


@pytest.mark.parametrize(
    ("asked", "environment", "ways"),
    [
        (["--workers", "2", "--dask", "tcp://a:1"], {}, "--workers 2 and --dask tcp://a:1"),
        (["--workers", "2"], {"WORLD_SIZE": "2"}, "--workers 2 and torchrun"),
    ],
)
def test_two_ways_of_sharing_the_work_are_refused(small, tmp_path, monkeypatch, asked, environment, ways):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    done = command("run", small, "--out", tmp_path / "out", *asked)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"{ways} are different ways to share the work; use one of them"


def test_a_study_of_which_nothing_is_left_needs_neither_torch_nor_xarray(small, tmp_path):
    out = tmp_path / "out"
    assert command("run", small, "--out", out).exit_code == 0
    program = (
        f"import sys; sys.argv = ['rfmodel', 'run', {str(small)!r}, '--out', {str(out)!r}]\n"
        "from rfmodel.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "brought = {'torch', 'xarray', 'h5py', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(brought) if brought else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 run, 3 kept from before" in done.stdout


def test_a_thousand_runs_are_checked_against_one_listing(small, tmp_path, monkeypatch):
    read = protocols.load(small, [f"axes.seed={list(range(334))}"])
    assert len(read.runs) > 1000
    calls = []
    listed = store.entries
    monkeypatch.setattr(store, "entries", lambda folder: calls.append(folder) or listed(folder))
    stands = outcomes.standing(read, tmp_path / "out")
    assert len(stands.left) == len(read.runs) and len(calls) == 1
