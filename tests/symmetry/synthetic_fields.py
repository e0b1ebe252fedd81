"""Synthetic fields on which the thresholds of the kinds were fixed: shapes, noise of a given energy."""

import numpy as np

from rfmodel.symmetry.shapes import difference_of_gaussians, gabor, gaussian

SHAPE = (32, 32)


def families(n: int, seed: int = 5) -> dict[str, np.ndarray]:
    """Return n fields of each family, at random places within 3 pixels, sizes and orientations."""
    rng = np.random.default_rng(seed)
    place = lambda: tuple(16 + rng.uniform(-3, 3, size=2))  # noqa: E731
    drawn = {}
    for aspect in (1, 1.25, 1.5, 2, 3):
        drawn[f"DoG, aspect {aspect}"] = [
            difference_of_gaussians(
                SHAPE, place(), sigma=rng.uniform(1.3, 2.2), aspect=aspect, orientation=rng.uniform(0, 180)
            )
            for _ in range(n)
        ]
    drawn["DoG, half balanced"] = [
        difference_of_gaussians(SHAPE, place(), sigma=rng.uniform(1.3, 2.2), balance=0.5) for _ in range(n)
    ]
    drawn["Gaussian"] = [gaussian(SHAPE, place(), sigma=rng.uniform(1.5, 3)) for _ in range(n)]
    for nx in (0.2, 0.3, 0.5, 0.8):
        for phase in (0, 45, 90):
            drawn[f"Gabor, nx {nx}, {phase} deg"] = [
                gabor(SHAPE, place(), sigma=s, frequency=nx / s, phase=phase, orientation=rng.uniform(0, 180))
                for s in rng.uniform(2, 3.5, size=n)
            ]
    return {name: np.stack(fields) for name, fields in drawn.items()}


def noisy(fields: np.ndarray, decibel: float | None, seed: int = 6) -> np.ndarray:
    """Return fields in white noise whose energy over the canvas is `decibel` below each field's; None adds none."""
    if decibel is None:
        return fields
    energy = (fields**2).sum((1, 2), keepdims=True)
    variance = energy * 10 ** (-decibel / 10) / fields[0].size
    return fields + np.sqrt(variance) * np.random.default_rng(seed).normal(size=fields.shape)
