"""Reading an account: of an epoch, beside backpropagation, and as the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

from rfmodel.costs.accounting import PARTS, Account
from rfmodel.costs.asked import positive
from rfmodel.costs.memory import KINDS, MemoryAccount
from rfmodel.errors import InputError


def per_epoch(account: Account, images: int, batch: int) -> float:
    r"""Return the FLOPs of training for an epoch, the smaller last batch included.

    .. math:: \lfloor N / B \rfloor\, F(B) + F(N \bmod B)

    The account of the last batch is made anew, so that what does not grow with the batch is counted by the step.
    Evaluation is not counted.

    Parameters
    ----------
    account : Account
    images : int
        N, of the training set.
    batch : int
        B.

    Raises
    ------
    InputError
        If one of them is below 1.
    """
    positive("images", images)
    positive("batch", batch)
    whole, left = divmod(images, batch)
    flops = whole * account.at(batch).total() if whole else 0
    return float(flops + (account.at(left).total() if left else 0))


def relative_to_bp(account: Account, parts: Sequence[str] = PARTS) -> float:
    """Return the FLOPs of a step over those of backpropagation in the same network, of some parts or of all.

    Raises
    ------
    InputError
        If a part is unknown, or backpropagation spends nothing on them.
    """
    theirs = account.backpropagation().total(parts)
    if not theirs:
        raise InputError(f"backpropagation spends nothing on {', '.join(parts)}; compare parts that it has")
    return float(account.total(parts) / theirs)


def rows(account: Account) -> list[dict[str, object]]:
    """Return a row a layer and one of totals.

    Returns
    -------
    list of dict
        "layer"; MFLOPs a step of each part and in "total"; "share" of the whole; "of BP", the row's total over that
        of the same row under backpropagation (NaN where that does nothing there).
    """
    table, bp = account.table, account.backpropagation().table.sum("part").to_series()
    whole, found = float(table.sum()), []
    for layer in [*account.layers, "total"]:
        own = table.sum("layer") if layer == "total" else table.sel(layer=layer)
        total, theirs = float(own.sum()), float(bp.sum() if layer == "total" else bp.get(layer, 0.0))
        mega = {part: float(own.sel(part=part)) / 1e6 for part in PARTS}
        ratio = {"share": total / whole if whole else 0.0, "of BP": total / theirs if theirs else float("nan")}
        found.append({"layer": layer, **mega, "total": total / 1e6, **ratio})
    return found


def memory_rows(account: MemoryAccount) -> list[dict[str, object]]:
    """Return a row a layer and one of totals.

    Returns
    -------
    list of dict
        "layer"; MB in training of each kind and in "total"; "of BP", the row's total over that of the same row of the
        plain network under backpropagation (NaN where that holds nothing); MB in "inference", and "of BP's". "total" of
        the row of totals is what is held at once, see `MemoryAccount.at_once`: less than its kinds together where units
        are freed as they end.
    """
    bp, found = account.backpropagation(), []
    sides = [(side.table, side.inference_table.sum("kind").to_series()) for side in (account, bp)]
    (table, used), (theirs, their_used) = sides
    for layer in [*account.layers, "total"]:
        is_total = layer == "total"
        own = table.sum("layer") if is_total else table.sel(layer=layer)
        other = bp.total() if is_total else theirs.sum("kind").to_series().get(layer, 0)
        answers = (
            (account.total_inference(), bp.total_inference()) if is_total else (used[layer], their_used.get(layer, 0))
        )
        mega = {kind: float(own.sel(kind=kind)) / 1e6 for kind in KINDS}
        held = account.at_once if is_total else float(own.sum())
        ratios = {"of BP": _ratio(held, other), "inference": answers[0] / 1e6, "of BP's": _ratio(*answers)}
        found.append({"layer": layer, **mega, "total": held / 1e6, **ratios})
    return found


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else float("nan")
