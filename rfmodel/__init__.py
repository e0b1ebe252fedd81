"""rfmodel: how does the teaching signal shape what a network learns to see?

`open_study`, `open_theory`, `Routed`, `register_rule`, `RetinaVVS`, and the modules `fields`, `symmetry`, `theory`,
`figures`, `datasets`, `training` are imported when first asked for, so that `import rfmodel` is quick.
"""

from __future__ import annotations

import importlib

_FROM = {
    "open_study": "rfmodel.store",
    "open_theory": "rfmodel.store",
    "Routed": "rfmodel.routing",
    "make_rule": "rfmodel.routing",
    "register_rule": "rfmodel.routing",
    "RetinaVVS": "rfmodel.models",
    "InputError": "rfmodel.errors",
    "run_study": "rfmodel.study",
    "run_theory": "rfmodel.theory_study",
    "load_protocol": "rfmodel.protocols",
}
_MODULES = (
    "datasets",
    "fields",
    "figures",
    "fits",
    "models",
    "protocols",
    "references",
    "representation",
    "routing",
    "store",
    "study",
    "symmetry",
    "theory",
    "training",
)

__all__ = [*_FROM, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"rfmodel.{name}")
    if name not in _FROM:
        raise AttributeError(f"module 'rfmodel' has no attribute '{name}'")
    return getattr(importlib.import_module(_FROM[name]), "load" if name == "load_protocol" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
