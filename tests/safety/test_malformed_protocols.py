"""Protocols that nobody vouches for: each is refused in one line, or can in truth be run."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from safety import malformed_protocols
from safety.commands import call

QUICK = settings(
    deadline=None,
    max_examples=45,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


# Where a run is begun: the fields of the untrained network, which come before the training, take half a second each.
BEGINNING = "rfmodel.running.one.execute"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where protocols lie beside rule files that must never be waited for or followed."""
    path = tmp_path_factory.mktemp("protocols")
    furnish(path)
    return path


def furnish(path):
    """Put the rule files there."""
    os.mkfifo(path / "pipe.py")
    (path / "loop.py").symlink_to("loop.py")
    (path / "folder.py").mkdir()
    (path / "my_rules.py").write_text(f"open({str(path / 'canary')!r}, 'w')\n")


def check(folder, content, beginning="rfmodel.training.train"):
    """Fail unless `validate` and `run` both refuse the file in one line, or `validate` says that it can be run.

    Returns "refused", or "valid" where a training would have begun.
    """
    path, out = folder / "fuzzed.toml", folder / "out"
    path.write_bytes(content)
    told = call("validate", path)
    if told.code == 0:
        assert told.err == "" and "can be run" in told.out
    else:
        assert told.refused, told
    began = call("run", path, "--out", out, "--device", "cpu", beginning=beginning)
    if began.code is None:
        assert told.code == 0
        shutil.rmtree(out)
        how = "valid"
    else:
        assert began.refused, began
        assert not out.exists()
        how = "refused" if told.code == 2 else "valid, without its data"
    assert not (folder / "canary").exists()
    return how


@given(content=malformed_protocols.contents())
@QUICK
def test_every_malformed_protocol_is_refused_in_one_line_before_any_training(folder, content):
    check(folder, content, BEGINNING)


@pytest.mark.slow
@given(content=malformed_protocols.contents())
@settings(QUICK, max_examples=10_000)
def test_ten_thousand_malformed_protocols_are_refused_in_one_line_before_any_training(folder, content):
    check(folder, content, BEGINNING)
