"""Studies of the theory bench from closed forms: sigmoids to stationary overlaps, projectors, tails of spectra."""

import json

import numpy as np
import xarray as xr

RATES = {"gd": 1.0, "fa": 0.6, "adaptive_q": 0.7, "normative": 0.9, "oja": 0.8}


def joined(runs):
    """Return conditions as one study, what some lack filled with NaN."""
    return xr.concat(runs, "run", join="outer", coords="different", compat="equals", combine_attrs="drop_conflicts")


def _labelled(run, condition, settings, size_name, size, rule, law):
    recorded = {
        "settings": json.dumps(settings),
        "versions": "numpy 2.4",
        "hardware": "2 cores",
        "commit": "0123abc",
        "seconds": 1.5,
    }
    coords = {"condition": condition, "rule": rule, "law": law, "name": "synthetic", size_name: size}
    return run.assign(recorded).expand_dims("run").assign_coords({name: ("run", [c]) for name, c in coords.items()})


def projector(rng, rank, values):
    """Return the projector on the rows of P S, P random of a rank."""
    rows = rng.normal(size=(rank, values.size)) * values
    return np.linalg.pinv(rows) @ rows


def linear_run(
    condition, rule="gd", rank=None, modes=6, seeds=3, points=21, duration=20.0, manners=("flow", "full_batch"),
    step=0.02, feedback=None,
):  # fmt: skip
    """Return one condition of the linear network: logistic growth of each overlap to its stationary value."""
    values = np.linspace(2.0, 0.5, modes)
    time = np.linspace(0, duration, points)
    r = modes if rank is None else rank
    stationary = np.ones((seeds, modes))
    for seed in range(seeds):
        if rule in ("fa", "adaptive_q") and r < modes:
            stationary[seed] = np.diag(projector(np.random.default_rng([seed, r]), r, values))
        elif rule != "gd":
            stationary[seed] = np.arange(modes) < r
    growth = np.exp(RATES[rule] * values * time[:, None])
    sigmoid = growth / (growth - 1 + 1e4)
    flow = stationary[:, None] * sigmoid
    shift = {"flow": 0.0, "full_batch": step / 4, "online": 0.03}
    overlap = np.stack([flow + shift[m] * flow * (1 - sigmoid) for m in manners])
    share = values**2 / (values**2).sum()
    error = ((1 - overlap) ** 2 * share).sum(-1)
    outside = np.broadcast_to((1 - stationary) ** 2 @ share, (points, seeds)).T
    reached = np.where(stationary > 0.9, np.log(9 * 1e4) / (RATES[rule] * values), np.nan)
    known = np.nan if rule == "normative" else 1.0
    coords = {
        "manner": list(manners), "seed": range(seeds), "point": range(points), "mode": range(1, modes + 1),
    }  # fmt: skip
    run = xr.Dataset(
        {
            "time": ("point", time),
            "singular_values": (("seed", "mode"), np.tile(values, (seeds, 1))),
            "overlap": (("manner", "seed", "point", "mode"), overlap),
            "error": (("manner", "seed", "point"), error),
            "residual_inside": (("seed", "point"), np.maximum(error[0] - outside, 1e-14)),
            "residual_outside": (("seed", "point"), outside + 0.0),
            "capture": (("seed", "point"), np.full((seeds, points), np.nan if rule == "gd" else r / modes)),
            "overlap_stationary": (("seed", "mode"), stationary * known),
            "recovery_time": (("seed", "mode"), reached),
            "recovered": ("seed", (stationary > 0.9).sum(1).astype(float)),
            "difference": (("manner", "seed"), abs(overlap - flow).max((2, 3))),
            "drift": ("seed", np.full(seeds, np.nan if rule == "normative" else 1e-9)),
        },
        coords,
        {"model": "linear_dynamics", "rank": r},
    )
    settings = {
        "theory": "linear_dynamics", "seeds": seeds,
        "task": {"inputs": 16, "hidden": modes, "outputs": modes, "spectrum": {"law": "linear", "modes": modes}},
        "feedback": {"name": rule, "rank": rank, "drive": "targets", "learn_q": False} | (feedback or {}),
        "integration": {"duration": duration, "step": step},
    }  # fmt: skip
    return _labelled(run, condition, settings, "rank", np.nan if rank is None else float(rank), rule, "linear")


LINEAR = (
    ("gradient descent", "gd", None),
    ("FA, r = 2", "fa", 2),
    ("FA, r = 4", "fa", 4),
    ("Q learns, r = 6", "adaptive_q", 6),
    ("Q learns, r = 2", "adaptive_q", 2),
    ("normative, r = 6", "normative", 6),
    ("normative, r = 2", "normative", 2),
    ("Oja, r = 6", "oja", 6),
    ("Oja, r = 2", "oja", 2),
)


def linear_study(recipe=LINEAR, **kwargs):
    """Return a study of linear networks, a run a condition."""
    return joined([linear_run(name, rule, rank, **kwargs) for name, rule, rank in recipe])


LAWS = {
    "flat": np.ones(8),
    "power": np.arange(1, 9) ** -1.0,
    "step": np.where(np.arange(8) < 3, 1.0, 0.05),
    "worst": np.where(np.arange(8) < 2, 1.0, 0.01),
}


def factor_run(condition, rule="fa", width=3, law="flat", seeds=8, points=21, candidates=12, manners=("flow",)):
    """Return one condition of matrix factorisation: errors that fall to the closed form of a random projection."""
    values, time = LAWS[law], np.linspace(0, 50, points)
    optimum = np.full(seeds, np.linalg.norm(values[width:]) / np.linalg.norm(values))
    stationary = np.array(
        [
            np.linalg.norm(np.diag(values) @ (np.eye(8) - projector(np.random.default_rng([s, width]), width, values)))
            / np.linalg.norm(values)
            for s in range(seeds)
        ]
    )
    optimum = np.where(optimum < 1e-12, 0.0, optimum)
    stationary = np.where(stationary < 1e-12, 0.0, stationary) if rule != "gd" else optimum
    end = stationary[:, None] + (1 - stationary[:, None]) * np.exp(-time)
    error = np.stack([end + 0.001 * (m != "flow") for m in manners])
    turned = np.linspace(40, 85, width) + np.arange(seeds)[:, None] * 0.5
    gone = np.nan if rule == "gd" else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(optimum > 0, error[0, :, -1] / optimum, np.nan)
    variables = {
        "time": ("point", time),
        "singular_values": (("seed", "mode"), np.tile(values, (seeds, 1))),
        "error": (("manner", "seed", "point"), error),
        "optimum": ("seed", optimum),
        "stationary": ("seed", stationary),
        "ratio": ("seed", ratio),
        "excess": ("seed", error[0, :, -1] - optimum),
        "alignment": (("seed", "point"), gone * (90 - 60 * (1 - np.exp(-time)) + np.arange(seeds)[:, None])),
        "difference": (("manner", "seed"), abs(error - end).max(2)),
        "drift": ("seed", np.full(seeds, 1e-9)),
        "principal_angle": (("seed", "angle"), gone * turned),
        "principal_angle_random": (("seed", "angle"), gone * (turned + 3)),
        "equal_error": ("seed", gone * stationary),
    }
    coords = {
        "manner": list(manners), "seed": range(seeds), "point": range(points), "mode": range(1, 9),
        "angle": range(1, width + 1),
    }  # fmt: skip
    if law == "worst":
        variables["search_values"] = (("candidate", "mode"), np.tile(values, (candidates, 1)))
        variables["search_ratio"] = ("candidate", 2 + np.sin(np.arange(candidates)))
        coords["candidate"] = range(candidates)
    run = xr.Dataset(variables, coords, {"model": "matrix_factorisation", "width": width})
    settings = {
        "theory": "matrix_factorisation", "seeds": seeds,
        "matrix": {"rows": 8, "columns": 8, "spectrum": {"law": law, "modes": 8}},
        "rule": {"name": rule, "width": width},
    }  # fmt: skip
    return _labelled(run, condition, settings, "width", float(width), rule, law)


FACTORS = (
    *((f"gradient descent, r = {r}", "gd", r, "flat") for r in (2, 4, 8)),
    *((f"FA, r = {r}", "fa", r, "flat") for r in (2, 4, 8)),
    ("FA*, r = 2", "fa_star", 2, "flat"),
    ("FA, power, r = 2", "fa", 2, "power"),
    ("FA, step, r = 2", "fa", 2, "step"),
    ("FA, worst, r = 2", "fa", 2, "worst"),
)


def factor_study(recipe=FACTORS, **kwargs):
    """Return a study of matrix factorisation, a run a condition."""
    return joined([factor_run(name, rule, width, law, **kwargs) for name, rule, width, law in recipe])
