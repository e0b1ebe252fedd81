"""Small problems of matrix factorisation that the tests of its parts share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rfmodel.theory.factorisation import Problem, draw, moving, relative_error
from rfmodel.theory.integration import Followed, integrate
from rfmodel.theory.settings import (
    FactorisationSettings,
    FactorRuleSettings,
    InitialSettings,
    IntegrationSettings,
    MatrixSettings,
    SpectrumSettings,
)

RULES = ("gd", "fa", "fa_star")
VALUES = (2.0, 1.7, 1.4, 1.1, 0.5, 0.3)


def settings(rule="gd", width=4, seeds=3, values=VALUES, rows=9, columns=11, how=None, law=None, **initial):
    """Return the settings of one condition: `how` it is followed, and a `law` in place of the values."""
    spectrum = SpectrumSettings(**law) if law else SpectrumSettings(law="given", values=values)
    return FactorisationSettings(
        seeds=seeds,
        matrix=MatrixSettings(rows=rows, columns=columns, spectrum=spectrum),
        rule=FactorRuleSettings(name=rule, width=width),
        initial=InitialSettings(**{"forward": 0.3, **initial}),
        integration=IntegrationSettings(**{"duration": 40.0, "points": 21, **(how or {})}),
    )


def drawn(rule="gd", **options) -> Problem:
    return draw(settings(rule, **options))


def from_nought(rule="fa", **options) -> Problem:
    problem = drawn(rule, **options)
    return replace(problem, Z=0 * problem.Z, W=0 * problem.W)


def nothing(state):
    return np.zeros(1)


def followed(problem, duration, look=nothing, points=5, tolerance=1e-9) -> Followed:
    times = np.linspace(0, duration, points)
    return integrate(moving(problem), problem.start, times, lambda _, state: {"seen": look(state)}, tolerance)


def end_error(problem, duration):
    return relative_error(problem, followed(problem, duration).last)
