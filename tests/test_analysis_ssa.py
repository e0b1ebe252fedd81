"""analysis/ssa.py says whether SSA is on par with backpropagation, and what it saves, from the studies it is given."""

import runpy
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from figures.synthetic_factors import FULL, all_rules, make_rule_run, ranks
from figures.synthetic_networks import Recipe, make_network_run

from rfmodel import protocols, store

SCRIPTS = Path(__file__).parent.parent / "analysis"
EPOCHS = 6


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch):
    monkeypatch.setattr(import_module("rfmodel.figures.theme"), "DPI", 40)


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return import_module("ssa_tables")


def keep(folder, recipes, published=None, make=make_rule_run, seeds=2):
    """Write a study of made-up runs as `rfmodel run` would, with the published accuracies of some conditions."""
    values = "".join(f'[[published.values]]\ncondition = "{c}"\naccuracy = {a}\n' for c, a in (published or {}).items())
    store.prepare(folder, f'title = "Made up"\n[published]\nscore = "best test epoch"\n{values}')
    for position, recipe in enumerate(recipes):
        for seed in range(seeds):
            name = f"{position}_seed{seed}_000000000000"
            run = make(recipe, seed, EPOCHS).assign_attrs(position=position, name=name)
            store.save(run, store.run_path(folder, name))
    return folder


def call(monkeypatch, *arguments):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / "ssa.py"), *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / "ssa.py"), run_name="__main__")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder with the page of a study of all rules."""
    folder = tmp_path_factory.mktemp("ssa")
    study = keep(folder / "mlp", all_rules(), {"BP": 0.90, "SSA 2024": 0.85, "DFA": 0.7})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("rfmodel.figures.theme"), "DPI", 40)
        call(patch, study, "--out", folder / "out", "--command", "rfmodel run it", "--account", "")
    return folder / "out"


def test_page_says_of_each_ssa_whether_it_is_on_par_with_what_made_it(written):
    page = (written / "ssa.md").read_text(encoding="utf-8")
    assert "    rfmodel run it\n" in page and "    python analysis/ssa.py" in page
    # Ten and eleven hundredths below backpropagation with every seed, so that no resample differs.
    assert "- **SSA 2024**: no: below it by every resample of the seeds. -10.00 points to BP (-10.00 to -10.00" in page
    assert "published -5.00, so that ours lies beyond the gap that the paper calls on par." in page
    assert "- **SSA 2025**: no" in page and "no number is published for the two." in page
    assert "| DFA | BP | 2 | -3.00 | -3.00 to -3.00 | -3.00 to -3.00 | -20.00 |" in page
    assert "**DFA**" not in page  # the question is of SSA
    for name in ("error", "alignment", "factors"):
        assert f"(ssa_mlp_{name}.png)" in page
        assert (written / f"ssa_mlp_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_tables_hold_errors_angles_and_ranks_of_the_recipe(written):
    page = (written / "ssa.md").read_text(encoding="utf-8")
    assert "| condition | seeds | epoch 0 | epoch 1 | epoch 2 | epoch 3 | epoch 4 | epoch 6 |" in page
    assert "| BP | 2 | 90.00 |" in page and "| 37.95 (37.90, 38.00) |" in page  # 62.0 and 62.1 % right
    assert "| DFA | 2 | 75.0 (75.0, 75.0) | layer0 70.0, layer1 80.0 |" in page
    assert "| SSA 2024 | 2 | 30.0 (30.0, 30.0) | layer0 25.0, layer1 35.0, logits 0.0 |" in page
    left = ranks(EPOCHS)[-1].astype(int)
    assert f"| SVD-BP | layer1 | {FULL[0]} | {left[0]} | 1.5 (1, 2) |" in page


def test_study_without_backpropagation_or_feedback_says_that_there_is_nothing_to_compare(tmp_path, monkeypatch):
    study = keep(tmp_path / "mlp", [Recipe("FA", 0.5, "fa")], make=make_network_run, seeds=1)
    call(monkeypatch, study, "--out", tmp_path, "--account", "")
    page = (tmp_path / "ssa.md").read_text(encoding="utf-8")
    assert "No backpropagation on a network of the same form has finished" in page
    assert "### Angle" not in page and "### Factored" not in page


@pytest.mark.parametrize(
    ("bootstrap", "seeds", "said"),
    [
        ((-2.0, -1.0), 3, "no: below it by every resample"),
        ((1.0, 2.0), 3, "yes: above it by every resample"),
        ((-1.0, 1.0), 3, "not told apart by these seeds"),
        ((np.nan, np.nan), 1, "one seed, which answers nothing"),
    ],
)
def test_verdict_follows_the_interval(tables, bootstrap, seeds, said):
    gap = tables.Gap("SSA", "BP", seeds, float(np.mean(bootstrap)), bootstrap, (np.nan, np.nan), np.nan)
    assert said in tables.verdict(gap)


def test_gap_within_the_published_one_is_said_to_be(tables):
    inside = tables.Gap("SSA", "BP", 3, -1.0, (-1.2, -0.8), (-2.0, 0.0), -1.34)
    assert "published -1.34, so that ours lies within the gap" in tables.verdict(inside)


def test_gap_is_over_the_seeds_that_both_have(tables, tmp_path):
    beside = import_module("beside")
    folder = keep(tmp_path / "mlp", all_rules()[:1], seeds=3)
    run = make_rule_run(all_rules()[3], 1, EPOCHS).assign_attrs(position=1, name="1_seed1_000000000000")
    store.save(run, store.run_path(folder, "1_seed1_000000000000"))
    gap = tables.gap_of(beside.opened(str(folder), ("mlp",)), "DFA")
    assert gap.seeds == 1 and gap.mean == pytest.approx(-3.0)
    assert np.isnan(gap.bootstrap).all()


SMALL = """
title = "small"
[network]
name = "mlp"
width = 8
depth = 1
[train]
batch = 16
[train.optimiser]
name = "adam"
[[conditions]]
name = "SSA"
rules = { name = "ssa2024", schedule = { every = 0.5, floor = 0.5 } }
[[conditions]]
name = "DFA"
rules = "dfa"
"""
INPUTS, WIDTH, CLASSES = 32 * 32, 8, 12  # natural patches, grey


def test_inference_at_a_rank_is_two_products_of_it_and_plain_is_one(tables, tmp_path):
    accounts = import_module("ssa_account")
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    settings = protocols.load(path, only=["condition=SSA"]).runs[0].settings
    shapes = ((WIDTH, INPUTS), (CLASSES, WIDTH))
    for share, rank in ((1.0, 8), (0.5, 4)):
        found = accounts.against(settings, share)["inference_flops_total"]
        assert float(found.sel(side="rule")) == 2 * 16 * sum((m + n) * rank for m, n in shapes)
        assert float(found.sel(side="bp")) == 2 * 16 * sum(m * n for m, n in shapes)


def test_ranks_at_the_end_are_counted_for_the_studys_own_conditions(written):
    page = (written / "ssa.md").read_text(encoding="utf-8")
    rows = page.split("### Operations and memory at the end")[1].splitlines()
    inputs, width, classes, batch = 3 * 32 * 32, 512, 10, 128
    ranked = zip(((inputs, width), (width, width), (width, classes)), ranks(EPOCHS)[-1], strict=True)
    ours = 2 * batch * sum((m + n) * r for (m, n), r in ranked)
    theirs = 2 * batch * (inputs * width + width * width + width * classes)
    (row,) = [row for row in rows if row.startswith("| SSA 2024 |")]
    assert f"| {ours / 1e9:.2f} | {ours / theirs:.2f} |" in row


def test_account_is_drawn_at_the_schedules_own_floor(tmp_path, monkeypatch):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    study = keep(tmp_path / "mlp", all_rules()[:1], seeds=1)
    call(monkeypatch, study, "--out", tmp_path, "--account", path, "--condition", "SSA")
    page = (tmp_path / "ssa.md").read_text(encoding="utf-8")
    assert "The first part of the schedule ends at 0.5 of the full rank" in page
    assert "Training by layer at 0.5 of the full rank" in page and "| layer1 |" in page
    assert (tmp_path / "ssa_account.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--condition", "DFA"), "condition 'DFA' has no rank schedule; give one whose rule has"),
        (("--condition", "none"), "--only 'condition=none' fits no run"),
    ],
)
def test_account_of_what_has_no_ranks_is_refused_in_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    study = keep(tmp_path / "mlp", all_rules()[:1], seeds=1)
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, study, "--out", tmp_path, "--account", path, *arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and said in error and error.count("\n") == 1


def test_study_of_other_networks_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    study = keep(tmp_path / "vit", [Recipe("BP", 0.5, network="vit")], make=make_network_run, seeds=1)
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, study, "--out", tmp_path / "out", "--account", "")
    error = capsys.readouterr().err
    assert caught.value.code == 2 and "holds networks vit, and this figure is of mlp, small_conv" in error


def test_studies_of_one_name_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    studies = [keep(tmp_path / name / "mlp", all_rules()[:1], seeds=1) for name in ("a", "b")]
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *studies, "--out", tmp_path / "out", "--account", "")
    error = capsys.readouterr().err
    assert caught.value.code == 2 and "2 of the studies are called 'mlp'" in error and error.count("\n") == 1
