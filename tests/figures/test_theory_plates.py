"""The theory bench's plates and page: complete, legible, honest of seeds, escaped, and the same each time."""

import csv
import io
import warnings
from importlib import import_module

import numpy as np
import pytest
from figures.synthetic_theory import factor_study, joined, linear_run, linear_study
from figures.test_drawing import drawn_texts
from matplotlib.text import Text
from test_report import read

from rfmodel import figures
from rfmodel.theory_report import write_theory_report

THEME = import_module("rfmodel.figures.theme")  # the package exports a function of that name


@pytest.fixture(scope="module", autouse=True)
def coarse_pictures():
    patch = pytest.MonkeyPatch()
    patch.setattr(THEME, "DPI", 40)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def linear():
    return linear_study(seeds=6)


@pytest.fixture(scope="module")
def factors():
    return factor_study(seeds=6, manners=("flow", "full_batch"))


@pytest.fixture(scope="module")
def captions(linear):
    return {plate.name: plate.caption for plate in figures.theory_plates(linear)}


def names(study):
    return [plate.name for plate in figures.theory_plates(study)]


def test_plates_come_in_reading_order(captions, factors):
    assert list(captions) == [
        "dynamics", "overlaps", "by-mode", "by-rank", "recovery-1", "recovery-2", "residual-1", "residual-2", "capture",
        "error-1", "error-2", "agreement",
    ]  # fmt: skip
    assert names(factors) == [
        "by-width-1", "error-1", "error-2", "separation", "worst-1", "alignment", "angles", "agreement",
    ]  # fmt: skip


def test_captions_say_how_many_seeds_and_what_the_largest_difference_is(linear, captions):
    assert all("n: 6 seeds" in caption for caption in captions.values())
    assert f"{linear['difference'].values.max():.2g}" in captions["agreement"]
    assert "All are below 0.02" in captions["agreement"]
    assert "Seed 0" in captions["dynamics"] and "Medians over seeds" in captions["overlaps"]
    assert "fewer than six seeds have none" in captions["by-mode"]


@pytest.mark.parametrize("many", [0, 1])
def test_text_is_eight_points_or_more_stays_on_the_page_and_never_overlaps(linear, factors, many):
    study = (linear, factors)[many]
    long = "A condition with a name as long as any that its author saw fit to write into the protocol, number "
    labels = [f"{long}{i}" if i % 3 == 0 else name for i, name in enumerate(figures.conditions(study))]
    with pytest.MonkeyPatch.context() as fine:
        fine.setattr(THEME, "DPI", 200)
        for plate in figures.theory_plates(study.assign_coords(condition=("run", labels))):
            plate.figure.draw_without_rendering()
            page, boxes = plate.figure.bbox, []
            for text in drawn_texts(plate.figure):
                assert text.get_fontsize() >= 8, (plate.name, text.get_text())
                box = Text.get_window_extent(text)
                where = (plate.name, text.get_text())
                assert page.x0 - 2 <= box.x0 and box.x1 <= page.x1 + 2, where
                assert page.y0 - 2 <= box.y0 and box.y1 <= page.y1 + 2, where
                boxes.append((box, where))
            for index, (box, where) in enumerate(boxes):
                for other, name in boxes[:index]:
                    width = min(box.x1, other.x1) - max(box.x0, other.x0)
                    height = min(box.y1, other.y1) - max(box.y0, other.y0)
                    # Two pixels of 200 to the inch are the bearing of a glyph, not an overlap.
                    assert width <= 2 or height <= 2, (where, name)


CASES = {
    "one condition": lambda: linear_study((("FA, r = 2", "fa", 2),)),
    "one seed": lambda: linear_study((("FA, r = 2", "fa", 2), ("FA, r = 4", "fa", 4)), seeds=1),
    "one mode": lambda: linear_study((("FA, r = 1", "fa", 1), ("gd", "gd", None)), modes=1),
    "many modes": lambda: linear_study((("FA, r = 8", "fa", 8), ("Oja, r = 8", "oja", 8)), modes=64, seeds=2),
    "no simulation": lambda: linear_study((("FA, r = 2", "fa", 2), ("gd", "gd", None)), manners=("flow",)),
    "ragged": lambda: joined(
        [linear_run("a", "fa", 2, modes=4, seeds=1, points=5, manners=("flow",)), linear_run("b", "oja", 2)]
    ),
    "one factorisation": lambda: factor_study((("FA, r = 1", "fa", 1, "flat"),), seeds=1),
    "gradient descent alone": lambda: factor_study((("gd", "gd", 8, "flat"),), seeds=2),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_a_study_lacks_is_drawn_without_a_warning(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for plate in figures.theory_plates(CASES[case]()):
            assert figures.png(plate.figure).startswith(b"\x89PNG")
            assert "nan" not in plate.caption.replace("dominan", ""), plate.name


def test_variables_that_are_nan_throughout_leave_their_figures_out():
    linear = linear_study((("FA, r = 2", "fa", 2), ("gd", "gd", None)))
    lost = linear.assign({name: linear[name] * np.nan for name in ("capture", "recovery_time", "overlap_stationary")})
    left = names(lost)
    assert not any(name.startswith(("capture", "recovery")) for name in left) and "by-mode" in left


def test_runs_of_one_label_and_other_settings_are_told_apart():
    study = joined([linear_run("FA", "fa", 2, step=0.02), linear_run("FA", "fa", 2, step=0.01)])
    told = figures.conditions(figures.tidied_theory(study))
    assert len(set(told)) == 2 and all("integration.step" in label for label in told)


def test_page_holds_every_figure_and_number_and_is_the_same_each_time(tmp_path):
    told, linear = [], linear_study((("gd", "gd", None), ("FA, r = 2", "fa", 2), ("FA, r = 4", "fa", 4)))
    first = write_theory_report(linear, tmp_path / "a", title="A & B", protocol="x = 1\ny = 2\n", progress=told.append)
    second = write_theory_report(linear, tmp_path / "b", title="A & B", protocol="x = 1\ny = 2\n")
    assert {p.name: p.read_bytes() for p in first.parent.iterdir()} == {
        p.name: p.read_bytes() for p in second.parent.iterdir()
    }
    page = read(first)
    text = " ".join(page.text)
    assert len(page.sources) == len(told) == len(list(first.parent.glob("*.png"))) == len(set(told))
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for section in ("What was solved", "Dynamics", "What is recovered", "Stationarity", "Agreement", "Numbers"):
        assert section in text
    for recorded in ("0123abc", "numpy 2.4", "2 cores", "time of computation", "feedback.rank"):
        assert recorded in text


def test_table_of_numbers_has_a_row_a_condition_as_the_page_has(factors, tmp_path):
    factors = factors.isel(run=[2, 3, 7])
    page = write_theory_report(factors, tmp_path)
    rows = list(csv.DictReader(io.StringIO(page.with_name("numbers.csv").read_text("utf-8"))))
    assert [row["condition"] for row in rows] == figures.conditions(factors)
    assert [float(row["width"]) for row in rows] == factors["width"].values.tolist()
    assert float(rows[2]["ratio"]) == pytest.approx(np.median(factors["ratio"].values[2]), rel=1e-5)
    assert rows[0]["ratio"] == ""


def test_every_string_of_the_study_is_escaped(tmp_path):
    nasty = '<img src=x onerror="1">&'
    study = linear_study((("x", "fa", 2),))
    named = study.assign_coords(condition=("run", [nasty]), law=("run", [nasty])).assign(commit=("run", [nasty]))
    page = read(write_theory_report(named, tmp_path, title=nasty, protocol=nasty))
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert nasty in "".join(page.text)


def test_few_seeds_are_warned_of(tmp_path):
    two = (("FA, r = 2", "fa", 2), ("Oja, r = 2", "oja", 2))
    text = " ".join(read(write_theory_report(linear_study(two, seeds=1), tmp_path / "one")).text)
    assert "One seed each" in text and "no interval" in text
    text = " ".join(read(write_theory_report(linear_study(two, seeds=3), tmp_path / "few")).text)
    assert "2 of the conditions have fewer than six seeds" in text
