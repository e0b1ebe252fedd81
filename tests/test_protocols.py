"""Protocol files: what they expand into, and what is refused, in one line that names file, key and value."""

from __future__ import annotations

import inspect
import math
import textwrap

import pytest

from rfmodel import network_settings, protocols, study
from rfmodel.errors import InputError
from rfmodel.models import vgg13
from rfmodel.routing import RULES
from rfmodel.schemas import RANKLESS

SMALL = """
title = "small"
[network]
width = 8
kernel = 3
depth = 1
[axes]
seed = [0, 1]
[[conditions]]
name = "BP, wide"
network.bottleneck = 8
[[conditions]]
name = "BP, bottleneck {bottleneck}"
axes.bottleneck = [1, 2]
[[conditions]]
name = "LDFA, r = {rank}"
network.bottleneck = 8
rules.retina = { name = "ldfa", q = "hebbian" }
axes.rank = [2, 4]
"""


@pytest.fixture
def write(tmp_path):
    def make(text=SMALL, name="small.toml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return make


def test_runs_are_conditions_times_axes(write):
    runs = protocols.load(write()).runs
    assert len(runs) == 2 * (1 + 2 + 2)
    assert [r.condition for r in runs if r.settings.seed == 0] == [
        "BP, wide",
        "BP, bottleneck 1",
        "BP, bottleneck 2",
        "LDFA, r = 2",
        "LDFA, r = 4",
    ]


def test_coordinates_stand_on_the_axes(write):
    run = protocols.load(write(), only=["rank=4", "seed=1"]).runs[0]
    assert run.coordinates == {
        "condition": "LDFA, r = 4",
        "rule": "ldfa",
        "rank": 4.0,
        "network": "retina_vvs",
        "bottleneck": 8,
        "depth": 1,
        "width": 8,
        "classes": pytest.approx(math.nan, nan_ok=True),
        "seed": 1,
    }
    plain = protocols.load(write(), only=["rule=bp", "seed=0", "condition=BP, wide"]).runs
    assert len(plain) == 1
    assert math.isnan(plain[0].coordinates["rank"])


def test_identity_is_that_of_the_resolved_settings(write):
    a, b = protocols.load(write()).runs[:2]
    again = protocols.load(write(SMALL.replace('title = "small"', 'title = "other words"'))).runs
    assert a.identity != b.identity
    assert [r.identity for r in again] == [r.identity for r in protocols.load(write()).runs]
    assert protocols.load(write(), ["train.epochs=3"]).runs[0].identity != a.identity


def test_backpropagation_has_one_identity_however_it_is_spelt(write):
    spelt = {
        protocols.load(write(SMALL + line), only=["condition=BP, wide"]).runs[0].identity
        for line in ("", '[rules]\n"*" = "bp"\n', '[rules]\n"*" = {name = "bp"}\n')
    }
    assert len(spelt) == 1


def test_set_overrides_every_condition_and_axes(write):
    runs = protocols.load(write(), ["width=5", "train.optimiser.learning_rate=0.5", "axes.seed=[7]"]).runs
    assert len(runs) == 5
    assert {r.settings.network.width for r in runs} == {5}
    assert {r.settings.train.optimiser.learning_rate for r in runs} == {0.5}
    assert {r.settings.seed for r in runs} == {7}


def test_a_rule_for_every_site_is_one_word(write):
    runs = protocols.load(write('rules = "fa"\n[axes]\nseed = [0]\n')).runs
    assert {site: rule.name for site, rule in runs[0].settings.rules.items()} == {"*": "fa"}


def test_low_rank_feedback_into_the_retina_is_one_line(write):
    run = protocols.load(write('rules.retina = { name = "ldfa", rank = 2 }\n')).runs[0]
    assert run.settings.rules["retina"].options == {"rank": 2}


@pytest.mark.parametrize("name", protocols.names(theory=False))
def test_every_shipped_protocol_can_be_run(name):
    read = protocols.load(name)
    assert read.title
    assert read.description
    assert read.source
    study.validate(read)


def test_the_studies_are_those_of_the_papers():
    lindsey = protocols.load("retina_bottleneck").runs
    assert {(r.settings.network.bottleneck, r.settings.network.depth) for r in lindsey} == {
        (b, d) for b in (1, 2, 4, 8, 16, 32) for d in range(5)
    }
    hanut = protocols.load("retina_feedback").runs
    assert {r.settings.seed for r in hanut} == set(range(5))
    assert {r.coordinates["rank"] for r in hanut if r.coordinates["rule"] == "ldfa"} == {2, 4, 32}
    assert {r.settings.train.epochs for r in hanut} == {120}


BAD = {
    "unknown table": ("[trian]\nepochs = 2", "small.toml: key 'trian' is unknown: .*did you mean 'train'"),
    "unknown key": ("[train]\nepoch = 2", "small.toml: key 'train.epoch' is unknown: .*did you mean 'epochs'"),
    "unknown nested key": (
        "[train.optimiser]\nlr = 2",
        "key 'train.optimiser.lr' is unknown: known there are name, lear",
    ),
    "wrong type": ('[train]\nepochs = "ten"', "key 'train.epochs' = 'ten': should be a valid integer"),
    "out of bounds": ("[train]\nbatch = 0", "key 'train.batch' = 0: should be greater than or equal to 1"),
    "unknown choice": (
        '[train]\nprecision = "fp16"',
        "key 'train.precision' = 'fp16': should be 'auto', 'fp32' or 'bf16'",
    ),
    "schedule without gamma": ('[train.optimiser]\nschedule = "exponential"', "needs gamma"),
    "rule without name": (
        "[rules]\nretina = {rank = 2}",
        "key 'rules.retina': a rule is a name or a table with a name",
    ),
    "empty axis": ("[axes]\nseed = []", r"axis 'axes.seed' is \[\]; it needs a list with at least one value"),
    "axis no list": ("[axes]\nseed = 3", "axis 'axes.seed' is 3; it needs a list"),
    "axes no table": ("axes = 3", "axes must be a table of lists"),
    "conditions no tables": ("conditions = [1]", "conditions must be tables"),
    "unknown key of a condition": (
        '[[conditions]]\nnam = "x"',
        "key 'conditions.nam' is unknown: .*did you mean 'name'",
    ),
    "label without axis": ('[[conditions]]\nname = "r {rank}"', "condition name 'r {rank}' asks for 'rank'"),
    "twins": ('[[conditions]]\nname = "a"\n[[conditions]]\nname = "b"', "'a' and 'b' .seed 0. are the same run"),
    "not TOML": ("title = ", "small.toml is not a TOML file"),
    "rank axis without a rule": ("[axes]\nrank = [2]", "axis 'rank' needs a rule written as a table"),
    "a value where a table is": ("network = 3\n[axes]\nbottleneck = [2]", "'network' is not a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(write, case):
    text, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        protocols.load(write(text))
    assert "\n" not in str(caught.value)


BAD |= {
    "boolean for a number": ("[train]\nepochs = true", "key 'train.epochs' = True: should be a valid integer"),
    "string for a number": ('[train]\nepochs = "1"', "key 'train.epochs' = '1': should be a valid integer"),
    "not a number": ("[train]\nmean = nan", "key 'train.mean'.*finite number"),
    "gamma without a schedule": ("[train.optimiser]\ngamma = 0.5", "a constant schedule has no gamma"),
    "inverse time without gamma": ('[train.optimiser]\nschedule = "inverse_time"', "needs gamma, the decay of a step"),
    "option of another optimiser": (
        '[train.optimiser]\nname = "adam"\noptions = {alpha = 0.9}',
        "adam has no option 'alpha': it has betas, eps, amsgrad",
    ),
    "the rate as an option": ("[train.optimiser]\noptions = {lr = 1.0}", "rmsprop has no option 'lr'"),
    "impossible option": ("[train.optimiser]\noptions = {alpha = 1.5}", "option alpha = 1.5 of rmsprop is impossible"),
    "impossible betas": (
        '[train.optimiser]\nname = "adam"\noptions = {betas = [0.9, 1.5]}',
        r"option betas = \(0.9, 1.5\) of adam is impossible; use two numbers",
    ),
    "one beta": (
        '[train.optimiser]\nname = "adam"\noptions = {betas = 0.9}',
        "option betas = 0.9 of adam is impossible",
    ),
    "a flag that is a number": (
        '[train.optimiser]\nname = "adam"\noptions = {amsgrad = 3.0}',
        "option amsgrad = 3.0 of adam is impossible; use true or false",
    ),
    "a number that is a pair": (
        "[train.optimiser]\noptions = {alpha = [0.1, 0.2]}",
        "option alpha = .*use 0 to below 1",
    ),
    "nesterov without momentum": (
        '[train.optimiser]\nname = "sgd"\noptions = {nesterov = true}',
        "option nesterov of sgd needs a momentum above 0",
    ),
    "a network's name alone": ('network = "vit"', "key 'network' = 'vit': should be a table with a name"),
    "a batch without bound": ("[train]\nbatch = 9999999999999999999", "key 'train.batch' = 9999999999999999999"),
    "impossible eps": ("[train.optimiser]\noptions = {eps = 0.0}", "option eps = 0.0 of rmsprop is impossible"),
    "layers no list": ("[fields]\nlayers = 1", "key 'fields.layers' = 1"),
    "unknown key of a network": ('[network]\nname = "mlp"\nwidht = 3', "key 'network.widht' is unknown.*'width'"),
    "a width of nought": (
        '[network]\nname = "mlp"\nwidth = 0',
        "key 'network.width' = 0: .*greater than or equal to 1",
    ),
    "widths and another depth": (
        '[network]\nname = "mlp"\nwidth = [64, 32]\ndepth = 3',
        "depth 3 needs as many widths, found 2",
    ),
    "a preset that is no table": ("[presets]\nfast = 3", "presets must be tables of settings"),
    "a preset with an unknown key": ("[presets.fast]\ntrian = 3", "key 'presets.fast.trian' is unknown.*'train'"),
    "seed too large": ("[axes]\nseed = [99999999999999999999]", "key 'axes.seed'"),
    "unknown axis": ("[axes]\nsedd = [0]", "key 'axes.sedd' is unknown: .*did you mean 'seed'"),
    "two unnamed conditions": (
        "[[conditions]]\nnetwork.bottleneck = 4\n[[conditions]]\nnetwork.bottleneck = 8",
        "two different conditions are called 'all'; give each .* its own name",
    ),
    "attribute in a label": ('[[conditions]]\nname = "{seed.real}"', "condition name '{seed.real}' cannot be read"),
    "open brace in a label": ('[[conditions]]\nname = "{"', "condition name '{' cannot be read"),
    "a date": ("[network]\nwidth = 2020-01-01", "use numbers, strings, booleans, lists and tables"),
}


UNTRAINABLE = {
    "unknown rule": ('rules.retina = "ldfb"', "small.toml: condition 'all': rules.\"retina\": rule 'ldfb' is unknown"),
    "unknown site": ('rules.retinas = "fa"', "site 'retinas' is not in the network.*did you mean 'retina'"),
    "impossible rank": ('rules.retina = {name = "ldfa", rank = 64}', "rank 64 is impossible.*32 channels.*use 1 to 32"),
    "unknown network": ('network.name = "retina"', "key 'network.name' = 'retina' is unknown: known are retina_vvs"),
    "impossible kernel": ("network.kernel = 4", "network: kernel 4 asked; an odd kernel"),
    "unknown layer of fields": ('fields.layers = ["retina.conv3"]', "fields.layers: 'retina.conv3' is unknown"),
    "unknown data": ('data.name = "cifar"', "data set 'cifar' is unknown: .*did you mean 'cifar10'"),
    "unknown site of backpropagation": ('rules.nosuch = "bp"', "site 'nosuch' is not in the network"),
    "source no name": ('rules.retina = {name = "dldfa", rank = 2, source = 3}', "source '3' is not in the network"),
    "decay no number": (
        'rules.retina = {name = "ldfa", rank = 2, decay = "big"}',
        "decay 'big' of rule 'ldfa' is imposs",
    ),
    "negative decay": ('rules.retina = {name = "ldfa_normative", rank = 2, decay = -1}', "decay -1 of rule"),
    "use_targets no choice": (
        'rules."head.logits" = {name = "ldfa", rank = 2, use_targets = 1}',
        "use_targets 1 of rule",
    ),
    "targets where classes and channels agree by chance": (
        'rules.retina = {name = "ldfa", rank = 2, use_targets = true}\nnetwork.width = 12',
        "labels drive P only where the error is the output's",
    ),
    "a network without bound": ('network = {name = "vgg", width = 1e9}', "network: it cannot be made of these sizes"),
    "a crop of nothing": (
        "train.augment.crop = 32",
        "crop = 32 would cut windows with nothing of the image, 32 pixels",
    ),
    "photographs that are no list": ("data.options.classes = 1.5", "classes=1.5 was asked for"),
    "unknown method of fields": ('fields.method = "gradeint"', "gradeint.*did you mean 'gradient'"),
}


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_what_cannot_be_trained_is_refused_before_training(write, case):
    text, message = UNTRAINABLE[case]
    with pytest.raises(InputError, match=message) as caught:
        study.validate(protocols.load(write(text)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "only", "message"),
    [
        (["train.epochs"], [], "--set 'train.epochs' is not of the form key=value"),
        (["train.epoch=2"], [], "key 'train.epoch' is unknown"),
        ([], ["seed=9"], "--only 'seed=9' fits no run: 'seed' takes 0, 1"),
        ([], ["sede=0"], "'sede' is no axis; .*did you mean 'seed'"),
        ([], ["rank=2", "bottleneck=1"], "fits no run together"),
    ],
)
def test_bad_options_are_refused(write, overrides, only, message):
    with pytest.raises(InputError, match=message):
        protocols.load(write(), overrides, only)


def test_every_value_of_a_selection_must_fit_something(write):
    with pytest.raises(InputError, match="--only 'seed=0,99' fits no run"):
        protocols.load(write(), only=["seed=0,99"])


def test_an_override_of_an_axis_moves_the_run_on_it(write):
    assert len(protocols.load(write(SMALL.replace("seed = [0, 1]", "seed = [0]")), ["seed=7"], ["seed=7"]).runs) == 5


def test_rank_is_set_where_a_rule_has_one_and_left_elsewhere(write):
    runs = protocols.load(write(SMALL.replace("axes.rank = [2, 4]", "axes.rank = [2]")), ["rank=3"], ["seed=0"]).runs
    assert [r.coordinates["rank"] for r in runs if r.coordinates["rule"] == "ldfa"] == [3.0]


def test_a_site_with_dots_can_be_overridden(write):
    runs = protocols.load(write(), ['rules."vvs.conv1"={name="fa"}'], ["condition=BP, wide", "seed=0"]).runs
    assert runs[0].settings.rules["vvs.conv1"].name == "fa"


def test_conditions_that_are_not_selected_do_not_stop_an_override(write):
    runs = protocols.load(write(), ["rules.retina.decay=0.1"], ["condition=LDFA*", "seed=0"]).runs
    assert {r.settings.rules["retina"].options["decay"] for r in runs} == {0.1}


def test_an_axis_that_a_name_leaves_out_is_added_to_it(write):
    text = SMALL.replace('name = "BP, bottleneck {bottleneck}"', 'name = "narrow"')
    labels = {r.condition for r in protocols.load(write(text)).runs}
    assert {"narrow, bottleneck 1", "narrow, bottleneck 2"} <= labels


def test_depth_is_the_presets_where_it_is_left_open(write):
    from rfmodel.models.retina_vvs import PRESETS

    for name, preset in PRESETS.items():
        run = protocols.load(write(f'network.preset = "{name}"\n')).runs[0]
        spelt = protocols.load(write(f'network.preset = "{name}"\nnetwork.depth = {preset.depth}\n')).runs[0]
        assert run.settings.network.depth == preset.depth
        assert run.identity == spelt.identity


def test_feedback_optimiser_inherits_what_it_leaves_open_but_the_decay(write):
    text = """
    [train.optimiser]
    learning_rate = 0.5
    weight_decay = 0.25
    schedule = "exponential"
    gamma = 0.75
    options = { alpha = 0.5 }
    [train.feedback]
    learning_rate = 0.125
    """
    feedback = protocols.load(write(text)).runs[0].settings.train.feedback
    assert (feedback.learning_rate, feedback.weight_decay, feedback.gamma) == (0.125, 0.0, 0.75)
    assert feedback.options == {"alpha": 0.5}
    other = protocols.load(write(text + 'name = "sgd"\nschedule = "constant"\n')).runs[0].settings.train.feedback
    assert (other.gamma, other.options) == (0.0, {})


@pytest.mark.parametrize(
    "schedule", ['schedule = "step"\nmilestones = [3]\ngamma = 0.5', 'schedule = "cosine"\nfloor = 1e-6']
)
def test_feedback_of_another_schedule_inherits_nothing_of_the_weights_own(write, schedule):
    text = f'[train.optimiser]\n{schedule}\n[train.feedback]\nschedule = "constant"\n'
    feedback = protocols.load(write(text)).runs[0].settings.train.feedback
    assert (feedback.schedule, feedback.milestones, feedback.gamma, feedback.floor) == ("constant", (), 0.0, 0.0)


def test_photographs_can_be_chosen(write):
    run = protocols.load(write('data.options.classes = ["brick", "moon"]\n')).runs[0]
    assert run.settings.data.options["classes"] == ["brick", "moon"]


def test_a_name_too_long_for_the_system_is_not_there():
    with pytest.raises(InputError, match="is not there"):
        protocols.load("x" * 300 + ".toml")


def test_missing_protocols_name_the_nearest(tmp_path):
    with pytest.raises(InputError, match="protocol 'quickstrat' is unknown: .*did you mean 'quickstart'"):
        protocols.load("quickstrat")
    with pytest.raises(InputError, match="protocol file '.*none.toml' is not there"):
        protocols.load(tmp_path / "none.toml")


def test_a_rank_axis_reaches_the_rules_that_have_a_rank_and_no_other(write):
    text = """
    rules."vvs.*" = { name = "fa", scale = 1.0 }
    rules.retina = { name = "partition", parts = { retina = { name = "ldfa" }, "head.*" = { name = "usf" } } }
    axes.rank = [2, 4]
    """
    for run, rank in zip(protocols.load(write(text)).runs, (2, 4), strict=True):
        rules = run.settings.rules
        assert rules["vvs.*"].options == {"scale": 1.0}
        assert rules["retina"].options["parts"] == {"retina": {"name": "ldfa", "rank": rank}, "head.*": {"name": "usf"}}


def test_the_rules_without_a_rank_are_those_whose_function_takes_none():
    takes = {name for name, make in RULES.items() if "rank" in inspect.signature(make).parameters}
    handed_on = {"skip", "partition"}  # whose own rules may have one
    assert set(RULES) - takes - handed_on == RANKLESS


PRESETS = """
[network]
name = "mlp"
[presets.paper.train]
epochs = 7
[presets.fast.train]
epochs = 2
batch = 8
[[conditions]]
name = "own"
train.batch = 16
"""


def test_a_preset_lies_between_the_file_and_its_conditions(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(PRESETS)
    for preset, epochs in ((None, 7), ("paper", 7), ("fast", 2)):
        read = protocols.load(path, preset=preset)
        (run,) = read.runs
        assert (run.settings.train.epochs, run.settings.train.batch) == (epochs, 16)
        assert run.preset == (preset or "paper")
        assert read.presets == ("paper", "fast")
    (run,) = protocols.load(path, ["train.epochs=3"], preset="fast").runs
    assert run.settings.train.epochs == 3


def test_an_unknown_preset_is_refused_by_name(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(PRESETS)
    with pytest.raises(InputError, match="p.toml: preset 'fats' is unknown: known are paper, fast.*'fast'"):
        protocols.load(path, preset="fats")
    with pytest.raises(InputError, match="retina_feedback.toml: preset 'fast' is unknown: the file has none"):
        protocols.load("retina_feedback", preset="fast")


def test_a_network_has_one_identity_however_its_defaults_are_spelt(tmp_path):
    path = tmp_path / "p.toml"
    spelt = {
        'name = "mlp"': 'name = "mlp"\nwidth = 512\ndepth = 4\nbatch_norm = false',
        'name = "mlp"\nwidth = 64\ndepth = 2': 'name = "mlp"\nwidth = [64, 64]',
        'name = "resnet"': 'name = "resnet"\ndepth = 20\nshortcut = "A"',
        'name = "small_conv"': 'name = "small_conv"\nkernel = [3, 3, 3]',
        'name = "vgg13"': 'name = "vgg13"\ndropout = 0.0',
        'name = "vgg13"\nhead = "imagenet"': 'name = "vgg13"\nhead = "imagenet"\ndropout = 0.5',
    }
    for short, long in spelt.items():
        identities = set()
        for text in (short, long):
            path.write_text(f"[network]\n{text}\n")
            identities.add(protocols.load(path).runs[0].identity)
        assert len(identities) == 1


def test_the_dropout_of_a_head_is_that_of_its_network():
    assert {head: usual[-1] for head, usual in vgg13.HEADS.items()} == network_settings.HEAD_DROPOUT


def test_an_axis_may_be_quoted_on_the_command_line_as_in_a_file(write):
    quoted, plain = (protocols.load(write(), [f"axes.{key}=[4, 8]"]) for key in ('"network.width"', "network.width"))
    assert [run.identity for run in quoted.runs] == [run.identity for run in plain.runs]
    sites = protocols.load(write('rules."vvs.*" = {name = "ldfa"}\n'), ['axes.rules."vvs.*".rank=[1, 2]']).runs
    assert {run.settings.rules["vvs.*"].options["rank"] for run in sites} == {1, 2}


def test_benchmark_networks_extract_no_fields_unless_told(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[network]\nname = "vgg"\n')
    assert protocols.load(path).runs[0].settings.fields.layers == ()
    assert protocols.load(path, ['fields.layers=["block1.conv1"]']).runs[0].settings.fields.layers == ("block1.conv1",)
    assert protocols.load("retina_feedback").runs[0].settings.fields.layers == ("retina.conv2", "vvs.conv1")
