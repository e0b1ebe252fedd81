"""Failures: what is kept of a run that failed, and that nothing in it harms who reads it."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfmodel.errors import InputError
from rfmodel.store.failures import Failure, failures, forget_failure, record_failure
from rfmodel.store.paths import failure_path
from rfmodel.store.writing import Unwritable

NAME = "bp_seed0_0123456789ab"
FAILURE = Failure(
    NAME, "BP, wide", 0, "ValueError: no", 1, "2026-01-02T03:04:05+00:00", "host, process 7", "Traceback\n  line 1\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_a_failure_is_kept_by_the_runs_name_until_it_is_forgotten(folder):
    other = replace(FAILURE, name="bp_seed1_0123456789ab", seed=1, attempts=3)
    record_failure(folder, FAILURE)
    record_failure(folder, other)
    assert failures(folder) == {FAILURE.name: FAILURE, other.name: other}
    forget_failure(folder, NAME)
    forget_failure(folder, NAME)  # what is forgotten stays so
    assert failures(folder) == {other.name: other}
    assert failures(folder / "nowhere") == {}


def test_attempts_count_every_time_a_run_failed(folder):
    for attempts, told in ((1, 1), (1, 2), (5, 5), (2, 6)):
        record_failure(folder, replace(FAILURE, attempts=attempts))
        assert failures(folder)[NAME].attempts == told


def test_an_error_is_one_line_of_bounded_length_without_control_characters(folder):
    wild = replace(
        FAILURE,
        error="RuntimeError: first\n  second\x1b[2J\r\x00 \ud800 " + "x" * 10**5,
        condition="a\nb",
        where="\x07",
        traceback="first\n" + "y" * 10**5 + "\x1b[31m\nlast",
    )
    record_failure(folder, wild)
    kept = failures(folder)[NAME]
    assert kept.error.startswith(r"RuntimeError: first second\x1b[2J \x00 \ud800 xxx") and kept.error.endswith("x...")
    assert len(kept.error) == 500
    assert all(getattr(kept, key).isprintable() for key in ("error", "condition", "where"))
    assert len(kept.traceback) < 21_000 and kept.traceback.endswith("yy\\x1b[31m\nlast")
    record_failure(folder, kept)
    assert failures(folder)[NAME].error == kept.error  # said once is said so for good


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": "0"}, "it has no seed"),
        ({"seed": True}, "it has no seed"),
        ({"error": None}, "it has no error"),
        ({"attempts": 1.5}, "it has no attempts"),
        ({"name": "../../x"}, "'../../x' is no run's name"),
        ({"name": "bp_seed9_0123456789ab"}, "it is of run bp_seed9_0123456789ab"),
    ],
)
def test_a_record_that_says_something_else_is_refused_by_its_name(change, told, folder):
    record_failure(folder, FAILURE)
    path = failure_path(folder, NAME)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"'{re.escape(str(path))}' is damaged \(.*{re.escape(told)}") as caught:
        failures(folder)
    assert "\n" not in str(caught.value)
    record_failure(folder, FAILURE)  # what is kept next is whole
    assert failures(folder) == {NAME: FAILURE}


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)
            ),
            max_leaves=5,
        ).map(lambda held: json.dumps(held).encode()),
        st.just(b"[" * 10**5),
        st.just(b'{"seed": ' + b"9" * 10**4 + b"}"),
    )
)
def test_whatever_a_record_holds_it_is_read_or_refused_in_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("failures")
    (folder / "runs").mkdir()
    failure_path(folder, NAME).write_bytes(content)
    with pytest.raises(InputError, match=f"{NAME}.failed.json' is damaged") as caught:
        failures(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_every_record_cut_off_anywhere_is_refused(folder):
    record_failure(folder, FAILURE)
    path = failure_path(folder, NAME)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged"):
            failures(folder)


def test_a_record_that_goes_while_it_is_looked_for_is_none(folder, monkeypatch):
    record_failure(folder, FAILURE)
    scandir = os.scandir

    def late(path):
        found = scandir(path)
        failure_path(folder, NAME).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "scandir", late)
    assert failures(folder) == {}


def test_a_failure_that_cannot_be_kept_or_forgotten_names_its_path(folder, monkeypatch):
    record_failure(folder, FAILURE)

    def fail(*_, **__):
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(Unwritable, match=f"{NAME}.failed.json' cannot be written: the disk is read-only"):
        record_failure(folder, FAILURE)
    monkeypatch.setattr(type(folder), "unlink", fail)
    with pytest.raises(Unwritable, match=f"{NAME}.failed.json' cannot be written: the disk is read-only"):
        forget_failure(folder, NAME)


def test_a_failure_of_no_runs_name_is_refused(folder):
    with pytest.raises(InputError, match="'../x' is no run's name"):
        record_failure(folder, replace(FAILURE, name="../x"))
    with pytest.raises(InputError, match="'../x' is no run's name"):
        forget_failure(folder, "../x")
