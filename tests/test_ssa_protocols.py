"""The protocols of SVD-space alignment say what the paper's tables say, and vary what they are said to vary."""

from __future__ import annotations

import pytest

from rfmodel import protocols
from rfmodel.published import published_of

A3 = {"epochs": 200, "batch": 128, "rate": 1e-4, "milestones": (20, 40, 60), "gamma": 0.1, "crop": 4, "flip": True}
ON_CIFAR = ("ssa_smallconv", "ssa_large", "ssa_ablation", "ssa_variants", "ssa_mlp_convergence", "ssa_alignment")


def accuracies(name):
    return {value.condition: value.accuracy for value in published_of(protocols.load(name).text).values}


@pytest.mark.parametrize("name", ON_CIFAR)
def test_the_first_preset_is_the_papers_appendix(name):
    protocol = protocols.load(name)
    assert protocol.presets == ("paper", "fast")
    for run in protocol.runs:
        train, optimiser = run.settings.train, run.settings.train.optimiser
        found = {"epochs": train.epochs, "batch": train.batch, "rate": optimiser.learning_rate}
        found |= {"milestones": optimiser.milestones, "gamma": optimiser.gamma}
        assert found | {"crop": train.augment.crop, "flip": train.augment.flip} == A3
        assert optimiser.name == "adam"


@pytest.mark.parametrize("name", [name for name in protocols.names() if name.startswith("ssa_")])
def test_ranks_fall_every_twentieth_of_the_training_where_layers_are_factored(name):
    runs = protocols.load(name).runs
    schedules = {run.condition: rule.options.get("schedule") for run in runs for rule in run.settings.rules.values()}
    factored = {run.condition for run in runs for r in run.settings.rules.values() if r.name.startswith(("ssa", "svd"))}
    assert factored
    assert {condition for condition, schedule in schedules.items() if schedule} == factored
    falling = [schedules[condition] for condition in factored if "full rank" not in condition]
    # Of the narrow network's 60 epochs it is a sixth: as many epochs as a twentieth of the paper's 200.
    every = 10 if name == "ssa_smallconv_narrow" else 0.05
    assert falling and {schedule["every"] for schedule in falling} == {every}
    kept = [schedules[condition] for condition in factored if "full rank" in condition]
    assert all(schedule == {"kind": "constant"} for schedule in kept)


def test_the_narrow_network_is_trained_as_the_paper_up_to_the_last_fall_of_the_rate():
    paper, narrow = (
        protocols.load("ssa_smallconv").runs[0].settings,
        protocols.load("ssa_smallconv_narrow").runs[0].settings,
    )
    optimiser = paper.train.optimiser.model_copy(update={"milestones": paper.train.optimiser.milestones[:-1]})
    assert narrow.train.epochs == paper.train.optimiser.milestones[-1]
    assert narrow.train == paper.train.model_copy(update={"epochs": narrow.train.epochs, "optimiser": optimiser})
    assert narrow.data == paper.data
    ours, theirs = accuracies("ssa_smallconv_narrow"), accuracies("ssa_smallconv")
    assert ours == {condition: theirs[condition] for condition in ours}


def test_baselines_of_table_4_are_the_adam_column_of_biotorch():
    ours, theirs = accuracies("ssa_variants"), accuracies("resnet_rules")
    rules = {"BP": "bp", "FA": "fa", "DFA": "dfa", "uSF": "usf", "brSF": "brsf"}
    for network in ("LeNet", "ResNet-20", "ResNet-56"):
        for said, rule in rules.items():
            assert ours[f"{network}, {said}"] == theirs[f"{network}, {rule}, Adam"]


def test_all_terms_of_table_3_score_as_vgg_13_of_table_2():
    assert accuracies("ssa_ablation")["full SSA"] == accuracies("ssa_large")["VGG-13, SSA"]


def test_each_term_is_removed_by_itself_in_the_study_of_angles():
    full = {"ce": 0.1, "cosine": 0.01, "align": 0.1, "ortho": 0.05, "hoyer": 0.01}
    removed = {}
    for run in protocols.load("ssa_alignment", only=["seed=0", "network=mlp"]).runs:
        for rule in run.settings.rules.values():
            if given := rule.options.get("coefficients"):
                assert {key: value or full[key] for key, value in given.items()} == full
                removed[run.condition.removeprefix("MLP, ")] = {key for key, value in given.items() if not value}
    assert removed == {
        "SSA 2024, no cosine": {"cosine"},
        "SSA 2024, no alignment": {"align"},
        "SSA 2024, no orthogonality": {"ortho"},
        "SSA 2024, no Hoyer": {"hoyer"},
        "SSA 2024, full rank, no alignment": {"align"},
        "SSA, cross-entropy alone, full rank": full.keys() - {"ce"},
    }


def test_each_condition_of_the_ablation_removes_one_term_of_the_papers_five():
    full = {"ce": 0.1, "cosine": 0.01, "align": 0.1, "ortho": 0.05, "hoyer": 0.01}
    runs = protocols.load("ssa_ablation", only=["seed=0", "rule=ssa2024"]).runs
    removed = []
    for run in runs:
        (rule,) = run.settings.rules.values()
        assert {key: value or full[key] for key, value in rule.options["coefficients"].items()} == full
        removed.append([key for key, value in rule.options["coefficients"].items() if not value])
    assert removed == [[], *([term] for term in full)]


def test_one_data_set_of_smallconv_can_be_selected():
    for name in ("cifar10", "cifar100"):
        runs = protocols.load("ssa_smallconv", only=[f"data.name={name}"]).runs
        assert {run.settings.data.name for run in runs} == {name}
        assert all(("CIFAR-100" in run.condition) == (name == "cifar100") for run in runs)
