"""What the README shows runs as it stands."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from studies import TINY

from rfmodel import protocols, settings, study
from rfmodel.routing import RULES

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    study.run_study(protocols.load(path, ["train.epochs=0"], ["seed=0"]), tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)  # as in a fresh process: networks are drawn, whatever tests ran before
    space = {}
    try:
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), space)
        assert space["kinds"].sizes["unit"] == 8
        assert [str(edge) for edge in space["routed"].edges] == ["vvs.conv1.output->retina.conv2.input"]
    finally:
        RULES.pop("broadcast", None)


def test_what_needs_a_cluster_to_run_is_python_at_least():
    (block,) = blocks("py")
    compile(block, "README.md", "exec")


@pytest.mark.parametrize("line", "".join(blocks("toml")).strip().splitlines())
def test_each_line_of_rules_is_valid(line):
    rules = settings.Settings.model_validate(tomllib.loads(line)).rules
    assert {rule.name for rule in rules.values()} <= {*RULES, "my_rules.py:broadcast"}


def test_every_rule_and_protocol_is_described():
    for name in (*RULES, *protocols.names()):
        assert f"`{name}`" in TEXT


def test_commands_exist():
    from rfmodel.cli import app

    known = {c.name or c.callback.__name__ for c in app.registered_commands} | {g.name for g in app.registered_groups}
    used = {line.split()[1] for line in "".join(blocks("sh")).splitlines() if line.startswith("rfmodel ")}
    assert used <= known


def test_runs_of_protocols_that_come_along_can_be_run():
    lines = [line for line in "".join(blocks("sh")).splitlines() if line.startswith("rfmodel run ")]
    runs = [shlex.split(line, comments=True)[2:] for line in lines]
    own = [words for words in runs if words[0] in protocols.names()]
    assert own
    for name, *words in own:
        given = {key: [value for option, value in pairwise(words) if option == key] for key in ("--set", "--only")}
        preset = next((value for option, value in pairwise(words) if option == "--preset"), None)
        assert protocols.load(name, given["--set"], given["--only"], preset=preset).runs
