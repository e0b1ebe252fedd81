"""How well each metric tells centre-surround from oriented fields: python analysis/discrimination.py.

Writes results/discrimination.md and .png: the area under the ROC curve of every metric for differences of Gaussians
(aspect 1 to 1.5, balance .5 to 1.2, ON and OFF) against Gabors (nx .2 to .8, aspect .8 to 1.5, any phase) in white
noise, and the confusion matrix of the classifier and of the fits, whose thresholds were fixed beforehand.
`--fields N` draws N of each kind a cell (default 200).
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import xarray as xr
from beside import kept_reading

from rfmodel import figures, fits, symmetry
from rfmodel.provenance import commit
from rfmodel.symmetry import shapes
from rfmodel.symmetry.nulls import enveloped_noise, white_noise

RESULTS = Path(__file__).parent / "results"
CANVAS = (32, 32)
NOISE = (20, 15, 10, 5, 0)  # dB, energy of the field over that of the noise on the canvas
SIZES = {"small": (1.1, 1.8), "medium": (1.6, 2.6), "large": (2.4, 3.9)}  # sigma of centre, of Gabor: equal RMS radius
SHOWN = (
    "p0", "p1", "p2", "anisotropy", "coherence", "osi", "osi_mean", "gosi", "gosi_mean", "rotation_90",
    "surround", "surround_of_mean", "bar_score", "bar_sd", "bar_score, corrected", "bar_sd, corrected",
    "BIC, DoG - Gabor",
)  # fmt: skip
KINDS = ("centre-surround", "oriented", "mixed", "unstructured")
MODELS = ("dog", "elliptical_dog", "gabor", "none")
FITTED = MODELS[:-1]

DRAWN = (
    "{n} fields of each kind a cell, 32 x 32 pixels, within 3 pixels of the centre. Differences of Gaussians: aspect"
    " 1 to 1.5, balance .5 to 1.2, surround twice the centre, ON and OFF. Gabors: nx .2 to .8, aspect .8 to 1.5, any"
    " phase and orientation. White noise over the canvas; decibels are the field's energy over the noise's. Sizes: "
)


def drawn(kind: str, size: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n fields (n, height, width) of a kind, within 3 pixels of the centre, at any orientation."""
    sigma = SIZES[size][kind == "oriented"]
    found = []
    for _ in range(n):
        place, turned = tuple(16 + rng.uniform(-3, 3, 2)), rng.uniform(0, 180)
        if kind == "oriented":
            wide = sigma * rng.uniform(0.8, 1.5)
            field = shapes.gabor(
                CANVAS, place, sigma=(sigma, wide), frequency=rng.uniform(0.2, 0.8) / sigma, orientation=turned,
                phase=rng.uniform(0, 360),
            )  # fmt: skip
        else:
            field = rng.choice([-1, 1]) * shapes.difference_of_gaussians(
                CANVAS,
                place,
                sigma=sigma,
                aspect=rng.uniform(1, 1.5),
                balance=rng.uniform(0.5, 1.2),
                orientation=turned,
            )
        found.append(field)
    return np.stack(found)


def noisy(fields: np.ndarray, decibel: float, rng: np.random.Generator) -> np.ndarray:
    """Return fields in white noise whose energy over the canvas is `decibel` below each field's."""
    spread = np.sqrt((fields**2).mean((1, 2), keepdims=True) * 10 ** (-decibel / 10))
    return fields + spread * rng.normal(size=fields.shape)


def measured(fields: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the metrics and the fits of fields."""
    metrics = symmetry.measure(fields)
    corrected = symmetry.measure(fields, corrected=True)
    for name in ("bar_score", "bar_sd"):
        metrics[f"{name}, corrected"] = corrected[name]
    fitted = fits.fit(fields, FITTED, folds=0)
    bic = fitted["fit_bic"]
    metrics["BIC, DoG - Gabor"] = bic.sel(model=["dog", "elliptical_dog"]).min("model") - bic.sel(
        model="gabor", drop=True
    )
    return metrics, fitted


def table_of_areas(n: int) -> tuple[xr.Dataset, dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Return areas (metric, size, decibel), and by noise the confusion of the classifier and of the fits."""
    rng = np.random.default_rng(0)
    areas, classified, compared = {}, {}, {}
    for decibel in NOISE:
        told, chosen = np.zeros((2, len(KINDS))), np.zeros((2, len(MODELS)))
        for size in SIZES:
            clean = [drawn(kind, size, n, rng) for kind in KINDS[:2]]
            shown = noisy(np.concatenate(clean), decibel, rng)
            metrics, fitted = measured(shown)
            null = fits.gate(fits.matched_null(shown, FITTED, n=400))
            oriented = np.repeat([False, True], n)
            areas[size, decibel] = symmetry.discrimination(metrics, oriented, [s for s in SHOWN if s in metrics])
            kind, best = symmetry.classify(metrics).values, fits.compare(fitted, null).values
            for row in range(2):
                told[row] += [(kind[oriented == row] == name).sum() for name in KINDS]
                chosen[row] += [(best[oriented == row] == name).sum() for name in MODELS]
        classified[decibel], compared[decibel] = told, chosen
    rows = [xr.concat([areas[size, d] for d in NOISE], xr.Variable("decibel", list(NOISE))) for size in SIZES]
    return xr.concat(rows, xr.Variable("size", list(SIZES))), classified, compared


def of_noise(n: int) -> list[str]:
    """Return rows of what the classifier and the fits say of noise."""
    rows = []
    kinds = {
        "white noise": white_noise(n, CANVAS, seed=1),
        "white noise under 4 px": enveloped_noise(n, CANVAS, sigma=0, envelope=4.0, seed=2),
        "smooth noise (2 px) under 4 px": enveloped_noise(n, CANVAS, sigma=2.0, envelope=4.0, seed=3),
    }
    for name, fields in kinds.items():
        metrics, fitted = measured(fields)
        null = fits.gate(fits.matched_null(fields, FITTED, n=400, seed=4))
        kind, best = symmetry.classify(metrics).values, fits.compare(fitted, null).values
        cells = [f"{100 * (kind == k).mean():.1f}" for k in KINDS] + [f"{100 * (best == m).mean():.1f}" for m in MODELS]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def page(areas: xr.Dataset, classified, compared, noise: list[str], n: int, command: str) -> str:
    """Return the page."""
    lines = [
        "# Which metric tells centre-surround from oriented fields", "", f"    {command}", "",
        f"Commit {commit()}, {platform.machine()}, Python {platform.python_version()}. "
        + DRAWN.format(n=n)
        + "; ".join(f"{name}, sigma {s[0]} (centre) and {s[1]} px (Gabor)" for name, s in SIZES.items()) + ".",
        "", "## Area under the ROC curve, oriented against centre-surround", "",
        "1 or 0: the metric tells them apart without error (0: it is lower for oriented fields); .5: it says nothing. "
        "Below each size, 20, 15, 10, 5, 0 dB. The 95 % half-width (DeLong) is at most "
        f"{float(((areas['auc_high'] - areas['auc_low']) / 2).max()):.2f}.", "",
        "| metric | " + " | ".join(f"{s} {d}" for s in SIZES for d in NOISE) + " |",
        "|---|" + "---|" * (len(SIZES) * len(NOISE)),
    ]  # fmt: skip
    for name in areas["metric"].values:
        cells = [f"{float(areas['auc'].sel(metric=name, size=s, decibel=d)):.2f}" for s in SIZES for d in NOISE]
        lines.append(f"| {name} | " + " | ".join(c.removeprefix("0") if c != "1.00" else "1" for c in cells) + " |")
    head = " | ".join((*KINDS, *(f"fit: {m}" for m in MODELS)))
    lines += ["", "## Confusion, % (thresholds fixed beforehand; all sizes together)", ""]
    lines += [f"| field | dB | {head} |", "|---|---|" + "---|" * (len(KINDS) + len(MODELS))]
    for row, kind in enumerate(("DoG", "Gabor")):
        for d in NOISE:
            both = np.concatenate([classified[d][row], compared[d][row]]) * 100 / classified[d][row].sum()
            lines.append(f"| {kind} | {d} | " + " | ".join(f"{v:.1f}" for v in both) + " |")
    lines += ["", "Noise alone, 1000 fields each:", "", f"| field | {head} |", "|---|" + "---|" * 8, *noise]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--fields", type=int, default=200)
    n = options.parse_args().fields
    areas, classified, compared = table_of_areas(n)
    RESULTS.mkdir(exist_ok=True)
    text = page(areas, classified, compared, of_noise(1000), n, f"python analysis/discrimination.py --fields {n}")
    path = RESULTS / "discrimination.md"
    path.write_text(text + kept_reading(path), encoding="utf-8")
    figure, axes = figures.new_axes(4.6)
    figures.discrimination_map(areas, axes)
    (RESULTS / "discrimination.png").write_bytes(figures.png(figure))


if __name__ == "__main__":
    main()
