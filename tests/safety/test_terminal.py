"""What reaches a terminal: no character that steers it, wherever the text came from."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety.commands import call
from studies import TINY

from rfmodel import progress, protocols, tables
from rfmodel.terminal import LONGEST, one_line, plain

STEERING = (
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x9b31m",
    "\x08" * 9,
    "\r",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\udc9b",
    "\x00",
)


def harmless(text):
    """Whether nothing but line breaks is left that a terminal obeys."""
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


@given(text=st.text())
@settings(max_examples=300, database=None, derandomize=True)
def test_plain_text_steers_nothing_and_visible_text_stays(text):
    assert harmless(plain(text))
    assert plain(plain(text)) == plain(text)
    seen = "".join(c for c in text if c.isprintable() or c == "\n")
    assert plain(seen) == seen


@pytest.mark.parametrize("text", ["r = 2, Δ 日本 é", "a\u00a0b", "two\nlines", ""])
def test_words_spaces_and_lines_of_any_script_stay(text):
    assert plain(text) == text


@given(text=st.text(max_size=50))
@settings(max_examples=200, database=None, derandomize=True)
def test_an_error_is_one_line_of_bounded_length(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1 and harmless(line)
    assert len(one_line(text + "x" * 100_000)) <= LONGEST + 3
    assert one_line(text + "x" * 100_000).endswith("x" * 1000)


@pytest.mark.parametrize("mark", STEERING)
def test_every_way_of_printing_spells_it_out(mark, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    text = f"a{mark}b"
    tables.show_rows(text, [{text: text}])
    console = progress.plain_console()
    console.print(text)
    console.print_json(json.dumps({text: text}))
    out, err = capsys.readouterr()
    assert harmless(out + err) and plain(text) in out


@pytest.mark.parametrize("mark", STEERING)
def test_bars_spell_it_out(mark, monkeypatch):
    shown = io.StringIO()
    console = progress.plain_console()
    console.file = shown
    monkeypatch.setattr(progress, "plain_console", lambda: console)
    with progress.drawing() as told:
        told(f"a{mark}b")
    with progress.transfer(f"c{mark}d") as moved:
        moved(f"e{mark}f", 1, 2)
    assert plain(f"e{mark}f") in shown.getvalue() and harmless(shown.getvalue())


def hostile(mark):
    told = json.dumps(f"a{mark}b").replace("\x7f", "\\u007f")
    return TINY.replace('"tiny"', told).replace('"For tests."', told).replace('"BP, wide"', told)


@pytest.mark.parametrize("mark", [mark for mark in STEERING if mark != "\udc9b"])
def test_commands_on_a_hostile_protocol_show_it_spelt_out(tmp_path, mark):
    path = tmp_path / "hostile.toml"
    path.write_text(hostile(mark), encoding="utf-8")
    for ended in (
        call("show", path),
        call("validate", path),
        call("run", path, "--out", tmp_path / "out", "--device", "cpu"),
    ):
        assert ended.code in (0, None) and harmless(ended.out + ended.err), ended
    assert plain(f"a{mark}b") in call("show", path).out


@pytest.mark.parametrize("mark", STEERING[:6])
def test_errors_that_quote_a_file_show_it_spelt_out(tmp_path, mark):
    told = json.dumps(f"a{mark}b").replace("\x7f", "\\u007f")
    path = tmp_path / f"a{mark}b.toml"
    for content in (f"{told} = 1", f"[train]\n{told} = 1", f"[train]\nprecision = {told}", f"rules.{told} = {told}"):
        path.write_text(content, encoding="utf-8")
        ended = call("validate", path)
        assert ended.refused and harmless(ended.err)


def test_an_error_as_long_as_a_file_is_cut(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(f'"{"k" * 500_000}" = 1')
    ended = call("validate", path)
    assert ended.refused and len(ended.err) < LONGEST + 100
    assert protocols.find(path) == path
