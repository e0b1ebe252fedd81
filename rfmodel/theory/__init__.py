"""Solvable models of learning with low-dimensional feedback: equations, a simulation of the rule, and what both say.

`linear_dynamics` is the two-layer linear network of Hanut & Kadmon, sections 3 and 5.1; `matrix_factorisation` is the
case study of Garg & Vempala (2022), which is the same network with as many hidden units as feedback directions. Each
takes its settings and returns one Dataset for all of its seeds. The parts are there for a reader of their own: the
equations in the basis of the task, their integration, the discrete rules by the package's own plasticity functions, and
the closed forms that both are held against.

Names are imported when first asked for, so that the settings of a protocol are read without torch or scipy.
"""

from __future__ import annotations

import importlib

_FROM = {
    "linear_dynamics": "linear_network",
    "matrix_factorisation": "factor_network",
    **dict.fromkeys(("LinearDynamicsSettings", "FactorisationSettings", "SpectrumSettings", "MODELS"), "settings"),
    "integrate": "integration",
    **dict.fromkeys(("draw_task", "LinearTask"), "tasks"),
    **dict.fromkeys(("draw_weights", "Weights"), "initial"),
    **dict.fromkeys(("saxe_overlap", "saxe_time"), "saxe"),
    **dict.fromkeys(("stationary_overlap", "stationary_defect", "residual_split", "capture"), "stationary"),
    **dict.fromkeys(("recovered", "recovery_time", "leading_and_rest"), "recovery"),
    **dict.fromkeys(("critical_rate", "critical_rate_of"), "pursuit"),
    **dict.fromkeys(("argument", "by_number", "distortion"), "projections"),
    **dict.fromkeys(("eckart_young", "stationary_error", "width_for"), "separation"),
    **dict.fromkeys(("alignment", "principal_angles"), "angles"),
    "worst_spectrum": "worst_case",
    "gain_of_batching": "batching",
}

__all__ = [*_FROM]


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module 'rfmodel.theory' has no attribute '{name}'")
    return getattr(importlib.import_module(f"rfmodel.theory.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
