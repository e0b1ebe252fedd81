"""The wire: a run that is handed over is the run that was sent, or is refused in one line."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from studies import TINY

from rfmodel import protocols
from rfmodel.errors import InputError
from rfmodel.running.wire import packed, unpacked
from rfmodel.runs import Run
from rfmodel.settings import Settings

RULES = """
from rfmodel.routing import Fixed, Rule, layerwise

def mine(gain=1.0):
    return Rule("mine", layerwise, lambda plan: Fixed(plan.geometry, gain * plan.std, plan.generator))

def other():
    return mine()
"""
OWN = (
    TINY
    + """
[[conditions]]
name = "own"
rules."retina.conv1" = { name = "code/my_rules.py:mine", gain = 2.0 }
rules."retina.conv2" = "code/my_rules.py:other"
"""
)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_rules.py").write_text(RULES)
    (tmp_path / "own.toml").write_text(OWN)
    return next(r for r in protocols.load(tmp_path / "own.toml", allow_code=True).runs if r.condition == "own")


def sent(run):
    return json.loads(json.dumps(packed(run)))


@pytest.mark.parametrize("name", protocols.names(theory=False))
def test_every_run_of_every_protocol_is_the_same_run_on_the_other_side(name):
    runs = protocols.load(name).runs
    for run in {run.settings.model_copy(update={"seed": 0}).model_dump_json(): run for run in runs}.values():
        assert unpacked(sent(run)) == replace(run, axes=dict(run.axes))
        assert unpacked(sent(run)).name == run.name


def test_a_rule_file_travels_with_its_content_and_leave_but_not_its_place(own, tmp_path):
    code = own.settings.rules["retina.conv1"].code
    read = unpacked(sent(own))
    assert read.identity == own.identity
    for site, function in (("retina.conv1", "mine"), ("retina.conv2", "other")):
        there = read.settings.rules[site].code
        assert (there.file, there.function, there.content, there.allowed) == (code.file, function, code.content, True)
        assert (there.path, there.folder) == (Path("code/my_rules.py"), Path())
    assert str(tmp_path) not in json.dumps(packed(own))


def test_code_without_leave_is_without_leave_on_the_other_side(own, tmp_path):
    run = next(r for r in protocols.load(tmp_path / "own.toml").runs if r.condition == "own")
    assert not unpacked(sent(run)).settings.rules["retina.conv1"].code.allowed


def test_odd_options_keep_their_type_and_value():
    options = {"nesterov": True, "momentum": 0.9, "dampening": 0}
    settings = Settings.model_validate({
        "seed": 2**62,
        "rules": {"retina.conv2": {"name": "ldfa", "rank": 2, "gain": 1e-300, "parts": {"a": [1, 2.0, "x", True]}}},
        "train": {"optimiser": {"name": "sgd", "options": options}, "mean": [0.1, 0.2, 0.3]},
    })  # fmt: skip
    run = Run("näme, r = {2}", settings, {"rank": 2, "train.mean": [0.1, 0.2]}, 3, "fast")
    read = unpacked(sent(run))
    assert read == run
    assert repr(read.settings.rules["retina.conv2"].options) == repr(settings.rules["retina.conv2"].options)


def damage(path, value):
    def change(wire):
        *tables, leaf = path
        for table in tables:
            wire = wire[table]
        if value is KeyError:
            del wire[leaf]
        else:
            wire[leaf] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (damage(["identity"], "0" * 12), "its identity is .* here, and 000000000000 where it was sent"),
        (damage(["identity"], KeyError), "identity: Field required"),
        (damage(["condition"], 3), "condition: Input should be a valid string"),
        (damage(["position"], "3"), "position: Input should be a valid integer"),
        (damage(["axes"], []), "axes: Input should be an object"),
        (damage(["settings", "seed"], -1), "settings.seed: Input should be greater than or equal to 0"),
        (damage(["settings", "new"], 1), "settings.new: Extra inputs are not permitted"),
        (damage(["settings"], float("nan")), "settings: Input should be an object"),
        (damage(["extra"], 1), "extra: Extra inputs are not permitted"),
        (damage(["extra"], {1, 2}), "Object of type set is not JSON serializable"),
        (damage(["files", "code/my_rules.py", "content"], "§"), "files.code/my_rules.py.content: .*ASCII"),
        (damage(["files", "code/my_rules.py", "content"], "abc"), "content: .* base64 would do"),
        (damage(["files", "code/my_rules.py", "content"], "eHg="), "'code/my_rules.py' was edited: its sha256 is"),
        (damage(["files", "code/my_rules.py", "allowed"], 1), "allowed: Input should be a valid boolean"),
        (damage(["files"], {}), "rule 'code/my_rules.py:mine' came without its file"),
        (damage(["settings", "rules", "retina.conv1", "name"], "../x.py:f"), "'../x.py', which leaves the protocol's"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(own, change, told):
    wire = copy.deepcopy(packed(own))
    change(wire)
    with pytest.raises(InputError, match=f"a run that was handed over cannot be read: .*{told}") as found:
        unpacked(wire)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("wire", [None, 3, "x", [], {}])
def test_what_is_no_table_of_a_run_is_refused(wire):
    with pytest.raises(InputError, match="a run that was handed over cannot be read"):
        unpacked(wire)
