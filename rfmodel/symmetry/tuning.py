"""Responses of fields to gratings: tuning curves, OSI, gOSI, preferred orientation and frequency."""

from __future__ import annotations

import numpy as np

from rfmodel.symmetry.polar import PolarGrid, polar_spectrum


def tuning_curve(amplitude: np.ndarray, grid: PolarGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return each field's orientation tuning at the frequency of its strongest response, and that frequency.

        R(t) = |F(f*, t)|,   f* = argmax_f max_t |F(f, t)|,  f > 0

    A linear unit answers the grating of frequency f and orientation t, at its best phase, with |F(f, t)|.

    Parameters
    ----------
    amplitude : ndarray (n, n_k, n_t), |F|.
    grid : the grid of the spectrum.

    Returns
    -------
    curve : ndarray (n, n_t).
    frequency : ndarray (n,), cycles per pixel.
    """
    peak = 1 + amplitude[:, 1:].max(2).argmax(1)
    return amplitude[np.arange(len(peak)), peak], grid.frequency[peak]


def tuning_at(fields: np.ndarray, grid: PolarGrid, frequency: float) -> np.ndarray:
    """Return the tuning |F(f, t)| (n, n_t) of fields (n, height, width) at one frequency, in cycles per pixel."""
    return np.abs(polar_spectrum(fields, np.array([frequency]), grid.angle)[:, 0])


def grating_response(fields: np.ndarray, frequency: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Return each field's response |F(f, t)| to a grating of its own.

    Parameters
    ----------
    fields : ndarray (n, height, width).
    frequency : ndarray (n,), cycles per pixel.
    orientation : ndarray (n,), degrees, counter-clockwise as displayed.

    Returns
    -------
    ndarray (n,).
    """
    k, t = 2 * np.pi * np.asarray(frequency), np.deg2rad(orientation)
    height, width = fields.shape[1:]
    across = np.exp(-1j * np.outer(k * np.cos(t), np.arange(width)))
    down = np.exp(1j * np.outer(k * np.sin(t), np.arange(height)))
    return np.abs(np.einsum("nyx,nx,ny->n", fields, across, down, optimize=["einsum_path", (0, 1), (0, 1)]))


def osi(fields: np.ndarray, frequency: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Return the orientation selectivity index, (R_pref - R_orth) / (R_pref + R_orth).

    Odd Gabors score 1 at any bandwidth, since they do not answer the orthogonal grating at all: compare with a null.
    The orthogonal response has a cusp there, so it is computed at the very angle rather than read off a tuning curve.

    Parameters
    ----------
    fields : ndarray (n, height, width).
    frequency : ndarray (n,), cycles per pixel.
    orientation : ndarray (n,), preferred orientation in degrees.

    Returns
    -------
    ndarray (n,); below 0 where the orthogonal grating drives the field more.
    """
    preferred = grating_response(fields, frequency, orientation)
    orthogonal = grating_response(fields, frequency, orientation + 90)
    return (preferred - orthogonal) / (preferred + orthogonal)


def gosi(curve: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the global selectivity index |sum R exp(2 i t)| / sum R, which is 1 - circular variance.

    Parameters
    ----------
    curve : ndarray (n, n_t), responses over 180 degrees.
    angle : ndarray (n_t,), degrees.

    Returns
    -------
    ndarray (n,).
    """
    return np.abs(curve @ np.exp(2j * np.deg2rad(angle))) / curve.sum(1)


def mean_tuning(amplitude: np.ndarray) -> np.ndarray:
    """Return the tuning curve (n, n_t) averaged over frequencies, 0 < f <= 1/2, of |F| (n, n_k, n_t)."""
    return amplitude[:, 1:].mean(1)


def preferred_orientation(curve: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the carrier direction of the strongest response, degrees [0, 180), by a parabola through three points."""
    n_t = curve.shape[1]
    rows, best = np.arange(len(curve)), curve.argmax(1)
    before, at, after = curve[rows, best - 1], curve[rows, best], curve[rows, (best + 1) % n_t]
    bend = before - 2 * at + after
    offset = np.divide(0.5 * (before - after), bend, out=np.zeros_like(at), where=bend < 0)
    return (angle[best] + offset * (angle[1] - angle[0])) % 180.0
