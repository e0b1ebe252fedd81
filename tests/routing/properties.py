"""The property table: what each registered rule is asked to satisfy in test_properties.py."""

from __future__ import annotations

from rfmodel.routing import make_rule

CONSTANT = {"kind": "constant"}  # a rank that falls needs the number of epochs
# name of the case -> (rule's name, options). Every registered rule must stand here at least once.
TABLE = {
    "bp": ("bp", {}),
    "fa": ("fa", {}),
    "usf": ("usf", {}),
    "usf of magnitude 1": ("usf", {"magnitude": 1.0}),
    "brsf": ("brsf", {}),
    "frsf": ("frsf", {}),
    "kolen_pollack": ("kolen_pollack", {}),
    "weight_mirror": ("weight_mirror", {"rate": 0.1}),
    "dfa": ("dfa", {}),
    "sparse_dfa": ("sparse_dfa", {"density": 0.4}),
    "drtp": ("drtp", {}),
    "dfa from the penultimate layer": ("dfa", {"source": "penultimate"}),
    "ldfa": ("ldfa", {"rank": 2}),
    "ldfa, Hebbian Q": ("ldfa", {"rank": 2, "q": "hebbian"}),
    "ldfa, eq. 15": ("ldfa", {"rank": 2, "q": "hebbian", "normalise": "none", "decay": 0.01}),
    "ldfa, released code": ("ldfa", {"rank": 2, "q": "hebbian", "normalise": "std"}),
    "ldfa, factorised Kolen-Pollack": ("ldfa", {"rank": 2, "p": "kolen_pollack", "q": "hebbian", "decay": 0.1}),
    "ldfa, clipped": ("ldfa", {"rank": 2, "q": "hebbian", "normalise": "none", "clip_signal": 1.0}),
    "ldfa, a fraction of the width": ("ldfa", {"rank": 0.5, "q": "hebbian"}),
    "ldfa, from the weights' decomposition": ("ldfa", {"rank": 2, "init": "svd", "refactor_every": 3}),
    "ldfa, labels in the last layer": ("ldfa", {"rank": 2, "use_targets": True}),
    "ldfa_normative": ("ldfa_normative", {"rank": 2}),
    "ldfa_normative, released code": (
        "ldfa_normative",
        {"rank": 2, "init": "svd", "refactor_every": 2, "moments": "reset"},
    ),
    "dldfa": ("dldfa", {"rank": 2, "q": "hebbian"}),
    "dldfa from the penultimate layer": ("dldfa", {"rank": 2, "source": "penultimate"}),
    "skip": ("skip", {"k": 1}),
    "skip by low rank": ("skip", {"k": 1, "rule": "ldfa", "rank": 2, "q": "hebbian"}),
    "partition": ("partition", {"parts": {"*": "fa"}}),
}

# Rules that train factors, in networks whose layers are no longer those that were given; see test_ssa.py.
FACTORED = {
    "ssa": ("ssa", {"schedule": CONSTANT, "reduction": "mean"}),
    "ssa, dense": ("ssa", {"schedule": CONSTANT, "reduction": "mean", "feedback": "dense", "aligns": "both"}),
    "ssa2024": ("ssa2024", {"schedule": CONSTANT, "reduction": "mean", "start": "weights", "at": "preactivation"}),
    "ssa2025": ("ssa2025", {"schedule": CONSTANT, "reduction": "mean", "project": "stiefel", "retract_every": 2}),
    "svd_bp": ("svd_bp", {"schedule": CONSTANT}),
    "svd over feedback alignment": ("svd", {"schedule": CONSTANT, "rule": "fa", "rank": 0.5}),
}

# Rules that lay no edge: local losses at the ends of units, and steps of their own; see test_heads.py.
WITHOUT_EDGES = {
    "predsim": ("predsim", {}),
    "predsim, prediction": ("predsim", {"loss": "pred"}),
    "predsim, similarity": ("predsim", {"loss": "sim", "units": "layer"}),
    "auglocal": ("auglocal", {}),
    "auglocal of depth 1": ("auglocal", {"depth": 1, "initialisation": "default"}),
    "pepita": ("pepita", {"scale": 1.0}),
    "pepita, modulated": ("pepita", {"scale": 1.0, "law": "normal", "error": "modulated", "places": "sum"}),
}


def rule(case: str):
    name, options = (TABLE | WITHOUT_EDGES | FACTORED)[case]
    return make_rule(name, **options)


def sites(case: str) -> str:
    """Every site, but for a source that is itself the last hidden layer: only what lies before it."""
    return "early" if (TABLE | FACTORED)[case][1].get("source") == "penultimate" else "*"


EARLY = {"perceptron": "two", "retina": "vvs.conv1"}
# Rules whose pseudo-gradients use statistics of the whole batch, as Algorithm 2 and the released code do.
BATCH_STATISTICS = {
    case
    for case, (name, o) in TABLE.items()
    if o.get("rule", name) in ("ldfa", "dldfa") and o.get("p", "oja") == "oja" and o.get("normalise", "max") != "none"
}
