"""The theory bench's script draws what its two studies hold, and measures what stands beside them."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest

from rfmodel import protocols
from rfmodel.theory_study import run_theory

SCRIPTS = Path(__file__).parent.parent / "analysis"
LINEAR = """
title = "Small"
theory = "linear_dynamics"
seeds = 2
task = { inputs = 8, hidden = 6, outputs = 6, spectrum = { modes = 4 } }
integration = { duration = 4.0, points = 5, step = 0.1 }
[[conditions]]
name = "gradient descent"
[[conditions]]
name = "FA, r = {rank}"
feedback.name = "fa"
axes.rank = [2, 4]
"""
FACTOR = """
title = "Small"
theory = "matrix_factorisation"
seeds = 2
matrix = { rows = 6, columns = 6, spectrum = { modes = 5 } }
integration = { duration = 4.0, points = 5, step = 0.1 }
[[conditions]]
name = "FA, r = {width}"
rule.name = "fa"
axes.width = [2, 3]
"""


@pytest.fixture
def studies(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("rfmodel.figures.theme"), "DPI", 40)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    folders = []
    for name, text in (("linear", LINEAR), ("factor", FACTOR)):
        (tmp_path / f"{name}.toml").write_text(text)
        run_theory(protocols.load(tmp_path / f"{name}.toml"), tmp_path / name)
        folders.append(str(tmp_path / name))
    return folders


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["analysis/theory.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / "theory.py"), run_name="__main__")


def test_the_page_holds_both_studies_their_figures_and_what_a_person_wrote(studies, tmp_path, monkeypatch):
    given = (*studies, "--out", tmp_path / "out", "--command", "rfmodel run both", "--seeds", 0)
    call(monkeypatch, *given)
    page = tmp_path / "out" / "theory.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n## Reading\n\nMine.\n", encoding="utf-8")
    call(monkeypatch, *given)
    text = page.read_text(encoding="utf-8")
    assert "    rfmodel run both\n    python analysis/theory.py" in text
    assert "## linear_dynamics" in text and "## matrix_factorisation" in text
    assert "| FA, r = 4 | 2 |" in text and "| FA, r = 3 | 2 |" in text
    for picture in (tmp_path / "out").glob("*.png"):
        assert f"]({picture.name})" in text and picture.read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "out").glob("*.png"))) == text.count("![")
    assert text.endswith("\n## Reading\n\nMine.\n")


def test_studies_in_the_wrong_order_are_refused_in_one_line(studies, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *studies[::-1], "--out", tmp_path / "out")
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1
    assert "is of matrix_factorisation, and linear_dynamics is wanted here" in error


def test_measures_say_what_the_mathematics_does(studies, monkeypatch):
    measures = import_module("theory_measures")
    exact = [row for row in measures.argued(3) if row["task"] == "rank 8" and row["rank"] >= 8]
    assert exact and all(row["smallest leading overlap"] == pytest.approx(1, abs=1e-9) for row in exact)
    monkeypatch.setattr(measures, "SPECTRA", {"gap": ((2.0, 1.8, 0.2, 0.1), 2)})
    monkeypatch.setattr(measures, "RATES", (1.0,))
    (row,) = measures.pursued(2)
    assert row["critical rate"] == pytest.approx((1.8**2 / 2) ** (1 / 3) / 0.2**2)
    assert row["rate 1"] == 2
