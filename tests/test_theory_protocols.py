"""Protocols of solvable models: what they expand into, and what is refused in one line of file, key and value."""

from __future__ import annotations

import math
import textwrap

import pytest

from rfmodel import protocols, study, theory_study
from rfmodel.errors import InputError
from rfmodel.schemas import SCHEMAS

LINEAR = """
title = "small"
theory = "linear_dynamics"
seeds = 3
[task]
inputs = 12
hidden = 8
outputs = 6
spectrum = { modes = 4 }
[presets.paper.integration]
duration = 7.0
[presets.fast]
seeds = 2
[[conditions]]
name = "gradient descent"
[[conditions]]
name = "FA, r = {rank}"
feedback.name = "fa"
axes.rank = [2, 6]
"""
FACTOR = """
theory = "matrix_factorisation"
[matrix]
rows = 8
columns = 6
spectrum = { modes = 4 }
[rule]
width = 2
[[conditions]]
name = "{rule}, r = {width}"
axes.rule = ["gd", "fa"]
axes.width = [2, 3]
"""


@pytest.fixture
def write(tmp_path):
    def make(text=LINEAR, name="small.toml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return make


def test_a_run_is_a_condition_with_all_of_its_seeds(write):
    read = protocols.load(write())
    assert read.theory == "linear_dynamics"
    assert [run.condition for run in read.runs] == ["gradient descent", "FA, r = 2", "FA, r = 6"]
    assert {run.settings.seeds for run in read.runs} == {3}
    assert [run.position for run in read.runs] == [0, 1, 2]
    assert read.rule_files == []


def test_a_network_protocol_is_of_no_solvable_model():
    assert protocols.load("quickstart").theory == ""


def test_the_names_are_those_of_both_kinds():
    assert protocols.names(theory=True) == sorted(SCHEMAS)
    assert sorted(protocols.names(theory=True) + protocols.names(theory=False)) == protocols.names()


def test_coordinates_are_those_of_the_model(write):
    plain, fed, _ = protocols.load(write()).runs
    assert fed.coordinates == {"condition": "FA, r = 2", "rule": "fa", "rank": 2.0, "law": "linear"}
    assert plain.coordinates["rule"] == "gd" and math.isnan(plain.coordinates["rank"])
    factor = protocols.load(write(FACTOR)).runs[0]
    assert factor.coordinates == {"condition": "gd, r = 2", "rule": "gd", "width": 2.0, "law": "linear"}


def test_a_condition_s_name_holds_its_identity_and_no_seed(write):
    run = protocols.load(write()).runs[1]
    assert run.name == f"fa-r-2_{run.identity}"
    again = protocols.load(write(LINEAR.replace('title = "small"', 'title = "other words"'))).runs[1]
    assert again.identity == run.identity
    assert protocols.load(write(), ["seeds=4"]).runs[1].identity != run.identity


def test_full_rank_has_one_identity_however_it_is_spelt(write):
    spelt = {
        protocols.load(write(LINEAR), only=["condition=FA, r = 6"]).runs[0].identity,
        protocols.load(write(LINEAR.replace("axes.rank = [2, 6]", "").replace(", r = {rank}", ""))).runs[1].identity,
    }
    assert len(spelt) == 1


def test_presets_overrides_and_selection_are_as_for_networks(write):
    assert {run.settings.integration.duration for run in protocols.load(write()).runs} == {7.0}
    fast = protocols.load(write(), ["inputs=9", "law=power"], ["rank=6"], preset="fast")
    (run,) = fast.runs
    assert (run.settings.seeds, run.settings.task.inputs, run.preset) == (2, 9, "fast")
    assert run.settings.task.spectrum.law == "power"
    assert [run.condition for run in protocols.load(write(), only=["rule=gd"]).runs] == ["gradient descent"]


def test_rank_is_set_where_feedback_has_one_and_left_elsewhere(write):
    runs = protocols.load(write(LINEAR.replace("axes.rank = [2, 6]", "axes.rank = [2]")), ["rank=4"]).runs
    assert [run.settings.feedback.rank for run in runs] == [None, 4]
    common = LINEAR.replace("axes.rank = [2, 6]", "").replace(
        "[[conditions]]", "[axes]\nrank = [2, 6]\n[[conditions]]", 1
    )
    assert [run.settings.feedback.rank for run in protocols.load(write(common)).runs] == [None, 2, 6]


def test_a_table_given_in_part_keeps_the_model_s_own_defaults(write):
    plain, set_ = (protocols.load(write(FACTOR), given).runs[0].settings for given in ([], ["points=51", "seeds=2"]))
    assert set_.integration == plain.integration.model_copy(update={"points": 51})
    balanced = protocols.load(write(FACTOR), ["initial.balanced=true"]).runs[0].settings
    assert balanced.initial == plain.initial.model_copy(update={"balanced": True})


def test_axes_reach_the_model_s_own_tables(write):
    runs = protocols.load(write(FACTOR), ["axes.law=['flat', 'power']"]).runs
    assert len(runs) == 8
    found = {(run.settings.rule.name, run.settings.rule.width, run.settings.matrix.spectrum.law) for run in runs}
    assert found == {(rule, width, law) for rule in ("gd", "fa") for width in (2, 3) for law in ("flat", "power")}


BAD = {
    "unknown model": (
        'theory = "linear_dynamic"',
        "small.toml: key 'theory' = 'linear_dynamic' is unknown: known are linear_dynamics, .*mean 'linear_dynamics'",
    ),
    "a model that is no word": ("theory = 3", "key 'theory' = 3 is unknown"),
    "unknown table": (LINEAR.replace("[task]", "[tsk]"), "small.toml: key 'tsk' is unknown: .*did you mean 'task'"),
    "a network's table": (LINEAR.replace("[task]", "[network]"), "key 'network' is unknown"),
    "unknown key": (LINEAR.replace("hidden", "hiden"), "key 'task.hiden' is unknown: .*did you mean 'hidden'"),
    "unknown nested key": (
        LINEAR.replace("modes", "mods"),
        "key 'task.spectrum.mods' is unknown: known there are law, modes.*did you mean 'modes'",
    ),
    "wrong type": (LINEAR.replace("= 12", '= "12"'), "key 'task.inputs' = '12': should be a valid integer"),
    "out of bounds": (LINEAR.replace("seeds = 3", "seeds = 0"), "key 'seeds' = 0: should be greater than or"),
    "unknown choice": (LINEAR.replace('"fa"', '"dfa"'), "key 'feedback.name' = 'dfa': should be 'gd', 'fa'"),
    "manners without the flow": (
        LINEAR.replace("duration = 7.0", 'manners = ["online"]'),
        "key 'integration': manners must hold 'flow'",
    ),
    "unknown key of a preset": (
        LINEAR.replace("[presets.paper.integration]\nduration", "[presets.paper]\nseed"),
        "key 'presets.paper.seed' is unknown: .*did you mean 'seeds'",
    ),
    "unknown key of a condition": (
        LINEAR.replace("feedback.name", "feedbak.name"),
        "key 'conditions.feedbak' is unknown: .*did you mean 'feedback'",
    ),
    "an axis of seeds": (LINEAR + "axes.seed = [0, 1]", "key 'axes.seed' is unknown.*did you mean 'seeds'"),
    "two equal conditions": (
        LINEAR.replace("axes.rank = [2, 6]", "feedback.rank = 6").replace(", r = {rank}", "")
        + '[[conditions]]\nname = "full"\nfeedback.name = "fa"\n',
        "small.toml: 'FA' and 'full' are the same run; drop one of the two",
    ),
    "two of one name": (
        LINEAR.replace(", r = {rank}", "").replace("axes.rank = [2, 6]", "feedback.rank = 6")
        + '[[conditions]]\nname = "FA"\nfeedback = { name = "fa", rank = 2 }\n',
        "two different conditions are called 'FA'; give each",
    ),
    "too many": (
        FACTOR.replace("[2, 3]", f"{[*range(1, 401)]}") + f"axes.seeds = {[*range(1, 300)]}",
        "its axes multiply to 239200 runs; use fewer values, at most 100000",
    ),
    "rank where none is": (LINEAR.replace('feedback.name = "fa"', ""), "axis 'rank' needs feedback that has one"),
    "the rank of a factorisation": (
        FACTOR.replace("axes.width", "axes.rank").replace("{width}", "{rank}"),
        "axis 'rank' needs a linear network: the axis of a factorisation is 'width'",
    ),
    "published accuracies": (
        LINEAR.replace("[task]", "[published]\nsource = 'x'\n[task]"),
        "key 'published' must be a text: a solvable model has no accuracies",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(write, case):
    text, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        protocols.load(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "only", "message"),
    [
        (["seed=0"], [], "key 'seed' is unknown: .*did you mean 'seeds'"),
        (["theory=matrix_factorisation"], [], "key 'theory' = 'matrix_factorisation': should be 'linear_dynamics'"),
        ([], ["seed=0"], "--only 'seed=0': a condition holds all of its seeds; --set seeds=1 would do"),
        ([], ["width=2"], "--only 'width=2': 'width' is no axis; known are condition, law, rank, rule"),
        ([], ["rank=3"], "--only 'rank=3' fits no run: 'rank' takes 2, 6"),
    ],
)
def test_bad_choices_are_refused_in_one_line(write, overrides, only, message):
    with pytest.raises(InputError, match=message):
        protocols.load(write(), overrides, only)


def test_seeds_are_no_axis_of_networks_that_is_told_elsewhere():
    with pytest.raises(InputError, match="'sed' is no axis; known are .*did you mean 'seed'"):
        protocols.load("quickstart", only=["sed=0"])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_every_shipped_protocol_of_a_model_can_be_run(name, preset):
    read = protocols.load(name, preset=preset)
    assert read.presets == ("paper", "fast")
    assert read.title and read.description and read.source
    theory_study.validate(read)


def test_the_panels_of_the_paper_have_their_conditions():
    runs = protocols.load("linear_dynamics").runs
    task = runs[0].settings.task
    assert (task.inputs, task.hidden, task.outputs) == (128, 64, 64)
    asked = {(run.settings.feedback.name, run.settings.feedback.rank) for run in runs}
    assert asked >= {(rule, rank) for rule in ("adaptive_q", "normative", "oja") for rank in (64, 8)}
    assert asked >= {("fa", rank) for rank in (4, 8, 16, 32, 64)}
    drives = {run.settings.feedback.drive for run in runs if run.settings.feedback.name == "oja"}
    assert drives == {"targets", "residual"}
    assert any("online" in run.settings.integration.manners for run in runs)
    assert any(run.settings.task.samples for run in runs)
    assert {run.settings.seeds for run in runs} == {10}


def test_widths_lie_below_at_and_above_the_rank_of_the_matrix():
    runs = protocols.load("matrix_factorisation").runs
    linear = [run.settings for run in runs if run.coordinates["law"] == "linear"]
    for rule in ("gd", "fa"):
        widths = {s.rule.width - s.matrix.spectrum.modes for s in linear if s.rule.name == rule}
        assert min(widths) < 0 < max(widths) and 0 in widths
    laws = {run.coordinates["law"] for run in runs}
    assert laws == {"linear", "power", "exponential", "flat", "step", "worst"}
    assert "fa_star" in {run.coordinates["rule"] for run in runs}


IMPOSSIBLE = {
    "rank above both layers": (
        LINEAR.replace("[2, 6]", "[2, 7]"),
        [],
        "condition 'FA, r = 7': feedback.rank = 7 is impossible: B is 8 x 6; use 6 or fewer",
    ),
    "a rank of gradient descent": (
        LINEAR.replace('name = "gradient descent"', 'name = "gd"\nfeedback.rank = 2'),
        [],
        "condition 'gd': feedback.rank = 2: 'gd' has no use for it; leave it out, or set it where it has one",
    ),
    "a rate of feedback that does not learn": (
        LINEAR,
        ["feedback.rate=0.5"],
        "condition 'gradient descent': feedback.rate = 0.5: 'gd' has no use for it; leave it out",
    ),
    "a drive of no rule of Oja's": (
        LINEAR.replace('feedback.name = "fa"', 'feedback = { name = "normative", drive = "residual" }'),
        [],
        "condition 'FA, r = 2': feedback.drive = residual: 'normative' has no use for it",
    ),
    "modes above the sizes": (LINEAR, ["modes=7"], "spectrum of 7 modes: a matrix of 6 x 12 has 6 singular values"),
    "a law of the other model": (LINEAR, ["law=worst"], "spectrum 'worst' is no law of this model"),
    "a value of nought": (
        LINEAR,
        ['task.spectrum={law="given", values=[2.0, 0.0]}'],
        "task.spectrum.values has 1 values of 0",
    ),
    "samples below inputs": (LINEAR, ["samples=11"], "task.samples = 11 cannot be whitened in 12 inputs; use 12"),
    "samples beyond counting": (LINEAR, [f"samples={2**60}"], "samples = 1152921504606846976 cannot be whitened"),
    "sizes beyond memory": (LINEAR, ["inputs=100000"], "seeds = 3 of 100000 inputs, .* numbers; use fewer or smaller"),
    "results beyond memory": (LINEAR, ["points=10000", "seeds=9000"], "integration.points = 10000 of 4 modes and 9000"),
    "a floor above the top": (LINEAR, ["smallest=3.0"], "spectrum.smallest = 3 is above spectrum.largest = 2"),
    "a step without a head": (LINEAR, ["law=step"], "spectrum.head = None of 4 modes leaves no step"),
    "for ever": (LINEAR, ["duration=1e9"], r"integration.duration = 1e\+09 is beyond what can be computed; use"),
    "steps without end": (LINEAR, ["step=1e-12"], r"integration.step = 1e-12 takes 7e\+12 steps to the end"),
    "a tolerance of nothing": (LINEAR, ["integration.tolerance=1e-300"], "integration.tolerance = 1e-300 is beyond"),
    "values beyond computing": (LINEAR, ["largest=1e200"], r"task.spectrum.largest = 1e\+200 is beyond what can be"),
    "given values beyond computing": (
        LINEAR,
        ['task.spectrum={law="given", values=[1e9, 1.0]}'],
        r"task.spectrum.values = 1e\+09 is beyond what can be computed; use 0 to 1000",
    ),
    "width above the matrix": (
        FACTOR.replace("[2, 3]", "[2, 7]"),
        [],
        "rule.width = 7 is above the 6 that a matrix of 8 x 6 has use for; use 6 or fewer",
    ),
    "samples of a matrix": (
        FACTOR,
        ['integration.manners=["flow", "online"]'],
        "integration.manners: 'online' has no samples",
    ),
    "nothing to search": (FACTOR, ["law=worst", "modes=2"], "the worst spectrum of 2 modes for width 2: .*modes = 3"),
    "a search beyond memory": (
        FACTOR,
        ["law=worst", "modes=400", "rows=400", "columns=400"],
        "the worst spectrum of 400 modes: its search holds 512 matrices, .* use modes = 362 or fewer",
    ),
    "a step beyond the points": (FACTOR, ["step=3.0"], "integration.step = 3 is longer than the 2 tau between two"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_conditions_that_cannot_be_are_refused_before_anything_is_computed(write, case):
    text, overrides, message = IMPOSSIBLE[case]
    read = protocols.load(write(text), overrides)
    with pytest.raises(InputError, match=message) as caught:
        theory_study.validate(read)
    assert str(caught.value).startswith("small.toml: condition '")
    assert "\n" not in str(caught.value)


def test_each_kind_of_study_refuses_the_other_s_protocol(write, tmp_path):
    linear, network = protocols.load(write()), protocols.load("quickstart")
    with pytest.raises(
        InputError, match="small.toml is of the solvable model 'linear_dynamics', and trains no networks"
    ):
        study.run_study(linear, tmp_path / "out")
    with pytest.raises(InputError, match="small.toml is of the solvable model"):
        study.validate(linear)
    with pytest.raises(InputError, match="quickstart.toml trains networks, and is of no solvable model"):
        theory_study.run_theory(network, tmp_path / "out")
    assert not (tmp_path / "out").exists()
