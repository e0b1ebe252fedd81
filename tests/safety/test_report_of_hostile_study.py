"""The report of a study whose every string was written by an attacker: nothing of it is markup, formula or path."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from figures.synthetic import make_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safety.malformed_protocols import written

from rfmodel import figures
from rfmodel.report import write_report

MARKS = (
    "<script>alert(1)</script>",
    "</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onload='x",
    "<style>*{background:url(//e.example)}</style>",
    "</style>",
    "</title>",
    "</pre></details>",
    "]]>",
    "-->",
    "<!--",
    "<svg onload=alert(1)>",
    "<iframe src=//e.example>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "&#60;script&#62;",
    "&",
    "<",
    ">",
    "\x00<b>",
    "<\x00b>",
    "\u202e<b>",
    "＜script＞",
    "<b",
    "<!DOCTYPE x>",
    "<base href=//e.example/>",
    "<link rel=stylesheet href=//e.example>",
    "<meta http-equiv=refresh content=0>",
)
NAMES = (
    "$\\frac{",
    "$$",
    "$",
    "\\",
    "^_{}",
    "\x1b]0;owned\x07",
    "a\x00b",
    "\u202ebp",
    "{0}",
    "%s",
    "=1+1",
    "@SUM(A1)",
    "\n",
    "é" * 90,
)
ALLOWED = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "name", "content", "http-equiv"},
    "title": set(),
    "style": set(),
    "body": set(),
    "header": set(),
    "nav": set(),
    "section": {"id"},
    "h1": set(),
    "h2": set(),
    "h3": set(),
    "p": {"class"},
    "a": {"href"},
    "div": {"class"},
    "table": {"class"},
    "thead": set(),
    "tbody": set(),
    "tr": {"class"},
    "th": {"scope"},
    "td": {"class"},
    "small": set(),
    "b": set(),
    "sub": set(),
    "details": {"open"},
    "summary": set(),
    "pre": set(),
    "figure": set(),
    "figcaption": set(),
    "img": {"alt", "src"},
}
CLASSES = {"", "n", "wide", "soft", "warn", "other", "settings", "trained", "untrained"}


class Page(HTMLParser):
    """What a page is made of: elements with their attributes, text, and whatever is neither."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.text, self.rest = [], [], []
        self.unknown_decl = self.handle_comment = self.handle_pi = self.rest.append
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, attrs))

    def handle_data(self, data):
        self.text.append(data)


def check_page(text):
    """Fail unless the page has the report's own elements and attributes alone, and asks nothing of anybody."""
    page = Page(text)
    assert not page.rest
    for tag, attrs in page.elements:
        assert {name for name, _ in attrs} <= ALLOWED[tag]
        for name, value in attrs:
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            elif name == "href":
                assert value.startswith("#s") or value in ("numbers.csv", "differences.csv")
            elif name == "class":
                assert value in CLASSES
    return page


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    patch = pytest.MonkeyPatch()
    patch.setattr("rfmodel.figures.intervals.DRAWS", 20)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def study():
    whole = make_study(("BP, wide", "LDFA r=2"), seeds=1)
    return whole.isel(unit=np.flatnonzero(np.isin(whole["unit"], ["retina.conv2/0", "retina.conv2/1", "vvs.conv1/0"])))


def hostile(study, mark):
    """Return a study all of whose strings are, or hold, a mark."""
    runs = study.sizes["run"]
    named = {
        name: [f"{mark}{row}" for row in range(runs)] for name in ("condition", "rule", "network", "commit", "hardware")
    }
    named |= {name: [mark] * runs for name in ("data_fingerprint", "thresholds", "data_source", "preset")}
    named["versions"] = [json.dumps({mark: mark})] * runs
    named["settings"] = [json.dumps({mark: {"x": mark}, "seed": 0, "n": row}) for row in range(runs)]
    layers = [f"{mark}{name}" for name in study["layer"].values]
    found = study.assign_coords({name: ("run", values) for name, values in named.items()})
    found = found.assign_coords(layer=("unit", layers))
    return found.assign_attrs({f"classifier_{mark}": mark})


def protocol_of(mark, condition):
    told, named = written(mark), written(condition)
    value = f"{{condition = {named}, accuracy = 0.5, note = {told}, evidence = {told}}}"
    return f"title = {told}\n\n[published]\nnote = {told}\nsource = {told}\nvalues = [{value}]\n"


FEW = settings(deadline=None, max_examples=5, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
marks = st.lists(st.sampled_from([*MARKS, *NAMES]) | st.text(max_size=8), min_size=1, max_size=3).map("".join)


@pytest.fixture(scope="module")
def undrawn():
    """Every figure's caption and title without its picture, which takes a second each."""
    patch = pytest.MonkeyPatch()
    patch.setattr("rfmodel.figures.plates", lambda study, **_: iter(
        figures.Plate(f"p-{name}", f"Layer {name}", f"of {name}", f"{name} {label}", None)
        for name in figures.layers(study) for label in figures.conditions(study)
    ))  # fmt: skip
    patch.setattr("rfmodel.figures.png", lambda figure: b"\x89PNG")
    yield
    patch.undo()


@given(mark=marks)
@FEW
def test_no_string_of_a_study_becomes_markup(study, undrawn, plain, tmp_path_factory, mark):
    check_report(study, plain, tmp_path_factory.mktemp("report"), mark)


@pytest.mark.slow
@given(mark=marks)
@settings(FEW, max_examples=300)
def test_no_string_of_a_study_becomes_markup_in_three_hundred(study, undrawn, plain, tmp_path_factory, mark):
    check_report(study, plain, tmp_path_factory.mktemp("report"), mark)


@pytest.fixture(scope="module")
def plain(study, undrawn, tmp_path_factory):
    """The elements of a page without marks."""
    return {tag for tag, _ in check_page(_written(study, tmp_path_factory.mktemp("plain"), "x")).elements}


def check_report(study, plain, folder, mark):
    """Fail unless a report full of a mark has the elements of one without, and stays in its folder."""
    before = set(folder.parent.iterdir())
    page = check_page(_written(study, folder / "hostile", mark))
    assert {tag for tag, _ in page.elements} <= plain
    assert set(folder.parent.iterdir()) == before
    assert {path.suffix for path in (folder / "hostile").iterdir()} == {".html", ".csv", ".png"}


def _written(study, folder, mark):
    marked = hostile(study, mark)
    text = protocol_of(mark, f"{mark}0")
    return write_report(marked, folder, title=mark, protocol=text).read_text(encoding="utf-8")


@pytest.mark.parametrize("names", [NAMES[:2], NAMES[5:7], pytest.param(NAMES[7:], marks=pytest.mark.slow)], ids="abc")
def test_names_that_figures_could_take_for_formulas_are_drawn_as_they_are(study, tmp_path, names):
    runs = study.sizes["run"]
    for first in range(0, len(names), runs):
        labels = [f"{part}{row}" for row, part in enumerate((names[first:] * runs)[:runs])]
        marked = study.assign_coords(condition=("run", labels))
        check_page(write_report(marked, tmp_path / str(first)).read_text(encoding="utf-8"))


def test_a_mark_in_every_string_is_drawn_and_stays_text(study, tmp_path):
    mark = "$\\frac{ <b> ../../x"
    page = check_page(write_report(hostile(study, mark), tmp_path / "a" / "b", title=mark).read_text(encoding="utf-8"))
    assert mark in "".join(page.text)
    assert {path.name for path in tmp_path.iterdir()} == {"a"} and {
        path.name for path in (tmp_path / "a").iterdir()
    } == {"b"}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\n=1", '=HYPERLINK("//e")'])
def test_no_name_is_a_formula_in_a_spreadsheet(study, name):
    marked = study.assign_coords(condition=("run", [f"{name}{row}" for row in range(study.sizes["run"])]))
    rows = list(csv.reader(io.StringIO(figures.numbers_csv(figures.numbers(marked)))))
    assert {row[0][:1] for row in rows[1:]} == {"'"}


def test_a_plain_name_and_a_negative_number_are_cells_as_they_are(study):
    rows = figures.numbers(study.assign(p0=-study["p0"]))
    table = list(csv.DictReader(io.StringIO(figures.numbers_csv(rows))))
    assert {row["condition"] for row in table} == {"BP, wide", "LDFA r=2"}
    assert any(float(row["p0"]) < 0 for row in table if row["p0"])


def test_a_title_that_is_no_text_is_written(study, undrawn, tmp_path):
    page = write_report(study, tmp_path, title="folder \udcff").read_text(encoding="utf-8")
    assert "folder \\udcff" in page


def test_the_page_forbids_scripts_and_what_comes_from_elsewhere(study, undrawn, tmp_path):
    page = check_page(write_report(study, tmp_path).read_text(encoding="utf-8"))
    policy = next(
        dict(attrs)["content"] for tag, attrs in page.elements if ("http-equiv", "Content-Security-Policy") in attrs
    )
    assert policy.split("; ") == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
