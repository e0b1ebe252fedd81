"""Tables of a page and the cells of their estimates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def table(head: Sequence[str], body: Iterable[str], kind: str = "") -> str:
    """Return a table of rows that are HTML already."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        '<div class="wide"><table'
        f' class="{kind}"><thead><tr>{cells}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def interval(values: Sequence[float], unit: float = 1.0, digits: int = 2, expected: bool = True) -> str:
    """Return the cell of an estimate with its 95 % interval below it; a dash where there is no estimate.

    Parameters
    ----------
    values : (estimate, low, high)
    unit : float
        What the numbers are divided by: .01 for a fraction in %.
    digits : int
        After the point.
    expected : bool
        Whether a missing interval is worth saying.
    """
    estimate, low, high = (value / unit for value in values)
    if not np.isfinite(estimate):
        return '<td class="n">–</td>'
    if not np.isfinite([low, high]).all():
        return f'<td class="n">{estimate:.{digits}f}{"<small>no interval</small>" if expected else ""}</td>'
    to = " to " if low < 0 else "–"  # a dash before a negative number reads as its sign
    return f'<td class="n">{estimate:.{digits}f}<small>{low:.{digits}f}{to}{high:.{digits}f}</small></td>'
