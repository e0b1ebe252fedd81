"""The benchmark networks run by the engine of the retina: trained, accounted for, kept, without receptive fields."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rfmodel import building, cli, compiling, costs, datasets, protocols, spending, store, study, training
from rfmodel.bench import CASES, bench_train
from rfmodel.errors import InputError
from rfmodel.published import published_of

NETWORKS = {
    "mlp": 'name = "mlp"\nwidth = 8\ndepth = 2\nbatch_norm = true',
    "vgg": 'name = "vgg"\nwidth = 0.0625',
    "small_conv": 'name = "small_conv"\nwidth = 0.05',
    "vgg13": 'name = "vgg13"\nwidth = 0.05',
    "lenet": 'name = "lenet"',
    "resnet": 'name = "resnet"\ndepth = 20',
    "mobilenet": 'name = "mobilenet"\nwidth = 0.125',
    "vit": 'name = "vit"\ndim = 16\ndepth = 2\nheads = 2\nfused_qkv = false',
}
PROTOCOL = """
[data]
size = {size}
options = {{ classes = ["astronaut", "brick", "coins"], train_per_class = 10, test_per_class = 3 }}

[network]
{network}

[train]
epochs = 1
batch = 9
precision = "fp32"
label_smoothing = 0.1
average = 0.9
augment = {{ crop = 2, flip = true, cutout = 4 }}

[train.optimiser]
name = "adamw"
learning_rate = 1e-3
schedule = "cosine"
warmup = 0.5
"""


def loaded(folder, network, *overrides, text=PROTOCOL):
    path = folder / "p.toml"
    size = 32 if "vgg13" in network or "lenet" in network else 16
    path.write_text(text.format(network=network, size=size))
    return protocols.load(path, overrides)


@pytest.mark.parametrize("rule", ["bp", "ldfa"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_from_file_to_store(tmp_path, name, rule):
    rules = [] if rule == "bp" else ['rules."*"={name = "ldfa", rank = 2}']
    protocol = loaded(tmp_path, NETWORKS[name], *rules)
    (outcome,) = study.run_study(protocol, tmp_path / "out")
    assert outcome.state == "done"
    found = store.open_study(tmp_path / "out")
    assert found["network"].item() == name
    assert found["classes"].item() == 3
    assert "rf" not in found and "unit" not in found.dims
    spent = found["flops_epoch"].values[0]
    steps = found["flops"].sum().item() * (27 // 9)
    assert spent[0] == 0
    assert spent[1] == pytest.approx(steps, rel=1e-12)
    assert found["peak_memory"].item() >= 0


def test_costs_from_settings_alone_are_those_of_the_trained_network(tmp_path):
    protocol = loaded(tmp_path, NETWORKS["vgg"], 'rules."*"={name = "ldfa_normative", rank = 0.5}')
    settings = protocols.load(tmp_path / "p.toml", ['rules."*"={name = "ldfa_normative", rank = 0.5}']).runs[0].settings
    account = spending.costs_of(settings, (1, 16, 16), 3)
    study.run_study(protocol, tmp_path / "out")
    kept = store.open_study(tmp_path / "out")["flops"].isel(run=0)
    np.testing.assert_array_equal(kept.transpose("cost_layer", "part").values, account.table.values)


def test_an_epochs_cost_follows_a_schedule_of_ranks(tmp_path):
    rule = 'rules.layer2={name = "ldfa", rank = 4, schedule = [[2, 1]]}'
    data = datasets.load("natural_patches", size=16, classes=["brick", "coins"], train_per_class=10, test_per_class=2)
    settings = loaded(tmp_path, NETWORKS["mlp"], rule, "train.epochs=3").runs[0].settings
    result = training.train(settings, data)
    spent = result.history["flops_epoch"]
    assert spent[1] > spent[2] == spent[3] > 0
    narrow = loaded(tmp_path, NETWORKS["mlp"], 'rules.layer2={name = "ldfa", rank = 1}').runs[0].settings
    routed = building.build(narrow, data.image_shape, 2)
    account = costs.account(routed, 9, data.image_shape, costs.operations("adamw", 0.0, {}))
    # The optimiser still goes over all of P, whose idle rows are nought: 3 rows of 8, in each of 2 steps.
    idle = 2 * costs.operations("adamw", 0.0, {}) * 3 * 8
    assert spent[2] - idle == costs.per_epoch(account, len(data.train), 9)


def test_the_moving_average_is_what_is_judged_and_left(tmp_path):
    data = datasets.load("natural_patches", size=16, classes=["brick", "coins"], train_per_class=10, test_per_class=2)
    plain, averaged = (
        training.train(loaded(tmp_path, NETWORKS["mlp"], f"train.average={decay}").runs[0].settings, data)
        for decay in (0.0, 0.9)
    )
    one, two = plain.routed.network, averaged.routed.network
    assert plain.history["loss_train"][1] == averaged.history["loss_train"][1]  # the steps are the same
    assert not torch.equal(one.layer1.weight, two.layer1.weight)
    two.eval()
    x, y = next(iter(training.batches_of(data.test, loaded(tmp_path, NETWORKS["mlp"]).runs[0].settings, None)))
    loss = torch.nn.functional.cross_entropy(two(x), y)
    assert float(loss.detach()) == pytest.approx(averaged.history["loss_test"][1], rel=1e-5)


def test_smoothed_labels_raise_the_training_loss_of_the_same_first_step_only_by_their_formula(tmp_path):
    settings = loaded(tmp_path, NETWORKS["mlp"]).runs[0].settings
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    log = logits.log_softmax(1)
    by_hand = -(0.9 * log[range(5), labels] + 0.1 * log.mean(1)).mean()
    smoothed = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=settings.train.label_smoothing)
    assert float(smoothed) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_mean_for_other_channels_is_refused(tmp_path):
    protocol = loaded(tmp_path, NETWORKS["mlp"], "train.mean=[0.5, 0.5, 0.5]")
    with pytest.raises(
        InputError, match=r"p.toml: condition 'all': train.mean has 3 numbers, the images have 1 channels"
    ):
        study.validate(protocol)


def test_an_image_folder_that_is_not_there_is_refused_before_training(tmp_path):
    text = '[data]\nname = "image_folder"\ncolour = true\n[network]\n{network}\n# {size}'
    protocol = loaded(tmp_path, NETWORKS["mlp"], text=text)
    with pytest.raises(InputError, match="train"):
        study.run_study(protocol, tmp_path / "out", data_folder=tmp_path)
    assert not (tmp_path / "out").exists()


def test_compiling_that_fails_is_refused_in_one_line(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no compiler found\nand a long story")

    monkeypatch.setattr(compiling.torch, "compile", lambda *_, **__: fails)
    with pytest.raises(
        InputError, match=r"train.compile = true, but torch.compile fails for cpu here \(no compiler found"
    ):
        compiling.compiled(torch.nn.Linear(1, 1), torch.device("cpu"))


def test_unknown_network_of_a_benchmark_is_refused():
    with pytest.raises(
        InputError,
        match="net 'resnet21' is unknown: known are mlp, resnet20, retina_vvs, vgg, vit; did you mean 'resnet20'",
    ):
        bench_train("resnet21")
    with pytest.raises(InputError, match="precision 'fp16' is unknown: known are auto, bf16, fp32"):
        bench_train("mlp", casting="fp16")


@pytest.mark.parametrize("net", ["mlp"])
def test_a_benchmark_has_a_row_a_case_whose_ratio_is_of_its_medians(net):
    rows = bench_train(net, repeats=1, casting="fp32")
    assert [row["network"] for row in rows] == list(CASES[net])
    for row in rows:
        ours, plain = (float(row[f"{side} images/s"]) for side in ("ours", "plain"))
        assert math.isclose(float(row["ratio"]), ours / plain, rel_tol=0.05)


def test_costs_are_printed_by_condition_and_by_layer(capsys):
    from rfmodel import tables_of_costs

    read = protocols.load("mlp_all_rank", only=["condition=BP", "seed=0"])
    tables_of_costs.show_costs(read, None, layers=False)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    sizes = 3072 * 512 + 2 * 512 * 512 + 512 * 10
    assert cells[0] == "BP" and cells[1] == "32"
    assert float(cells[2]) == pytest.approx(2 * 32 * sizes / 1e6, abs=0.01)  # forward
    assert float(cells[3]) == pytest.approx(2 * 32 * (sizes - 3072 * 512) / 1e6, abs=0.01)  # no error to the image
    assert cells[-1] == "1.000"
    tables_of_costs.show_costs(read, None, layers=True)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert all(f"layer{i}" in line for i, line in zip((1, 2, 3), rows, strict=False))


def test_memory_is_printed_for_the_ranks_asked_for(capsys, tmp_path):
    from rfmodel import tables_of_costs

    read = loaded(tmp_path, 'name = "mlp"\nwidth = 8\ndepth = 2', 'rules."*"={name = "svd_bp"}')
    tables_of_costs.show_costs(read, None, layers=True, memory=True, rank_fraction=0.5)
    rows = [[cell.strip() for cell in line.split("│")] for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[2] for row in rows if row[1].startswith("layer")] == ["4", "4"] * 2  # half of 8, in both tables
    assert [row[2] for row in rows if row[1] == "total"] == ["0.53"] * 2  # 4 + 4 + 2 of 8 + 8 + 3
    plain = loaded(tmp_path, NETWORKS["mlp"])
    with pytest.raises(InputError, match="--rank-fraction 0.5 asks for factored layers, and p.toml has none"):
        tables_of_costs.show_costs(plain, None, layers=False, rank_fraction=0.5)
    for fraction in (0.0, 1.5):
        with pytest.raises(InputError, match=f"p.toml: condition 'all': rank {fraction} is impossible"):
            tables_of_costs.show_costs(read, None, layers=False, rank_fraction=fraction)


def test_every_published_value_says_where_it_was_read_and_what_it_was_got_with():
    found = [published_of(protocols.find(name).read_text(encoding="utf-8")) for name in protocols.names()]
    assert sum(len(one.values) for one in found) > 80
    for one in found:
        assert all(one.source and value.evidence and value.settings for value in one.values)


def test_the_command_line_lists_and_shows_presets(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rfmodel", "show", "mlp_direct"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert "Presets: paper, fast" in capsys.readouterr().out


def test_run_files_record_the_preset_and_the_place_of_the_network(tmp_path):
    protocol = protocols.load("mlp_all_rank", only=["condition=BP, width 64", "seed=0"], preset="fast")
    (run,) = protocol.runs
    assert (run.preset, run.coordinates["width"], run.coordinates["depth"]) == ("fast", 64.0, 3.0)
    assert math.isnan(run.coordinates["bottleneck"])
    assert json.loads(run.settings.model_dump_json())["network"]["name"] == "mlp"
    assert Path(protocols.find("mlp_all_rank")).is_file()
