"""Where files may lead, and when a user's own code runs: nowhere else, and only by leave."""

from __future__ import annotations

import os
import shutil

import pytest
from safety.commands import Trained, call
from studies import TINY

from rfmodel import protocols, training
from rfmodel.condition_labels import LONGEST
from rfmodel.errors import InputError
from rfmodel.settings import RuleSettings

RULE = """
from rfmodel.routing import make_rule
open({canary!r}, "w").close()
def my_rule(**options):
    return make_rule("fa")
"""
NAMED = (
    TINY.split("[[conditions]]")[0].replace("seed = [0, 1]", "seed = [0]") + '[[conditions]]\nrules.retina = "{name}"\n'
)


@pytest.fixture
def place(tmp_path):
    """A protocol beside a rule file that leaves a trace where it is executed."""
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "my_rules.py").write_text(RULE.format(canary=str(tmp_path / "canary")))
    write(tmp_path, "my_rules.py:my_rule")
    return tmp_path


def write(place, name):
    told = name.replace("\\", "\\\\").replace("\0", "\\u0000").replace("\n", "\\n")
    (place / "inner" / "own.toml").write_text(NAMED.replace("{name}", told))


NOWHERE = {
    "climbs": ("../my_rules.py:my_rule", "leaves the protocol's folder"),
    "climbs in the middle": ("a/../../my_rules.py:my_rule", "leaves the protocol's folder"),
    "is absolute": ("{place}/my_rules.py:my_rule", "leaves the protocol's folder"),
    "is a link out": ("link.py:my_rule", "leads out of the protocol's folder"),
    "is in a linked folder": ("folder/my_rules.py:my_rule", "leads out of the protocol's folder"),
    "is a circle of links": ("loop.py:my_rule", "cannot be read"),
    "is a pipe": ("pipe.py:my_rule", "cannot be read .it is no file"),
    "is a folder": ("dir.py:my_rule", "cannot be read .it is no file"),
    "is not there": ("none.py:my_rule", "cannot be read .No such file"),
    "is too long": ("x" * 300 + ".py:my_rule", "cannot be read .File name too long"),
    "is too large": ("large.py:my_rule", "cannot be read .it has 2000000 bytes"),
    "has a NUL": ("my_rules\0.py:my_rule", "is not of the form"),
    "has a line break": ("my_rules\n.py:my_rule", "is not of the form"),
    "has Windows separators": ("..\\my_rules.py:my_rule", "cannot be read"),
    "has a drive": ("C:my_rules.py:my_rule", "is not of the form"),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_a_rule_file_elsewhere_is_neither_read_nor_executed(place, what):
    name, message = NOWHERE[what]
    inner = place / "inner"
    (inner / "link.py").symlink_to("../my_rules.py")
    (inner / "folder").symlink_to("..")
    (inner / "loop.py").symlink_to("loop.py")
    (inner / "dir.py").mkdir()
    (inner / "large.py").write_bytes(b"#" * 2_000_000)
    os.mkfifo(inner / "pipe.py")
    write(place, name.replace("{place}", str(place)))
    with pytest.raises(InputError, match=message):
        protocols.load(inner / "own.toml", allow_code=True)
    assert call("validate", inner / "own.toml", "--allow-code").refused
    assert not (place / "canary").exists()


@pytest.mark.parametrize("digest", ["../../../../etc", "0" * 11, "0" * 13, "A" * 12, "/" * 12, "", "0" * 12 + "\n"])
def test_a_hash_that_is_part_of_a_path_is_a_hash(digest):
    with pytest.raises(ValueError, match="sha256"):
        RuleSettings.model_validate({"name": "my_rules.py:my_rule", "sha256": digest})


@pytest.mark.parametrize("label", ["../../x", "/etc/passwd", "..\\\\x", "a\\u0000b", "x" * 190, "..", "con", "a/b"])
def test_a_condition_of_any_name_writes_within_its_study(tmp_path, label, monkeypatch):
    path = tmp_path / "named.toml"
    path.write_text(NAMED.split("[[conditions]]")[0] + f'[[conditions]]\nname = "{label}"\n')
    run = protocols.load(path).runs[0]
    assert set(run.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    before = set(tmp_path.parent.iterdir())
    assert call("run", path, "--out", tmp_path / "out", "--device", "cpu").code is None
    assert set(tmp_path.iterdir()) == {path, tmp_path / "out"} and set(tmp_path.parent.iterdir()) == before


def test_a_condition_name_beyond_bounds_is_refused(tmp_path):
    path = tmp_path / "named.toml"
    path.write_text(f'[[conditions]]\nname = "{"x" * (LONGEST + 1)}"\n')
    with pytest.raises(InputError, match=r"condition 'x+…' has a name of 201 characters; 200 at most would do"):
        protocols.load(path)


BOUNDS = {
    "axes": (
        '[axes]\nseed = [0, 1]\n"train.epochs" = [' + "1," * 60_000 + "]",
        "its axes multiply to 120000 runs; use",
    ),
    "settings": (
        "[fields]\nlayers = [" + '"a",' * 20_000 + "]",
        "the settings of a run take 1.* characters; 50000 at most",
    ),
    "all settings": (
        "[axes]\nseed = [" + ",".join(map(str, range(9000))) + "]\n[fields]\nlayers = [" + '"a",' * 9000 + "]",
        "the settings of its 9000 runs take .* characters; use shorter",
    ),
    "depth": ("x = " + "[" * 40 + "]" * 40, "arrays or tables deeper than 32 levels"),
    "more depth": ("x = " + "[" * 4000 + "]" * 4000, "arrays or tables deeper than 32 levels"),
    "parts of a key": ("a." * 40 + "a = 1", "a key of more than 32 parts"),
    "a number": ("[axes]\nseed = [0x" + "f" * 5000 + "]", "a whole number of more than 1000 bits"),
    "digits": ("[axes]\nseed = [" + "9" * 5000 + "]", "is not a TOML file: Exceeds the limit"),
    "size": ("#" * 2**20 + "#", "has 1048577 bytes; a protocol of at most 1048576 would do"),
    "layers": ("[network]\ndepth = 1001", "key 'network.depth' = 1001: should be less than or equal to 1000"),
    "width in braces": (
        '[[conditions]]\nname = "{seed:>999}"\naxes.seed = [0]',
        "use at most two digits after a colon",
    ),
    "nothing in braces": ('[[conditions]]\nname = "{}"', "use an axis in braces"),
    "a form in braces": (
        '[[conditions]]\nname = "{seed:q}"\naxes.seed = [0]',
        "cannot be written: Unknown format code",
    ),
    "a key that is more": ('[axes]\n"x = 1\\ny" = [0]', "is no key; write dotted keys"),
    "a title": ("title = 1", "key 'title' = 1 must be a text, in quotes"),
    "a name": (
        "[[conditions]]\nname = 1\n[[conditions]]\nname = 'b'",
        "key 'conditions.name' = 1 must be a text, in quotes",
    ),
    "an option": ('rules.retina = { name = "ldfa", rank = nan }', "option rank = nan is no number; use a finite one"),
    "an option within": ('rules.retina = { name = "ldfa", x = [{ y = inf }] }', "option x = .* is no number"),
}


@pytest.mark.parametrize("what", BOUNDS)
def test_what_would_take_memory_or_time_without_bound_is_refused(tmp_path, what):
    content, message = BOUNDS[what]
    (tmp_path / "big.toml").write_text(content)
    with pytest.raises(InputError, match=message):
        protocols.load(tmp_path / "big.toml")


def test_networks_whose_check_would_take_hours_are_refused(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text(f"[axes]\nseed = [0, 1]\ndepth = {list(range(1, 1001))}\n")
    told = call("validate", path)
    assert told.refused and "its 1000 different networks have 500500 layers in all; use fewer" in told.err


def test_a_training_under_test_is_never_begun():
    with pytest.raises(Trained):
        raise Trained
    assert call("ls").code == 0 and training.train.__module__ == "rfmodel.training"


def test_a_study_folder_that_leads_elsewhere_is_the_users_own(place):
    shutil.rmtree(place / "inner")
    (place / "elsewhere").mkdir()
    (place / "out").symlink_to(place / "elsewhere")
    (place / "a.toml").write_text(TINY)
    assert call("run", place / "a.toml", "--out", place / "out", "--device", "cpu").code is None
