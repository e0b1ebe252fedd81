"""Rules of a user's own file: how a protocol names them, what their runs are, and how they are refused."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import rfmodel
from rfmodel import building, protocols, store, study
from rfmodel.errors import InputError
from rfmodel.routing import RULES, Port, Routed, make_rule
from rfmodel.rule_files import called, parted
from rfmodel.settings import RuleSettings, Settings
from rfmodel.user_rules import make_any

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLE = next(b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "@register_rule" in b)
PROTOCOL = """
title = "own"
rules."retina.conv2" = { name = "my_rules.py:broadcast", rank = 2 }
[data]
name = "natural_patches"
size = 8
options = { train_per_class = 8, test_per_class = 4 }
[network]
width = 4
kernel = 3
depth = 1
hidden = 8
bottleneck = 4
[train]
epochs = 1
batch = 32
[axes]
seed = [0]
"""
PLAIN = """
from rfmodel.routing import Fixed, Rule, layerwise

def my_rule(gain=1.0):
    return Rule("mine", layerwise, lambda plan: Fixed(plan.geometry, gain * plan.std, plan.generator))
"""


@pytest.fixture
def write(tmp_path):
    """Write a protocol and the file that it names into a folder; return the protocol's path."""

    def make(rules=EXAMPLE, text=PROTOCOL, folder="."):
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "my_rules.py").write_text(rules)
        (place / "own.toml").write_text(text)
        return place / "own.toml"

    return make


def naming(rule):
    return PROTOCOL.replace('{ name = "my_rules.py:broadcast", rank = 2 }', rule)


def identity(path, *overrides):
    return protocols.load(path, overrides).runs[0].identity


def built(path, *overrides, allow_code=True):
    run = protocols.load(path, overrides, allow_code=allow_code).runs[0]
    return building.build(run.settings, (1, 8, 8), 12)


def refused(path, message, *overrides):
    with pytest.raises(InputError, match=message) as caught:
        study.validate(protocols.load(path, overrides, allow_code=True))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_readmes_rule_is_the_same_from_python_and_from_a_file(write, monkeypatch):
    path = write()
    monkeypatch.syspath_prepend(str(path.parent))
    try:
        importlib.import_module("my_rules")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = rfmodel.RetinaVVS(4, 1, 4, 3, classes=12, size=8, hidden=8)
        python = Routed(network, {"retina.conv2": make_rule("broadcast", rank=2)}, torch.zeros(2, 1, 8, 8))
        file = built(path)  # while the same name is registered from Python
    finally:
        RULES.pop("broadcast", None)
        sys.modules.pop("my_rules", None)
    assert python.edges == file.edges
    for a, b in zip(python.state_dict().values(), file.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_readmes_map_is_of_the_rank_asked_topographic_and_scaled(write):
    for rank in (1, 2, 4):
        feedback = next(iter(built(write(), f"rank={rank}").maps.values()))
        B = feedback.effective()
        assert torch.linalg.matrix_rank(B) == rank
        torch.testing.assert_close(B.std(), torch.tensor((3 * feedback.geometry.fan) ** -0.5))
    ratio = feedback.Q[..., 0, 0].std() / feedback.Q[..., 1, 1].std()  # 16 draws each: exp(-1) within a factor of two
    assert 0.5 < float(ratio) / torch.tensor(-1.0).exp() < 2


def test_the_readmes_rule_teaches_the_first_layer_alone_and_leaves_the_rest_to_backpropagation(write):
    routed = built(write()).eval()
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    rule = routed.observe(images, labels)
    with routed.exact():
        true = routed.observe(images, labels)
    assert list(rule.signals) == [Port("retina.conv2", "input")]
    for name, gradient in true.gradients.items():
        assert torch.equal(gradient, rule.gradients[name]) == (not name.startswith("retina.conv1")), name


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process; return its exit code, its output and its errors."""
    from rfmodel.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rfmodel", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_the_readmes_rule_is_run_kept_listed_and_read_again_from_the_command_line(write, tmp_path, cli):
    path, out = write(), tmp_path / "study"
    for words in (("validate", path), ("run", path, "--out", out)):
        code, _, err = cli(*words)
        assert code == 2
        assert re.fullmatch(r"rfmodel: own.toml: .*'my_rules.py' is code that .*--allow-code .*\n", err)
        assert not out.exists()
    assert "1 runs in 1 conditions can be run" in cli("validate", path, "--allow-code")[1]
    assert cli("run", path, "--out", out, "--allow-code")[0] == 0
    opened, digest = store.open_study(out), protocols.load(path).rule_files[0].digest
    assert list(opened["rule"].values) == ["broadcast"]
    assert list(opened["rank"].values) == [2.0]
    assert json.loads(store.load(store.run_files(out)[0]).attrs["rule_files"]) == {"my_rules.py": digest}
    assert (out / "rules" / f"my_rules_{digest}.py").read_text() == EXAMPLE
    code, shown, _ = cli("show", store.run_files(out)[0])
    assert (code, digest in shown) == (0, True)
    assert "1 runs" in cli("ls", out)[1]
    rf = ("rf", out, "--layer", "vvs.conv1", "--out", tmp_path / "f.nc")
    assert cli(*rf)[0] == 2
    assert cli(*rf, "--allow-code")[0] == 0
    assert cli("report", out, "--out", tmp_path / "report")[0] == 0


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    (folder / "my_rules.py").write_text(EXAMPLE)
    (folder / "own.toml").write_text(PROTOCOL)
    protocol = protocols.load(folder / "own.toml", ["train.epochs=0"], allow_code=True)
    study.run_study(protocol, folder / "study")
    return folder


def test_kept_weights_are_read_again_only_by_leave(kept, tmp_path):
    with pytest.raises(InputError, match="'my_rules.py' is code that this would execute; read it, .*--allow-code"):
        study.extract_again(kept / "study", ["vvs.conv1"], out=tmp_path / "f.nc")
    path = study.extract_again(kept / "study", ["vvs.conv1"], out=tmp_path / "f.nc", allow_code=True)
    assert path.is_file()


@pytest.mark.parametrize(("harm", "message"), [("lost", "is not there: .*put it back"), ("edited", "was edited: its")])
def test_kept_weights_are_read_by_the_file_that_made_them(kept, tmp_path, harm, message):
    folder = tmp_path / "study"
    shutil.copytree(kept / "study", folder)
    copy = next((folder / "rules").iterdir())
    copy.unlink() if harm == "lost" else copy.write_text(EXAMPLE + "\n")
    with pytest.raises(InputError, match=message):
        study.extract_again(folder, ["vvs.conv1"], out=tmp_path / "f.nc", allow_code=True)


def test_an_edited_rule_is_run_again_and_both_versions_are_kept(kept, tmp_path):
    for name in ("my_rules.py", "own.toml"):
        shutil.copy(kept / name, tmp_path / name)
    shutil.copytree(kept / "study", tmp_path / "study")

    def outcome():
        protocol = protocols.load(tmp_path / "own.toml", ["train.epochs=0"], allow_code=True)
        return study.run_study(protocol, tmp_path / "study")[0]

    assert outcome().kept  # moved along with its protocol, and not edited
    (tmp_path / "my_rules.py").write_text(EXAMPLE + "# edited\n")
    assert not outcome().kept
    assert len(list((tmp_path / "study" / "rules").iterdir())) == 2
    assert store.open_study(tmp_path / "study").sizes["run"] == 2


def test_showing_and_loading_execute_nothing(write, cli):
    path = write("raise RuntimeError('executed')")
    assert protocols.load(path, allow_code=True).runs[0].coordinates["rule"] == "broadcast"
    for code, words in ((0, ["show"]), (2, ["validate"]), (2, ["run", "--out", path.parent / "out"])):
        told = cli(words[0], path, *words[1:])
        assert told[0] == code
        assert "executed" not in "".join(told[1:])


def test_identity_is_that_of_the_content_and_not_of_the_place(write):
    here = identity(write())
    assert identity(write(folder="elsewhere")) == here
    assert identity(write(text=PROTOCOL.replace('"my_rules', '"./my_rules'))) == here
    assert identity(write(EXAMPLE + "\n")) != here


def test_identity_of_other_rules_knows_nothing_of_files():
    assert RuleSettings.model_validate({"name": "ldfa", "rank": 2}).model_dump() == {"name": "ldfa", "rank": 2}


def test_settings_read_back_have_the_same_identity(write):
    run = protocols.load(write()).runs[0]
    again = Settings.model_validate_json(run.settings.model_dump_json())
    assert protocols.Run("", again, {}).identity == run.identity


def test_a_hash_in_the_protocol_pins_the_file(write):
    digest = protocols.load(write()).rule_files[0].digest
    pinned = naming(f'{{ name = "my_rules.py:broadcast", rank = 2, sha256 = "{digest}" }}')
    assert identity(write(text=pinned)) == identity(write())
    refused(
        write(EXAMPLE + "\n", pinned), f"own.toml: .*'my_rules.py' was edited: its sha256 is .* and {digest} is ask"
    )


def test_what_is_executed_is_what_was_hashed(write):
    path = write()
    run = protocols.load(path, allow_code=True).runs[0]
    (path.parent / "my_rules.py").write_text("raise RuntimeError")
    assert building.build(run.settings, (1, 8, 8), 12).edges


def test_axes_labels_and_selections_call_a_rule_by_its_function(write):
    text = naming('"bp"') + 'rule = ["fa", "my_rules.py:my_rule"]\n[[conditions]]\nname = "by {rule}"\n'
    path = write(PLAIN, text.replace('rules."retina.conv2" = "bp"', ""))
    assert [run.condition for run in protocols.load(path).runs] == ["by fa", "by my_rule"]
    runs = protocols.load(path, only=["rule=my_rule"], allow_code=True).runs
    assert [run.coordinates["rule"] for run in runs] == ["my_rule"]
    study.validate(protocols.load(path, allow_code=True))


def test_a_rank_axis_and_overrides_reach_the_function(write):
    path = write(text=naming('{ name = "my_rules.py:broadcast" }') + "rank = [1, 3]\n")
    assert [run.coordinates["rank"] for run in protocols.load(path).runs] == [1.0, 3.0]
    run = protocols.load(path, ["rules.'retina.conv2'.sigma=0.5"], ["rank=3"], allow_code=True).runs[0]
    assert run.settings.rules["retina.conv2"].options == {"rank": 3, "sigma": 0.5}
    assert len(next(iter(building.build(run.settings, (1, 8, 8), 12).maps.values())).P) == 3


def test_a_plain_function_and_a_registered_name_both_make_rules(write):
    assert built(write(PLAIN, naming('"my_rules.py:my_rule"'))).edges
    registered = PLAIN.replace("def", "@register_rule('other')\ndef").replace("Rule,", "Rule, register_rule,")
    assert built(write(registered, naming('"my_rules.py:other"'))).edges
    assert built(write(registered, naming('"my_rules.py:my_rule"'))).edges
    assert "other" not in RULES


def test_one_file_serves_many_runs_and_two_files_may_use_one_name(write, monkeypatch):
    before = dict(RULES)
    for folder, text in (("a", EXAMPLE), ("a", EXAMPLE), ("b", EXAMPLE + "# another\n")):
        path = write(text, folder=folder)
        assert built(path).edges
        assert built(path, "seed=1").edges
    assert before == RULES


def test_a_map_drawn_from_the_global_state_is_drawn_from_the_seed(write):
    text = PLAIN.replace("lambda plan: Fixed(plan.geometry, gain * plan.std, plan.generator)", "careless")
    text += "import torch\ndef careless(plan):\n    made = Fixed(plan.geometry, 1.0, plan.generator)\n"
    text += "    made.B.data = torch.randn(made.B.shape)\n    return made\n"
    path = write(text, naming('"my_rules.py:my_rule"'))
    a, b, c = (next(iter(built(path, f"seed={seed}").maps.values())).B for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_an_own_rule_that_looks_at_weights_is_checked_on_real_ones(write):
    text = PLAIN.replace("gain * plan.std", "float(plan.layer.weight.detach().abs().max())")
    study.validate(protocols.load(write(text, naming('"my_rules.py:my_rule"')), allow_code=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "/elsewhere/my_rules.py:my_rule",
            "own.toml: .*names '/elsewhere/my_rules.py', which leaves the protocol's folder",
        ),
        ("../my_rules.py:my_rule", "names '../my_rules.py', which leaves the protocol's folder; put the file beside"),
        ("a/../../my_rules.py:my_rule", "names 'a/../../my_rules.py', which leaves"),
        ("link.py:my_rule", "names 'link.py', which leads out of the protocol's folder; put a copy there"),
        ("my_rules.py", "rule 'my_rules.py' is not of the form FILE.py:FUNCTION, as in my_rules.py:my_rule"),
        ("my_rules:my_rule", "rule 'my_rules:my_rule' is not of the form"),
        ("my_rules.py:my-rule", "rule 'my_rules.py:my-rule' is not of the form"),
        ("C:/my_rules.py:my_rule", "rule 'C:/my_rules.py:my_rule' is not of the form"),
        ("nosuch.py:my_rule", r"rules.\"retina.conv2\": rule 'nosuch.py:my_rule': 'nosuch.py' cannot be read .No such"),
        ("folder.py:my_rule", "'folder.py' cannot be read .it is no file, but a folder"),
        ("my_rules.py:my_rul", "'my_rules.py' has no function 'my_rul': it has my_rule; did you mean 'my_rule'"),
        ("my_rules.py:Fixed", "'my_rules.py' has no function 'Fixed': it has my_rule"),
    ],
)
def test_a_name_that_means_no_function_of_a_file_beside_is_refused(write, tmp_path, name, message):
    path = write(PLAIN, naming(f'"{name}"'), folder="study")
    (tmp_path / "elsewhere.py").write_text(PLAIN)
    (path.parent / "link.py").symlink_to(tmp_path / "elsewhere.py")
    (path.parent / "folder.py").mkdir()
    refused(path, message)


RULE = "from rfmodel.routing import *\ndef my_rule(rank=4):\n    "
FAILING = {
    "syntax": (
        "x = 1\ndef my_rule(:\n",
        r"'my_rules.py', line 2: SyntaxError \(.*\) while it is loaded; mend it there",
    ),
    "import": ("\nimport nosuch_package", r"line 2: ModuleNotFoundError \(No module named 'nosuch_package'\).*install"),
    "name": ("from rfmodel.routing import Nosuch", r"line 1: ImportError \(cannot import name 'Nosuch'"),
    "relative": ("from . import other", r"line 1: ImportError \(attempted relative import"),
    "any error": ("\n\n1 / 0", r"line 3: ZeroDivisionError \(division by zero\) while it is loaded; mend it there"),
    "several lines": ("raise ValueError('a\\nb')", r"line 1: ValueError \(a b\)"),
    "exit": ("import sys\nsys.exit(3)", r"line 2: SystemExit \(3\) while it is loaded; take the exit out"),
    "encoding": ("# coding: nosuch\n", r"line \d: SyntaxError .*nosuch"),
    "neighbour": (
        "import json\nimport neighbour",
        "line 2: 'neighbour' lies beside it, .*; put the code into 'my_rules.py'",
    ),
    "neighbour's part": ("def f():\n    from package.part import x", "line 2: 'package' lies beside it"),
    "built-in name": (
        "from rfmodel.routing import register_rule\n@register_rule('fa')\ndef my_rule(): ...",
        "'my_rules.py', line 2: rule 'fa' is registered already, by rfmodel.*; choose another name",
    ),
    "no function": ("my_rule = 3", "has no function 'my_rule': it has no function at all"),
    "no rule": (
        RULE + "return 3",
        "'my_rules.py', line 2: my_rule returns a int; let it return a rfmodel.routing.Rule",
    ),
    "raises": (
        RULE + "return rank / 0",
        r"line 3: ZeroDivisionError \(division by zero\) while my_rule makes the rule",
    ),
    "exits": (RULE + "raise SystemExit", "line 3: SystemExit while my_rule makes the rule; take the exit out"),
    "routing raises": (
        RULE + "return Rule('x', lambda record, sites: sites[9:][0], None)",
        "line 3: IndexError .* while its routing lays edges",
    ),
    "routing of other things": (
        RULE + "return Rule('x', lambda record, sites: ['here'], None)",
        "line 2: the routing of 'x' gives 'here', no Edge",
    ),
    "map raises": (
        RULE + "return Rule('x', layerwise, lambda plan: plan.nosuch)",
        r"line 3: AttributeError \(.*nosuch.*\) while it makes the map of 'retina.conv2.output->retina.conv2.input'",
    ),
    "map that takes no plan": (
        RULE + "return Rule('x', layerwise, Fixed)",
        r"line 2: TypeError \(.*\) while it makes the map of 'retina.conv2.output->",
    ),
    "no map": (
        RULE + "return Rule('x', layerwise, lambda plan: plan.std)",
        "line 2: the map of 'retina.conv2.output->retina.conv2.input' is a float; make it a rfmodel.routing.Feedback",
    ),
    "map without carry": (
        RULE + "return Rule('x', layerwise, lambda plan: Feedback(plan.geometry))",
        r"is a Feedback, which has no carry\(\); write one",
    ),
    "map without effective": (
        RULE + "return Rule('x', layerwise, lambda plan: type('Half', (Feedback,), {'carry': 1})(plan.geometry))",
        r"is a Half, which has no effective\(\); write one",
    ),
    "impossible rank": (
        RULE + "return Rule('x', layerwise, lambda plan: LowRank(plan.geometry, 1, plan.generator, rank=99))",
        "'my_rules.py', line 3: rank 99 is impossible",
    ),
    "map of the wrong shape": (
        EXAMPLE.replace("broadcast(", "my_rule(").replace("P.to(", "P[:, 1:].to("),
        "Topographic",
    ),
    "in a partition": (
        RULE + "return Rule('x', None, None, {'retina.conv2': Rule('y', layerwise, lambda plan: 1 / 0)})",
        "line 3: ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_file_that_fails_is_refused_before_training_by_file_line_and_error(write, monkeypatch, case):
    rules, message = FAILING[case]
    path = write(rules, naming('"my_rules.py:my_rule"'))
    (path.parent / "neighbour.py").write_text("")
    (path.parent / "package").mkdir()
    (path.parent / "package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(path.parent))
    before = dict(RULES)
    told = refused(path, message)
    assert told.startswith("own.toml: condition 'all': rules.")
    assert before == RULES
    assert "neighbour" not in sys.modules


def test_a_file_that_is_not_text_is_refused(write):
    path = write(text=naming('"my_rules.py:my_rule"'))
    (path.parent / "my_rules.py").write_bytes(b"x = '\xff\xfe'\n")
    refused(path, "'my_rules.py', line 1: SyntaxError")


def test_an_unknown_option_is_refused_as_of_any_rule(write):
    path = write(text=naming('{ name = "my_rules.py:broadcast", rnk = 2 }'))
    refused(path, "rule 'my_rules.py:broadcast' has no option 'rnk': its options are rank, .*did you mean 'rank'")


def test_a_function_that_needs_an_option_says_so(write):
    path = write(PLAIN.replace("gain=1.0", "gain"), naming('"my_rules.py:my_rule"'))
    refused(path, "rule 'my_rules.py:my_rule' needs gain; say for example gain = 4")


def test_a_function_of_any_positions_needs_none_of_them(write):
    assert built(write(PLAIN.replace("gain=1.0", "gain=1.0, *more"), naming('"my_rules.py:my_rule"'))).edges


def test_a_file_that_fails_in_the_midst_of_training_is_named_by_line(tmp_path, write):
    late = """
from rfmodel.routing import Fixed, Rule, layerwise

class Late(Fixed):
    def carry(self, delta, like, B):
        if len(delta) > 1:
            raise RuntimeError("one at a time")
        return super().carry(delta, like, B)

def my_rule():
    return Rule("late", layerwise, lambda plan: Late(plan.geometry, plan.std, plan.generator))
"""
    path = write(late, naming('"my_rules.py:my_rule"'))
    protocol = protocols.load(path, allow_code=True)
    with pytest.raises(InputError, match=r"^'my_rules.py', line 7: RuntimeError \(one at a time\) while a network is"):
        study.run_study(protocol, tmp_path / "out")


def test_a_file_that_failed_can_be_mended_within_one_process(write):
    refused(write("1 / 0", naming('"my_rules.py:my_rule"')), "ZeroDivisionError")
    assert built(write(PLAIN, naming('"my_rules.py:my_rule"'))).edges


def test_what_a_package_registers_while_a_file_is_loaded_stays_registered(write, tmp_path, monkeypatch):
    library = tmp_path / "library"
    library.mkdir()
    source = PLAIN.replace("def my_rule", "@register_rule('of_a_package')\ndef theirs").replace(
        "Rule,", "Rule, register_rule,"
    )
    (library / "lab_rules_for_tests.py").write_text(source)
    monkeypatch.syspath_prepend(str(library))
    path = write("import lab_rules_for_tests\n" + PLAIN, naming('"my_rules.py:my_rule"'), folder="study")
    try:
        assert built(path).edges
        assert make_rule("of_a_package").name == "mine"
    finally:
        RULES.pop("of_a_package", None)
        sys.modules.pop("lab_rules_for_tests", None)


def test_settings_without_their_file_make_no_rule():
    with pytest.raises(InputError, match="rule 'my_rules.py:my_rule' names a file, and these settings came without it"):
        make_any(RuleSettings.model_validate("my_rules.py:my_rule"))


def test_what_rules_are_called_and_where_they_lie():
    assert called("my_rules.py:my_rule") == "my_rule"
    assert called("ldfa") == "ldfa"
    assert parted("./sub//my_rules.py:my_rule") == ("sub/my_rules.py", "my_rule")


def test_a_rule_of_a_file_trains_as_its_built_in_twin(write):
    # The same topology and maps as feedback alignment, drawn from the same edge's name: bitwise the same gradients.
    own, twin = built(write(PLAIN, naming('"my_rules.py:my_rule"'))), built(write(text=naming('"fa"')))
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    for routed in (own, twin):
        nn.functional.cross_entropy(routed.eval()(images), labels).backward()
    for a, b in zip(own.network.parameters(), twin.network.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
