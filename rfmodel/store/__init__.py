"""Runs on disk: one NetCDF file a run, written aside and renamed, and one xarray Dataset for a study.

A study's folder holds `runs/NAME.nc` (results), `runs/NAME.pt` (weights, where they are kept), `protocol.toml`,
`runs/plan-HASH.json` (what was asked) and, where rules of the user's own were used, `rules/FILE_HASH.py`, each version
of their files. Beside a run that is not finished lie its claim, checkpoints, or failure (`rfmodel.store.paths`);
`manifest.json` and `consolidated.npz` are caches. A study of a solvable model holds `theory/NAME.nc`, one file a
condition, in place of `runs`.
A crash never leaves half a result: a file exists whole or not at all.

What is light (paths, plans) is imported without xarray, so that a study of which nothing is left is seen to be so
at once.
"""

from __future__ import annotations

import importlib

_FROM = {
    **dict.fromkeys(("checked", "finished", "run_path", "weights_path", "rule_path", "checkpoint_path"), "paths"),
    **dict.fromkeys(("failure_path", "claim_path", "manifest_path"), "paths"),
    **dict.fromkeys(("write_aside", "refuse_lost", "sweep", "Unwritable"), "writing"),
    "tidy": "tidying",
    **dict.fromkeys(("Claims", "Claim", "Holder"), "claims"),
    **dict.fromkeys(("Failure", "record_failure", "forget_failure"), "failures"),
    **dict.fromkeys(("Entry", "entries"), "manifest"),
    **dict.fromkeys(("prepare", "protocol_text", "write_plan", "asked", "asked_conditions", "left", "title"), "plans"),
    **dict.fromkeys(("THEORY", "theory_path", "refuse_other", "refuse_theory", "is_theory"), "kinds"),
    **dict.fromkeys(("theory_files", "load_theory"), "theory_files"),
    "open_theory": "theory_opened",
    "one_line": "wording",
    **dict.fromkeys(("SCHEMA", "save", "load", "load_run", "digest", "run_files", "settings_of"), "results"),
    **dict.fromkeys(("KEPT", "PLACES", "ABSENT", "open_study", "together"), "opened"),
    "consolidate": "consolidated",
}

__all__ = [*_FROM]


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module 'rfmodel.store' has no attribute '{name}'")
    return getattr(importlib.import_module(f"rfmodel.store.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
