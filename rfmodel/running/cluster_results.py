"""Results that came over the wire: checked before they are given the names of results, weights first."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.runs import Run
from rfmodel.store.results import load_run
from rfmodel.store.writing import unwritable


def keep_results(run: Run, folder: Path, reply: Mapping[str, Any]) -> None:
    """Write the files that a worker sent, or the record of what the run raised there.

    Raises
    ------
    InputError
        If the files are not those of the run.
    Unwritable
        If the folder cannot be written.
    """
    if "failure" in reply:
        return store.record_failure(folder, _failure(run, reply["failure"]))
    weights, results = reply.get("weights"), reply.get("results")
    if not isinstance(results, bytes) or not isinstance(weights, bytes | None):
        raise InputError(f"the results of '{run.name}' did not come over the wire; run it again")
    _check(run, results, weights)
    if weights is not None:
        store.write_aside(store.weights_path(folder, run.name), lambda aside: aside.write_bytes(weights))
    store.write_aside(store.run_path(folder, run.name), lambda aside: aside.write_bytes(results))


def _failure(run: Run, sent: Mapping[str, Any]) -> store.Failure:
    try:
        told = {what: str(sent[what]) for what in ("error", "when", "where", "traceback")}
        own = {"name": run.name, "condition": run.condition, "seed": run.settings.seed}
        return store.Failure(**own, **told, attempts=int(sent["attempts"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"why '{run.name}' failed did not come over the wire; run it again") from None


def _check(run: Run, results: bytes, weights: bytes | None) -> None:
    with tempfile.TemporaryDirectory(prefix="rfmodel-") as own:
        path = Path(own) / store.run_path(Path(), run.name).name  # a run file bears its run's name
        try:
            path.write_bytes(results)
        except OSError as error:
            raise unwritable(path, error) from None
        attrs = load_run(path).attrs
    if (attrs["name"], attrs["identity"]) != (run.name, run.identity):
        raise InputError(f"the results of '{run.name}' came over the wire as those of '{attrs['name']}'; run it again")
    if attrs.get("weights_sha256") != (None if weights is None else store.digest(weights)):
        raise InputError(f"the weights of '{run.name}' are not those of its results; run it again")


def record(run: Run, folder: Path, reason: str, attempt: int) -> None:
    """Record that a run failed for a reason that it could not write itself."""
    store.record_failure(
        folder,
        store.Failure(
            name=run.name,
            condition=run.condition,
            seed=run.settings.seed,
            error=reason,
            attempts=attempt,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            where=f"{platform.node()}, for a cluster",
        ),
    )
