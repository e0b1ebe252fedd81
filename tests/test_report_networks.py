"""The report of studies without receptive fields, of mixed ones, and of many conditions."""

import csv
import itertools
import re
from importlib import import_module

import numpy as np
import pytest
from figures.synthetic import make_run
from figures.synthetic_networks import Recipe, all_rank, make_network_run, make_network_study, resnets
from test_report import read

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.report import write_report
from rfmodel.store import together

PROTOCOL = """
title = "any"
[published]
note = "A note on them."
source = "Fig. 4b"
score = "best test epoch"
evidence = "digitised, ±.001"
[published.settings]
"train.epochs" = 160
[[published.values]]
condition = "BP"
accuracy = 0.63
std = 0.002
[[published.values]]
condition = "LDFA, r = 2"
accuracy = 0.55
[[published.values]]
condition = "LDFA, r = 10"
accuracy = 0.6
score = "last epoch"
settings = { "train.epochs" = 6 }
"""


@pytest.fixture(scope="module", autouse=True)
def coarse_pictures():
    patch = pytest.MonkeyPatch()
    patch.setattr(import_module("rfmodel.figures.theme"), "DPI", 40)
    patch.setattr("rfmodel.figures.intervals.DRAWS", 100)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    study = make_network_study(all_rank(), seeds=2, diverged=(("BP, width 64", 1),))
    return write_report(study, tmp_path_factory.mktemp("report"), protocol=PROTOCOL)


def test_page_of_a_study_without_fields_has_accuracy_costs_learning_and_numbers(written):
    page = read(written)
    names = {path.stem for path in written.parent.glob("*.png")}
    assert names == {"accuracy", "accuracy-by-rank", "flops-by-rank", "learning", "costs"}
    assert {"Accuracy", "Costs", "Learning", "Published values", "Numbers"} <= set(page.text)
    text = " ".join(page.text)
    assert "1 of 12 runs diverged" in text
    assert "classifier thresholds" not in text and "Units are not independent" not in text


def test_published_table_says_what_is_not_like_for_like(written):
    html = written.read_text(encoding="utf-8")
    assert (
        "2 of 3 published conditions have a finished run here; 1 of these are like for like in all that is stated"
        in html
    )
    assert "train.epochs 6, theirs 160; last epoch, theirs best test epoch" in html
    assert '<tr class="untrained"><th scope="row">LDFA, r = 2</th>' in html and "not run yet" in html
    assert ">63.00 ± 0.20</td>" in html and ">-0.9</td>" in html  # 62.05 against 63
    assert "A note on them." in html


def test_numbers_hold_a_row_a_condition_with_runs_diverged_accuracies_and_costs(written):
    with open(written.parent / "numbers.csv", encoding="utf-8") as file:
        rows = {row["condition"]: row for row in csv.DictReader(file)}
    assert list(rows) == [recipe.condition for recipe in all_rank()]
    narrow = rows["BP, width 64"]
    assert (narrow["runs"], narrow["diverged"], narrow["layer"], narrow["units"]) == ("1", "1", "", "")
    assert (narrow["test_accuracy"], narrow["test_accuracy_low"]) == ("0.57", "")
    low = rows["LDFA, r = 10"]
    assert float(low["test_accuracy"]) == pytest.approx(0.5905)
    assert float(low["validation_accuracy"]) == pytest.approx(0.5905)
    assert float(low["flops_step"]) == pytest.approx(5.44e9)
    assert float(low["flops_relative"]) == pytest.approx(2.72 / 3.01, abs=1e-5)
    assert float(low["peak_memory"]) == pytest.approx(2**26, rel=1e-5)


def test_condition_whose_runs_all_diverged_keeps_its_row():
    lost = make_network_study(all_rank(), seeds=1, diverged=(("BP", 0),))
    row = next(row for row in figures.numbers(lost) if row.condition == "BP")
    assert (row.runs, row.diverged) == (0, 1)
    assert np.isnan(row.estimates["test_accuracy"]).all()


def test_mixed_study_draws_fields_where_there_are_some(tmp_path):
    runs = []
    for position, (name, seed) in enumerate([("BP, wide", 0), ("LDFA r=2", 0)]):
        run = make_run(name, seed, epochs=3)
        scalars = [key for key in run.coords if not run[key].dims]
        attrs = {key: run[key].item() for key in scalars} | {"position": position, "name": name}
        bare = run.drop_vars(scalars)
        runs.append((bare if bare.sizes["edge"] else bare.drop_dims("edge")).assign_attrs(attrs))
    dense = make_network_run(Recipe("dense BP", 0.6), 0)
    mixed = together([*runs, dense.assign_attrs(position=2)])
    assert figures.fielded(figures.tidied(mixed)) == ["BP, wide", "LDFA r=2"]
    page = read(write_report(mixed, tmp_path))
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {"accuracy-fields", "accuracy", "classes-retina.conv2", "costs"} <= names
    rows = figures.numbers(figures.tidied(mixed))
    assert {row.layer for row in rows if row.condition == "dense BP"} == {""}
    assert all(row.layer for row in rows if row.condition != "dense BP")
    assert "dense BP" in page.text


def test_sixty_conditions_are_paged_and_their_settings_are_rows(tmp_path):
    recipes = [
        Recipe(f"layer {k}, r = {r}", 0.6, "ldfa", float(r), sites=f"hidden.{k}") for k in range(9) for r in range(1, 8)
    ]
    study = make_network_study([Recipe("BP", 0.6), *recipes], seeds=1, epochs=2)
    before = itertools.takewhile(lambda plate: plate.section != "Learning", figures.plates(study))
    drawn = {plate.name: plate for plate in before}
    assert len([name for name in drawn if re.fullmatch(r"accuracy-\d", name)]) == 6  # of twelve rows
    assert len([name for name in drawn if name.startswith("accuracy-by-rank")]) == 2  # nine lines, eight colours
    assert all(plate.figure.get_size_inches()[1] < 11 for plate in drawn.values())
    html = write_report(study.isel(run=slice(0, 9)), tmp_path).read_text(encoding="utf-8")
    assert '<th scope="col">rules.hidden.0.rank</th>' in html


def test_networks_of_many_edges_show_some_of_them_and_say_so():
    study = make_network_study(resnets()[:2], seeds=1, diagnosed=30)
    drawn = [plate for plate in figures.plates(study) if plate.name.startswith("feedback")]
    titles = [axes.get_title(loc="left") for plate in drawn for axes in plate.figure.axes if axes.get_title(loc="left")]
    assert len(titles) == 8
    assert titles[0] == "layer1 → layer0" and "layer30 → layer29" in titles
    assert all("8 of 30 edges are drawn" in plate.caption for plate in drawn)


def test_protocol_text_that_is_no_toml_is_refused(tmp_path):
    study = make_network_study(all_rank(), seeds=1)
    with pytest.raises(InputError, match="the protocol's text is no TOML"):
        write_report(study, tmp_path / "report", protocol="published = [\n[")
    assert not (tmp_path / "report").exists()


def test_one_run_without_fields_is_warned_of_without_speaking_of_units(tmp_path):
    study = make_network_study([Recipe("BP", 0.6)], seeds=1)
    text = " ".join(read(write_report(study, tmp_path)).text)
    assert "One run has finished: there is no interval." in text
