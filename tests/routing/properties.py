"""The property table: what each registered rule is asked to satisfy in test_properties.py."""

from __future__ import annotations

from rfmodel.routing import make_rule

# name of the case -> (rule's name, options). Every registered rule must stand here at least once.
TABLE = {
    "bp": ("bp", {}),
    "fa": ("fa", {}),
    "dfa": ("dfa", {}),
    "dfa from the penultimate layer": ("dfa", {"source": "penultimate"}),
    "ldfa": ("ldfa", {"rank": 2}),
    "ldfa, Hebbian Q": ("ldfa", {"rank": 2, "q": "hebbian"}),
    "ldfa, eq. 15": ("ldfa", {"rank": 2, "q": "hebbian", "normalise": "none", "decay": 0.01}),
    "ldfa, released code": ("ldfa", {"rank": 2, "q": "hebbian", "normalise": "std"}),
    "ldfa_normative": ("ldfa_normative", {"rank": 2}),
    "dldfa": ("dldfa", {"rank": 2, "q": "hebbian"}),
    "dldfa from the penultimate layer": ("dldfa", {"rank": 2, "source": "penultimate"}),
}


def rule(case: str):
    name, options = TABLE[case]
    return make_rule(name, **options)


def sites(case: str) -> str:
    """Every site, but for a source that is itself the last hidden layer: only what lies before it."""
    return "early" if TABLE[case][1].get("source") == "penultimate" else "*"


EARLY = {"perceptron": "two", "retina": "vvs.conv1"}
# Rules whose pseudo-gradients use statistics of the whole batch, as Algorithm 2 and the released code do.
BATCH_STATISTICS = {
    case for case, (name, o) in TABLE.items() if name in ("ldfa", "dldfa") and o.get("normalise", "max") != "none"
}
