"""What a truncated singular value decomposition costs: formulas, for no counter sees inside it."""

from __future__ import annotations

from fractions import Fraction


def exact_svd(m: int, n: int) -> int:
    r"""Return the FLOPs of singular values and both thin sets of vectors of an m x n matrix.

    .. math:: \min(14 a b^2 + 8 b^3,\; 6 a b^2 + 20 b^3), \quad a = \max(m, n),\; b = \min(m, n)

    The first is Golub and Reinsch's algorithm, the second Chan's, which factors QR first. Both iterate, so this is an
    estimate to leading order.

    Notes
    -----
    Golub & Van Loan (1996), Matrix Computations, third edition, section 5.4: the table of flop counts of the SVD.
    """
    a, b = max(m, n), min(m, n)
    return min(14 * a * b**2 + 8 * b**3, 6 * a * b**2 + 20 * b**3)


def thin_qr(a: int, b: int) -> Fraction:
    r"""Return the FLOPs of Householder's QR of an a x b matrix, a >= b, with its thin Q formed.

    .. math:: 4 a b^2 - \tfrac43 b^3

    half of it for R and the reflections, half for Q from them.

    Notes
    -----
    Golub & Van Loan (1996), sections 5.1 and 5.2.
    """
    return Fraction(4 * a * b**2) - Fraction(4 * b**3, 3)


def randomised_svd(m: int, n: int, rank: int, iterations: int) -> Fraction:
    r"""Return the FLOPs of `torch.svd_lowrank(W, q=rank, niter=iterations)` of an m x n matrix.

    .. math:: (2 + 2i) \cdot 2abr + 2ar^2 + (1 + i)\,qr(a, r) + i\,qr(b, r) + svd(r, b)

    with a the greater side and b the smaller: a random sketch of the range, i power iterations each of two products
    and two QRs, the projection of W, its decomposition, and the left vectors.

    Parameters
    ----------
    m, n, rank : int
    iterations : int
        Power iterations, niter.

    Notes
    -----
    Halko, Martinsson & Tropp (2011), algorithms 4.4 and 5.1, as PyTorch has them.
    """
    a, b = max(m, n), min(m, n)
    products = (2 + 2 * iterations) * 2 * a * b * rank + 2 * a * rank**2
    bases = (1 + iterations) * thin_qr(a, rank) + iterations * thin_qr(b, rank)
    return products + bases + exact_svd(rank, b)


def truncation(m: int, n: int, rank: int, iterations: int) -> Fraction:
    """Return the FLOPs of `plasticity.truncated`: the exact decomposition where `iterations` is 0."""
    return randomised_svd(m, n, rank, iterations) if iterations else Fraction(exact_svd(m, n))
