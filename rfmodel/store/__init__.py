"""Runs on disk: one NetCDF file a run, written aside and renamed, and one xarray Dataset for a study.

A study's folder holds `runs/NAME.nc` (results), `runs/NAME.pt` (weights, where they are kept), `protocol.toml` and,
where rules of the user's own were used, `rules/FILE_HASH.py`, each version of their files.
A crash never leaves half a result: a file exists whole or not at all.

What is light (paths, plans) is imported without xarray, so that a study of which nothing is left is seen to be so
at once.
"""

from __future__ import annotations

import importlib

_FROM = {
    **dict.fromkeys(("checked", "run_path", "weights_path", "rule_path", "checkpoint_path"), "paths"),
    **dict.fromkeys(("failure_path", "claim_path", "manifest_path"), "paths"),
    **dict.fromkeys(("write_aside", "refuse_lost"), "writing"),
    **dict.fromkeys(("prepare", "protocol_text", "write_plan", "left", "title"), "plans"),
    **dict.fromkeys(("SCHEMA", "save", "load", "finished", "run_files", "settings_of"), "results"),
    **dict.fromkeys(("KEPT", "PLACES", "ABSENT", "open_study", "together"), "opened"),
}

__all__ = [*_FROM]


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module 'rfmodel.store' has no attribute '{name}'")
    return getattr(importlib.import_module(f"rfmodel.store.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
