"""The report: one page with everything inside, whatever the study lacks."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from figures.synthetic import SCALARS, make_run, make_study

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.report import write_report
from rfmodel.store import together

VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Follows the open elements of a page, and collects its text."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.sources, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.sources.append(dict(attrs)["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path) -> Balance:
    page = Balance()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    patch = pytest.MonkeyPatch()
    patch.setattr("rfmodel.figures.intervals.DRAWS", 100)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def study():
    return make_study(("BP, wide", "LDFA r=2"), seeds=2, diverged=(("LDFA r=2", 1),))


@pytest.fixture(scope="module")
def small(study):
    return study.isel(unit=np.flatnonzero(study["layer"] == "retina.conv2"))


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    return write_report(study, tmp_path_factory.mktemp("report") / "new", title="A & B", protocol="retina_feedback")


def test_page_holds_its_pictures_and_needs_nothing_beside_it(written):
    page = read(written)
    beside = {path.read_bytes() for path in written.parent.glob("*.png")}
    inside = {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources}
    assert inside == beside
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"https?://", written.read_text(encoding="utf-8"))


def test_folder_holds_the_page_the_pictures_and_the_numbers_and_no_rests(written, study):
    names = {path.name for path in written.parent.iterdir()}
    assert {"report.html", "numbers.csv"} <= names
    assert {path.suffix for path in written.parent.iterdir()} == {".html", ".csv", ".png"}
    assert written.parent.joinpath("numbers.csv").read_text("utf-8") == figures.numbers_csv(figures.numbers(study))


def test_runs_are_counted_as_done_diverged_and_missing(small, tmp_path):
    page = read(write_report(small.isel(run=[0, 2, 3]), tmp_path))
    assert "2 conditions, seeds 0, 1: 2 done, 1 diverged, 1 missing." in page.text


def test_settings_that_differ_are_marked_and_the_rest_is_listed_once(written):
    text = written.read_text(encoding="utf-8")
    assert '<th scope="row">rule.rank</th><td>null</td><td class=other>2.0</td>' in text
    assert text.count('<th scope="row">train.epochs</th>') == 1
    joined = " ".join(read(written).text)
    for recorded in ("0123abc", "natural_patches sha256:89abcdef", "2.13.0", "white noise, 95 %", "2 cores"):
        assert recorded in joined


def test_every_string_of_the_study_is_escaped(small, tmp_path):
    nasty = '<img src=x onerror="1">&'
    labels = [nasty if label == "BP, wide" else label for label in small["condition"].values.tolist()]
    named = small.assign_coords(condition=("run", labels), commit=("run", [nasty] * small.sizes["run"]))
    path = write_report(named, tmp_path, title=nasty, protocol=f"# {nasty}\npublished = '''{nasty}'''\n")
    page = read(path)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert nasty in "".join(page.text)


def test_one_run_is_warned_of(small, tmp_path):
    page = read(write_report(small.isel(run=[0]), tmp_path))
    text = " ".join(page.text)
    assert "One run has finished: intervals are over its units only" in text
    assert "no interval" in text


def test_condition_with_only_dead_units_is_reported_as_such(tmp_path):
    dead = make_study(("BP, bottleneck 4",), seeds=2, dead=1.0)
    page = read(write_report(dead, tmp_path))
    assert "8 units in 2 runs, 8 dead" in " ".join(page.text)
    assert "–" in page.text


def test_study_without_finished_runs_is_refused_before_anything_is_written(tmp_path):
    lost = make_study(("BP, wide",), seeds=1, diverged=(("BP, wide", 0),))
    with pytest.raises(InputError, match="found 1 diverged"):
        write_report(lost, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_folder_that_cannot_be_made_is_named(study, tmp_path):
    tmp_path.joinpath("taken").write_text("a file")
    with pytest.raises(InputError, match="taken/report' cannot be made"):
        write_report(study, tmp_path / "taken" / "report")


def test_runs_without_settings_and_thresholds_are_said_to_lack_them(small, tmp_path):
    text = " ".join(read(write_report(small.drop_vars(["settings", "thresholds"]), tmp_path)).text)
    assert "The runs recorded no settings." in text
    assert "The runs recorded no classifier thresholds." in text


def test_runs_of_one_label_with_other_settings_are_reported_apart(small, tmp_path):
    texts = small["settings"].values.tolist()
    texts[1] = texts[1].replace('"epochs": 8', '"epochs": 2')
    page = read(write_report(small.assign_coords(settings=("run", texts)), tmp_path))
    assert {"BP, wide (train.epochs 8)", "BP, wide (train.epochs 2)", "LDFA r=2"} <= set(page.text)
    assert "BP, wide" not in page.text


def test_thresholds_of_the_classifier_are_shown_and_their_range_where_runs_differ(small, tmp_path):
    count = small.sizes["run"]
    judged = small.assign(
        classifier_level=("run", [1 / 3] * count),
        classifier_null_share=("run", [0.7, 0.5, 0.6, np.nan]),
        classifier_null=("run", [f"{n} live units" for n in (112, 100, 112, 100)]),
        commit=("run", ["1234567"] * count),
    )
    text = write_report(judged, tmp_path).read_text(encoding="utf-8")
    row = '<th scope="row">{}</th><td>{}</td>'.format
    assert row("classifier level", "0.3333") in text
    assert row("classifier null share", "0.5 to 0.7 over the runs; not recorded in 1 of 4 runs") in text
    assert row("classifier null", "112 live units; 100 live units") in text
    assert row("commit", "1234567") in text


def test_interval_of_a_fraction_of_none_is_not_empty_and_said_to_be_clopper_and_pearsons(small, tmp_path):
    page = read(write_report(small.assign(kind=small["kind"].where(small["kind"] != "oriented", "mixed")), tmp_path))
    assert "0.00–0.00" not in page.text
    assert any("Clopper and Pearson's over units where a fraction is 0 or 1" in text for text in page.text)


@pytest.mark.parametrize("conditions", [("BP, wide",), ("BP, wide", "direct LDFA, bottleneck 4")])
def test_page_is_written_from_runs_as_the_store_joins_them(conditions, tmp_path):
    runs = []
    for position, condition in enumerate(conditions):
        for seed in (0, 1):
            run = make_run(condition, seed, epochs=3 + position)
            attrs = {name: run[name].item() for name in SCALARS} | {
                "position": position,
                "name": f"{position}-{seed}",
            }
            bare = run.drop_vars(SCALARS)
            runs.append((bare if bare.sizes["edge"] else bare.drop_dims("edge")).assign_attrs(attrs))
    page = read(write_report(together(runs), tmp_path))
    count = "1 condition, seeds" if len(conditions) == 1 else "2 conditions, seeds"
    assert any(text.startswith(count) for text in page.text)
    assert page.sources
