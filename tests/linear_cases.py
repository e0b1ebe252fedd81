"""Small linear networks: 12 inputs, 8 hidden units, 6 outputs, a task of 4 modes and feedback of rank 2."""

from __future__ import annotations

import numpy as np

from rfmodel.theory import equations
from rfmodel.theory.initial import draw_weights, rotated
from rfmodel.theory.integration import integrate
from rfmodel.theory.settings import LinearDynamicsSettings
from rfmodel.theory.tasks import draw_task

RULES = {
    "gd": {"name": "gd"},
    "fa": {"name": "fa"},
    "adaptive_q": {"name": "adaptive_q"},
    "normative": {"name": "normative"},
    "oja by targets": {"name": "oja"},
    "oja by the residual": {"name": "oja", "drive": "residual"},
    "oja, Q Hebbian": {"name": "oja", "learn_q": True},
}


def small(name="gd", seeds=2, task=None, initial=None, integration=None, **feedback):
    """Settings; of a rule in `RULES`, or of a name that the feedback's own has."""
    sizes = {"inputs": 12, "hidden": 8, "outputs": 6, "spectrum": {"modes": 4}} | (task or {})
    rule = {"rank": 2} | RULES.get(name, {"name": name}) | feedback
    integration = {"manners": ("flow",), "duration": 20.0, "points": 41} | (integration or {})
    return LinearDynamicsSettings(
        seeds=seeds, task=sizes, feedback=rule, initial=initial or {}, integration=integration
    )


def drawn(settings):
    """The task, and the weights in the original basis."""
    task = draw_task(settings.task, settings.seeds)
    return task, draw_weights(settings, task)


def followed(settings, task, weights, times):
    """The flow's weights (points, seeds, ...) in the task's basis, by name, of what learns."""
    start = rotated(weights, task)
    flow, state = equations.flow_of(settings.feedback, task, start)
    names = equations.learning(settings.feedback)

    def observe(_, state):
        return {name: one.copy() for name, one in zip(names, state, strict=True)}

    return integrate(flow, state, times, observe, settings.integration.tolerance).seen


def literal_samples(rng, A, noise, p):
    """X (n, p), whitened exactly, and Y = A X + noise."""
    m, n = A.shape
    X = rng.normal(size=(n, p))
    X = np.linalg.solve(np.linalg.cholesky(X @ X.T / p), X)
    return X, A @ X + noise * rng.normal(size=(m, p))
