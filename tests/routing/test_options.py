"""Options of rules: what is unknown, missing or impossible is refused when the rule is made."""

from __future__ import annotations

import pytest

from rfmodel.errors import InputError
from rfmodel.routing import make_rule


@pytest.mark.parametrize("rank", [0, -1, 2.5, True, "4"])
def test_rank_that_is_no_rank(rank):
    with pytest.raises(InputError, match="rank .* of rule 'ldfa' is impossible; use a whole number from 1"):
        make_rule("ldfa", rank=rank)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fb", {}, "rule 'fb' is unknown: known are .*did you mean 'fa'"),
        ("ldfa", {}, "rule 'ldfa' needs rank"),
        ("ldfa", {"rnk": 2}, "rule 'ldfa' has no option 'rnk': .*did you mean 'rank'"),
        ("ldfa", {"rank": 2, "q": "fix"}, "option q of rule 'ldfa': 'fix' is unknown"),
        ("ldfa", {"rank": 2, "p": "sanger"}, "option p of rule 'ldfa': 'sanger' is unknown"),
        ("ldfa", {"rank": 2, "normalise": "mean"}, "option normalise of rule 'ldfa': 'mean' is unknown"),
        ("fa", {"scale": 0}, "scale 0 of rule 'fa' is impossible; use a number above 0"),
        ("dfa", {"scale": "big"}, "scale 'big' of rule 'dfa' is impossible"),
        ("dfa", {"scale": True}, "scale True of rule 'dfa' is impossible"),
        ("fa", {"scale": float("nan")}, "scale nan of rule 'fa' is impossible"),
        ("fa", {"scale": float("inf")}, "scale inf of rule 'fa' is impossible"),
        ("frsf", {"scale": -1}, "scale -1 of rule 'frsf' is impossible"),
        ("brsf", {"scale": 0}, "scale 0 of rule 'brsf' is impossible"),
        ("kolen_pollack", {"scale": 0}, "scale 0 of rule 'kolen_pollack' is impossible"),
        ("usf", {"magnitude": 0}, "magnitude 0 of rule 'usf' is impossible; use a number above 0"),
        ("usf", {"magnitude": "small"}, "magnitude 'small' of rule 'usf' is impossible"),
        ("sparse_dfa", {"density": 0}, "density 0 of rule 'sparse_dfa' is impossible; use above 0 to 1"),
        ("sparse_dfa", {"density": 1.5}, "density 1.5 of rule 'sparse_dfa' is impossible"),
        ("ldfa", {"rank": []}, r"rank \[\] of rule 'ldfa' is impossible; give a rank for each edge"),
        ("ldfa", {"rank": [2, 0]}, "rank 0 of rule 'ldfa' is impossible"),
        ("ldfa", {"rank": 2, "decay": -1}, "decay -1 of rule 'ldfa' is impossible; use 0 or a small positive number"),
        ("ldfa", {"rank": 2, "decay": "much"}, "decay 'much' of rule 'ldfa' is impossible"),
        ("ldfa", {"rank": 2, "init": "zeros"}, "option init of rule 'ldfa': 'zeros' is unknown: known are random, svd"),
        ("ldfa", {"rank": 2, "moments": "drop"}, "option moments of rule 'ldfa': 'drop' is unknown"),
        ("ldfa", {"rank": 2, "qkv": "split"}, "option qkv of rule 'ldfa': 'split' is unknown"),
        ("ldfa", {"rank": 2, "use_targets": "yes"}, "use_targets 'yes' of rule 'ldfa' is no choice; use true or false"),
        ("ldfa", {"rank": 2, "clip_signal": 0}, "clip_signal 0 of rule 'ldfa' is impossible"),
        ("ldfa", {"rank": 2, "clip_update": -1}, "clip_update -1 of rule 'ldfa' is impossible"),
        (
            "ldfa",
            {"rank": 2, "refactor_every": 1.5},
            "refactor_every 1.5 of rule 'ldfa' is impossible; use a whole number",
        ),
        (
            "ldfa_normative",
            {"rank": 2, "svd_iterations": -1},
            "svd_iterations -1 of rule 'ldfa_normative' is impossible",
        ),
        ("ldfa_normative", {"rank": 2, "q": "fixed"}, "rule 'ldfa_normative' has no option 'q'"),
        ("skip", {"k": -1}, "k -1 of rule 'skip' is impossible; use a whole number from 0"),
        ("skip", {"rule": "dfa"}, "option rule of rule 'skip': 'dfa' is unknown: known are fa, ldfa"),
        ("skip", {"rule": "ldfa"}, "rule 'ldfa' needs rank"),
        ("skip", {"rank": 2}, "rule 'fa' has no option 'rank'"),
        ("partition", {}, "rule 'partition' needs parts"),
        ("partition", {"parts": {}}, "parts {} of rule 'partition' is no table of site patterns and rules"),
        ("partition", {"parts": ["fa"]}, "is no table of site patterns and rules"),
        ("partition", {"parts": {"one": {"rank": 2}}}, "part 'one' of rule 'partition' has no name; say for example"),
        ("partition", {"parts": {"one": 3}}, "part 'one' 3 of rule 'partition' is no table"),
        ("partition", {"parts": {"one": "fb"}}, "rule 'fb' is unknown"),
    ],
)
def test_options_of_rules(name, options, message):
    with pytest.raises(InputError, match=message):
        make_rule(name, **options)


def test_options_may_be_whole_numbers_where_fractions_are_meant():
    assert make_rule("ldfa", rank=2, decay=0, scale=2).name == "ldfa"
    assert make_rule("sparse_dfa", density=1).name == "sparse_dfa"
