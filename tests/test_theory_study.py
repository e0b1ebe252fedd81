"""Studies of solvable models: what is kept, gone on with, opened and told, whatever happens to a file or a process."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from rfmodel import cli, open_study, open_theory, protocols, store, theory_study
from rfmodel.errors import InputError

LINEAR = """
title = "small"
theory = "linear_dynamics"
seeds = 2
[task]
inputs = 8
hidden = 6
outputs = 5
spectrum = { modes = 3 }
[integration]
duration = 5.0
points = 6
[[conditions]]
name = "gradient descent"
[[conditions]]
name = "FA, r = {rank}"
feedback.name = "fa"
axes.rank = [2, 5]
[[conditions]]
name = "three seeds, online"
seeds = 3
integration = { points = 9, manners = ["flow", "online"] }
"""
FACTOR = """
title = "small"
theory = "matrix_factorisation"
seeds = 2
[matrix]
rows = 6
columns = 5
spectrum = { modes = 3 }
[integration]
duration = 5.0
points = 6
[[conditions]]
name = "{rule}, r = {width}"
axes.rule = ["gd", "fa"]
axes.width = [1, 2]
"""


def fake(settings, progress=None):
    """Results of the form that a model's have, equal wherever they are made."""
    linear = settings.theory == "linear_dynamics"
    manners, points, seeds = settings.integration.manners, settings.integration.points, settings.seeds
    modes = (settings.task if linear else settings.matrix).spectrum.modes
    rng = np.random.default_rng(0)
    variables = {
        "time": ("point", np.linspace(0, settings.integration.duration, points), {"units": "tau"}),
        "singular_values": (("seed", "mode"), np.ones((seeds, modes))),
        "error": (("manner", "seed", "point"), rng.uniform(size=(len(manners), seeds, points))),
        "difference": (("manner", "seed"), np.array([[0.0] * seeds] + [[0.25] * seeds] * (len(manners) - 1))),
    }
    if linear:
        variables["recovered"] = ("seed", np.arange(seeds))
    else:
        variables["ratio"] = ("seed", np.full(seeds, 3.0 if settings.rule.width == 1 else np.nan))
    if progress is not None:
        progress(0.5)
    coords = {"manner": list(manners), "seed": range(seeds), "mode": range(1, modes + 1)}
    return xr.Dataset(variables, coords, {"model": settings.theory, "steps": 7})


@pytest.fixture
def linear(tmp_path):
    return written(tmp_path, LINEAR)


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(theory_study, "solve", fake)


def written(folder, text, *overrides, name="small.toml", only=()):
    (folder / name).write_text(text)
    return protocols.load(folder / name, overrides, only)


@pytest.fixture
def rfmodel(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rfmodel", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    monkeypatch.delenv("RFMODEL_DATA", raising=False)
    return call


def content(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "theory").glob("*.nc")}


@pytest.mark.parametrize("text", [LINEAR, FACTOR], ids=["linear", "factorisation"])
def test_a_study_of_each_model_is_run_kept_opened_and_run_no_second_time(text, tmp_path):
    protocol, out = written(tmp_path, text), tmp_path / "out"
    first = theory_study.run_theory(protocol, out)
    assert [solved.kept for solved in first] == [False] * len(protocol.runs)
    before = content(out)
    again = theory_study.run_theory(protocol, out)
    assert [solved.kept for solved in again] == [True] * len(protocol.runs)
    assert content(out) == before
    study = open_theory(out)
    assert study["condition"].values.tolist() == [run.condition for run in protocol.runs]
    assert study.attrs["model"] == protocol.theory
    for run, solved in enumerate(first):
        one = solved.result["error"].sel({"manner": "flow"}).values
        seeds, points = one.shape
        np.testing.assert_array_equal(study["error"][run].sel({"manner": "flow"}).values[:seeds, :points], one)


def test_results_do_not_depend_on_where_or_when_they_are_computed(linear, tmp_path):
    one, other = (theory_study.run_theory(linear, tmp_path / out)[1].result for out in ("a", "b"))
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


def test_an_opened_study_stands_in_order_with_gaps_of_nan(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path / "out")
    study = open_theory(tmp_path / "out")
    assert dict(study.sizes) == {"run": 4, "manner": 3, "seed": 3, "point": 9, "mode": 3}
    assert study["manner"].values.tolist() == ["flow", "full_batch", "online"]
    assert study["mode"].values.tolist() == [1, 2, 3]
    assert study["rule"].values.tolist() == ["gd", "fa", "fa", "gd"]
    np.testing.assert_array_equal(study["rank"].values, [np.nan, 2, 5, np.nan])
    assert set(study["law"].values) == {"linear"}
    assert [name.split("_")[-1] for name in study["name"].values] == [run.identity for run in linear.runs]
    held = np.isfinite(study["error"].values)
    assert held[3, [0, 2]].all() and not held[3, 1].any()
    assert held[0, :2, :2, :6].all() and not held[0, :, 2].any() and not held[0, :, :, 6:].any()
    assert json.loads(str(study["settings"].values[1]))["feedback"]["rank"] == 2
    assert {"versions", "hardware", "commit", "seconds", "preset", "identity", "steps"} <= set(study.data_vars)
    assert study["time"].attrs == {"units": "tau"}


def test_each_file_says_where_it_comes_from(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path / "out")
    run = linear.runs[1]
    attrs = store.load_theory(store.theory_path(tmp_path / "out", run.name)).attrs
    assert (attrs["condition"], attrs["rule"], attrs["rank"], attrs["position"]) == ("FA, r = 2", "fa", 2.0, 1)
    assert (attrs["name"], attrs["identity"], attrs["model"]) == (run.name, run.identity, "linear_dynamics")
    assert type(run.settings).model_validate_json(attrs["settings"]) == run.settings
    assert {"python", "numpy", "torch", "rfmodel"} <= set(json.loads(attrs["versions"]))
    assert json.loads(attrs["hardware"])["device"] == "cpu"
    assert store.protocol_text(tmp_path / "out") == LINEAR


def test_one_is_told_of_every_begin_share_and_end(faked, linear, tmp_path):
    heard = []
    theory_study.run_theory(linear, tmp_path / "out", started=lambda run: heard.append(("begun", run.condition)),
                            progress=lambda run, share: heard.append((share, run.condition)),
                            ended=lambda solved: heard.append(("ended", solved.run.condition)))  # fmt: skip
    labels = [run.condition for run in linear.runs]
    for label in labels:
        assert [what for what, name in heard if name == label] == ["begun", 0.5, "ended"]
    assert [name for what, name in heard if what == "ended"] == labels
    theory_study.run_theory(linear, tmp_path / "out", started=lambda run: pytest.fail("begun again"))


def test_a_condition_that_fails_ends_the_study_and_those_before_it_are_kept(monkeypatch, linear, tmp_path):
    def failing(settings, progress=None):
        if settings.feedback.rank == 5:
            raise InputError("the flow is not finite after time 3; start from smaller weights")
        return fake(settings)

    monkeypatch.setattr(theory_study, "solve", failing)
    told = "small.toml: condition 'FA, r = 5': the flow is not finite after time 3"
    with pytest.raises(InputError, match=told):
        theory_study.run_theory(linear, tmp_path / "out")
    assert open_theory(tmp_path / "out")["condition"].values.tolist() == ["gradient descent", "FA, r = 2"]
    monkeypatch.setattr(theory_study, "solve", fake)
    assert [one.kept for one in theory_study.run_theory(linear, tmp_path / "out")] == [True, True, False, False]


def test_numbers_that_the_libraries_cannot_compute_with_are_told_in_one_line(monkeypatch, linear, tmp_path):
    def failing(settings, progress=None):
        raise np.linalg.LinAlgError("SVD did not\nconverge")

    monkeypatch.setattr(theory_study, "solve", failing)
    told = (
        "condition 'gradient descent': it cannot be computed .LinAlgError: SVD did not converge.; use smaller numbers"
    )
    with pytest.raises(InputError, match=told):
        theory_study.run_theory(linear, tmp_path / "out")


def test_every_condition_is_checked_before_the_first_is_computed(monkeypatch, tmp_path):
    monkeypatch.setattr(theory_study, "solve", lambda *_: pytest.fail("computed"))
    protocol = written(tmp_path, LINEAR.replace("[2, 5]", "[2, 6]"))
    with pytest.raises(InputError, match="condition 'FA, r = 6': feedback.rank = 6 is impossible: B is 6 x 5; use 5"):
        theory_study.run_theory(protocol, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_step_that_diverges_is_told_with_the_condition_and_the_largest_stable_one(tmp_path):
    protocol = written(tmp_path, LINEAR, "integration.step=1.0", "duration=60.0")
    with pytest.raises(InputError, match="small.toml: condition 'gradient descent': .*step.* 1.*stable") as caught:
        theory_study.run_theory(protocol, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_named_in_one_line(faked, linear, tmp_path):
    out = tmp_path / "out"
    theory_study.run_theory(linear, out)
    path = store.theory_path(out, linear.runs[0].name)
    image = bytearray(path.read_bytes())
    image[len(image) // 2] ^= 1
    path.write_bytes(image)
    for read in (lambda: theory_study.run_theory(linear, out), lambda: open_theory(out)):
        with pytest.raises(
            InputError, match=f"run file '{path}' .*; move it away and run the protocol again"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
    path.unlink()
    assert [one.kept for one in theory_study.run_theory(linear, out)] == [False, True, True, True]


def spoilt(dataset, what):
    """Return a condition's results with one thing wrong."""
    if what == "manner":
        return dataset.drop_vars("manner")
    if what == "error":
        return dataset.drop_vars("error")
    if what == "recovered":
        return dataset.drop_vars("recovered")
    if what == "difference":
        return dataset.assign(difference=np.nan * dataset["difference"])
    if what == "words":
        return dataset.assign(word=("seed", ["a", "b"]))
    if what == "run":
        return dataset.rename(seed="run").assign(error=dataset["error"])
    return dataset.assign_attrs(
        {what: {"settings": "3", "model": "magic", "seconds": "long", "name": "../../x", "rank": -3.0}[what]}
    )


WRONG = {
    "manner": "does not say by which manners",
    "error": "it holds no 'error' by manner, seed, point",
    "recovered": "it holds no 'recovered' by seed",
    "difference": "'difference' holds what is no finite number",
    "rank": "rank -3.0 is below 1",
    "words": "'word' is nothing that a condition holds",
    "settings": "attribute 'settings' is no JSON object",
    "model": "'magic' is no solvable model",
    "seconds": "attribute 'seconds' is missing, or no number",
    "name": "is no condition's name; condition_hash, as `rfmodel ls` shows, would do",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_whole_file_that_is_no_condition_s_is_refused(faked, linear, tmp_path, what):
    theory_study.run_theory(linear, tmp_path)
    path = store.theory_path(tmp_path, linear.runs[0].name)
    store.save(spoilt(store.load_theory(path), what), path)
    with pytest.raises(InputError, match=WRONG[what]) as caught:
        open_theory(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_bears_the_name_of_its_condition(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path)
    path = store.theory_path(tmp_path, linear.runs[0].name)
    path.rename(path.with_name("other_0123456789ab.nc"))
    with pytest.raises(InputError, match="it says that it is 'gradient-descent_.*a file bears its condition's name"):
        open_theory(tmp_path)


def test_conditions_that_fit_no_study_together_are_refused(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path)
    for run, dim in zip(linear.runs[1:], ("seed", "point"), strict=False):
        path = store.theory_path(tmp_path, run.name)
        one = store.load_theory(path)
        store.save(one.assign(drift=(dim, np.zeros(one.sizes[dim]))), path)
    with pytest.raises(InputError, match="do not fit together .*'drift' is by point in one of them"):
        open_theory(tmp_path)


def test_conditions_of_two_models_are_refused(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path / "a")
    other = theory_study.run_theory(written(tmp_path, FACTOR), tmp_path / "b")[0].run
    path = store.theory_path(tmp_path / "b", other.name)
    path.rename(store.theory_path(tmp_path / "a", other.name))
    with pytest.raises(InputError, match="holds conditions of linear_dynamics and of matrix_factorisation; move those"):
        open_theory(tmp_path / "a")


def _computed(text, folder, out):
    os.environ["OMP_NUM_THREADS"] = "1"
    theory_study.solve = fake
    theory_study.run_theory(written(folder, text, name=f"own{os.getpid()}.toml"), out)


def test_two_processes_at_once_leave_the_study_of_one(tmp_path):
    context = multiprocessing.get_context("spawn" if sys.platform != "linux" else "fork")
    both = [context.Process(target=_computed, args=(LINEAR, tmp_path, tmp_path / "out")) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert open_theory(tmp_path / "out").sizes["run"] == 4
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def _killed(text, folder, out, place):
    """Run a study, and die as a process that is killed does, while the file of one of its conditions is written."""
    theory_study.solve = fake
    replace, left = os.replace, [place]

    def dying(source, target):
        if str(target).endswith(".nc"):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
        replace(source, target)

    os.replace = dying
    theory_study.run_theory(written(folder, text, name="killed.toml"), out)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
@pytest.mark.parametrize("place", [0, 2])
def test_a_kill_in_the_middle_of_writing_costs_one_condition(faked, linear, tmp_path, place):
    dead = multiprocessing.get_context("fork").Process(target=_killed, args=(LINEAR, tmp_path, tmp_path / "out", place))
    dead.start()
    dead.join()
    assert dead.exitcode == 9
    found = theory_study.run_theory(linear, tmp_path / "out")
    assert [one.kept for one in found] == [True] * place + [False] * (4 - place)
    assert not list((tmp_path / "out" / "theory").glob(".*"))


def test_a_folder_holds_one_kind_of_study(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path / "linear")
    store.prepare(tmp_path / "networks", "")
    store.write_plan(tmp_path / "networks", [])
    with pytest.raises(
        InputError, match="'.*linear' holds a study of 'linear_dynamics', not one of 'matrix_fact.*--out"
    ):
        theory_study.run_theory(written(tmp_path, FACTOR), tmp_path / "linear")
    with pytest.raises(
        InputError, match="networks' holds a study of networks, not one of 'linear_dynamics'; give anoth"
    ):
        theory_study.run_theory(linear, tmp_path / "networks")
    with pytest.raises(
        InputError, match="linear' holds a study of 'linear_dynamics', not one of networks; give another"
    ):
        store.prepare(tmp_path / "linear", "")
    (tmp_path / "linear" / "protocol.toml").unlink()
    with pytest.raises(InputError, match="linear' holds a study of a solvable model, not one of networks"):
        store.refuse_other(tmp_path / "linear")
    assert all(one.kept for one in theory_study.run_theory(linear, tmp_path / "linear"))


def test_a_user_s_own_folders_of_those_names_are_no_studies(faked, linear, tmp_path):
    (tmp_path / "runs" / "other_study").mkdir(parents=True)
    theory_study.run_theory(linear, tmp_path)
    assert open_theory(tmp_path).sizes["run"] == 4


def test_what_asks_for_networks_says_what_would_do(faked, linear, tmp_path):
    theory_study.run_theory(linear, tmp_path)
    told = "is a study of a solvable model, and holds no trained networks; `rfmodel report .*open_theory would do"
    with pytest.raises(InputError, match=told):
        open_study(tmp_path)
    with pytest.raises(InputError, match="no finished condition of a solvable model in .*rfmodel.open_study would do"):
        open_theory(tmp_path / "nowhere")


def test_what_came_out_is_said_in_a_few_words(faked, linear, tmp_path):
    found = [theory_study.came_out(one.result) for one in theory_study.run_theory(linear, tmp_path / "a")]
    assert found[0] == "0 to 1 of 3 modes recovered, difference 0.25"
    assert found[3] == "0 to 2 of 3 modes recovered, difference 0.25"
    flow = written(tmp_path, LINEAR, "seeds=1", 'integration.manners=["flow"]', only=["rule=fa"])
    assert theory_study.came_out(theory_study.run_theory(flow, tmp_path / "b")[0].result) == "0 of 3 modes recovered"
    factor = theory_study.run_theory(written(tmp_path, FACTOR), tmp_path / "c")
    assert re.fullmatch(r"error 0\.\d+, 3 of the optimum, difference 0.25", theory_study.came_out(factor[0].result))
    assert re.fullmatch(r"error 0\.\d+, difference 0.25", theory_study.came_out(factor[1].result))


def test_the_command_line_runs_lists_shows_and_goes_on(faked, rfmodel, linear, tmp_path):
    path, out = tmp_path / "small.toml", tmp_path / "out"
    code, told, _ = rfmodel("run", path, "--out", out, "--only", "rank=2")
    assert code == 0
    assert re.search(r"\[1/1\] FA, r = 2: 0 to 1 of 3 modes recovered, difference 0.25, 0\.\d s", told)
    assert f"1 run, 0 kept from before; results in {out}. Next: rfmodel report {out}" in told
    code, told, _ = rfmodel("run", path, "--out", out)
    assert code == 0 and "FA, r = 2: 0 to 1 of 3 modes recovered, difference 0.25, kept from before" in told
    assert "3 run, 1 kept from before" in told
    store.theory_path(out, linear.runs[0].name).unlink()
    code, told, _ = rfmodel("ls", out)
    assert code == 0 and "3 conditions of a solvable model" in told and "FA, r = 5" in told
    assert "1 of its protocol left: gradient descent" in told
    code, told, _ = rfmodel("show", store.theory_path(out, linear.runs[1].name))
    assert code == 0 and "FA, r = 2 (linear_dynamics): 0 to 1 of 3 modes recovered" in told
    assert '"rank": 2' in told and '"commit"' in told and "recovered" in told


def test_the_command_line_validates_and_shows_protocols(rfmodel, linear, tmp_path):
    code, told, _ = rfmodel("validate", tmp_path / "small.toml", "matrix_factorisation")
    assert code == 0 and "small: 4 runs in 4 conditions can be run" in told and "matrix_factorisation: " in told
    code, told, _ = rfmodel("show", tmp_path / "small.toml")
    assert code == 0 and '"feedback": {"name": "fa", "rank": 5}' in told
    code, told, _ = rfmodel("ls")
    assert code == 0 and "linear_dynamics" in told and "matrix_factorisation" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "cuda"), "--device: small is of a solvable model, and it is computed on the processor; leave it"),
        (("--workers", "2"), "--workers: small is of a solvable model, and its conditions are computed by threads"),
        (("--dask", "tcp://x:1"), "--dask: small .* are computed here; leave it out"),
        (("--checkpoint", "5m"), "--checkpoint: .* takes seconds, and is kept when it is done"),
        (("--retry", "failed"), "--retry: .* is computed again anyhow"),
        (("--no-wait",), "--no-wait: .* it waits for no other process"),
        (("--lease", "60"), "--lease: .* it claims nothing"),
        (("--data", "."), "--data: .* it reads no data"),
        (("--allow-code",), "--allow-code: .* it names no files"),
        (("--only", "seed=0"), "--only 'seed=0': a condition holds all of its seeds; --set seeds=1 would do"),
        (
            ("--set", "modes=6"),
            "small.toml: condition 'gradient descent': spectrum of 6 modes: a matrix of 5 x 8 has 5",
        ),
    ],
)
def test_options_without_a_meaning_are_refused_in_one_line(rfmodel, linear, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(theory_study, "solve", lambda *_: pytest.fail("computed"))
    code, _, told = rfmodel("run", tmp_path / "small.toml", "--out", tmp_path / "out", *words)
    assert code == 2
    assert re.search(message, told) and len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_options_of_their_usual_meaning_are_taken(faked, rfmodel, linear, tmp_path, monkeypatch):
    monkeypatch.setenv("RFMODEL_DATA", str(tmp_path))  # of the machine, for whatever is run on it
    usual = ("--device", "cpu", "--workers", "1", "--wait")
    code, _, told = rfmodel("run", tmp_path / "small.toml", "--out", tmp_path / "out", *usual)
    assert code == 0, told
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, told = rfmodel("run", tmp_path / "small.toml", "--out", tmp_path / "out")
    assert code == 2 and "whose conditions need no torchrun; start it without" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("rf", "{out}", "--layer", "x"),
            "is a study of a solvable model, and holds no trained networks; `rfmodel repo",
        ),
        (("analyse", "{out}", "--analysis", "tuning"), "is a study of a solvable model"),
        (("animate", "{out}"), "is a study of a solvable model"),
        (("compare", "{out}", "--metric", "p0"), "is a study of a solvable model"),
        (("cost", "{small}"), "small.toml is of a solvable model: nothing is trained, .* no training step to count"),
        (
            ("run", "quickstart", "--out", "{out}"),
            "holds a study of 'linear_dynamics', not one of networks; give another",
        ),
        (("show", "{out}/theory/none.nc"), "none.nc' is not there"),
    ],
)
def test_commands_for_networks_say_in_one_line_what_would_do(faked, rfmodel, linear, tmp_path, words, message):
    out = tmp_path / "out"
    theory_study.run_theory(linear, out)
    before = content(out)
    code, _, told = rfmodel(*(word.format(out=out, small=tmp_path / "small.toml") for word in words))
    assert code == 2
    assert re.search(message, told) and len(told.strip().splitlines()) == 1
    assert content(out) == before


def test_an_interrupt_keeps_what_is_finished(monkeypatch, rfmodel, linear, tmp_path):
    def interrupted(settings, progress=None):
        if settings.feedback.rank == 5:
            raise KeyboardInterrupt
        return fake(settings)

    monkeypatch.setattr(theory_study, "solve", interrupted)
    # By one thread: of two the other may be done with the last condition before it hears of it.
    code, _, told = rfmodel("run", tmp_path / "small.toml", "--out", tmp_path / "out", "--threads", "1")
    assert code == 130
    assert "interrupted; finished conditions are kept, and the same command goes on with the rest" in told
    assert open_theory(tmp_path / "out").sizes["run"] == 2


def test_libraries_are_told_to_take_one_thread_before_they_are_loaded(tmp_path):
    (tmp_path / "small.toml").write_text(LINEAR)
    program = (
        "import os, sys\nfrom rfmodel import cli, cli_theory\ntell = cli_theory._single_threaded\n"
        "def seen():\n tell()\n"
        " sys.exit(f'numpy {\"numpy\" in sys.modules}, threads ' + os.environ['OPENBLAS_NUM_THREADS'])\n"
        "cli_theory._single_threaded = seen\nsys.argv = ['rfmodel', 'run', 'small.toml', '--threads', '3']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "numpy False, threads 1"


def test_conditions_computed_at_once_are_those_computed_one_by_one(linear, tmp_path):
    alone = theory_study.run_theory(linear, tmp_path / "alone")
    told = []
    both = theory_study.run_theory(linear, tmp_path / "both", threads=3, ended=lambda one: told.append(one.run.name))
    assert told == [run.name for run in linear.runs]  # in their order, whichever is done first
    for one, other in zip(alone, both, strict=True):
        xr.testing.assert_equal(one.result, other.result)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["the first fails", "the second fails"])
def test_what_is_under_way_beside_a_condition_that_fails_is_given_up(monkeypatch, linear, tmp_path, order):
    begun, failed, looked = threading.Event(), threading.Event(), []

    def solve(settings, progress):
        if settings.feedback.rank == 2:
            assert begun.wait(30)
            failed.set()
            raise InputError("the flow is not finite")
        begun.set()
        assert failed.wait(30)
        for share in range(3000):
            looked.append(share)
            time.sleep(0.01)
            progress(share / 3000)
        return fake(settings)

    monkeypatch.setattr(theory_study, "solve", solve)
    with pytest.raises(InputError, match="condition 'FA, r = 2': the flow is not finite"):
        runs = tuple(linear.runs[i] for i in order)
        theory_study.run_theory(replace(linear, runs=runs), tmp_path / "out", threads=2)
    assert len(looked) < 3000
    assert not list((tmp_path / "out" / "theory").glob("*.nc"))


def test_no_threads_are_refused(linear, tmp_path):
    with pytest.raises(InputError, match="--threads 0 computes no condition; use 1 or more"):
        theory_study.run_theory(linear, tmp_path / "out", threads=0)


def test_a_report_is_written_as_of_networks(rfmodel, tmp_path):
    out = tmp_path / "out"
    chosen = ("--preset", "fast", "--only", "condition=*, r = 8", "--only", "rule=adaptive_q")
    code, _, told = rfmodel("run", "linear_dynamics", "--out", out, *chosen)
    assert code == 0, told
    code, told, error = rfmodel("report", out, "--out", tmp_path / "page", "--title", "A title of one's own")
    assert code == 0, error
    page = tmp_path / "page" / "report.html"
    assert f"report of {open_theory(out).sizes['run']} runs: {page}" in told
    assert "A title of one&#x27;s own" in page.read_text()
