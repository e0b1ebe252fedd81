"""Files that are whole and say absurd things: real ones with values that no run gives, and checksums that fit."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from hypothesis import assume
from hypothesis import strategies as st
from safety import malformed_protocols

from rfmodel import checkpoint_files, store
from rfmodel.errors import InputError
from rfmodel.store import consolidated, manifest, results

WORDS = (
    "", " ", "x" * 5000, "\x1b]0;owned\x07", "\x00", "../../x", "/etc/passwd", "a\nb", "NaN", "{}", "[]", "null",
    "日本",
    "\u202e", "done", "diverged", "bp", "ldfa", "0" * 64, "[" * 3000, '{"a": ' * 3000, "9" * 5000, "epoch 1e999",
    "head.logits->retina.conv2", "retina.conv2/0", "<script>", "=1+1", "1e-3", "untrained", "trained", "2024-01-01",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 1000, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, float("inf"),
    float("-inf"), float("nan"), True, False,
)  # fmt: skip
PLAIN = (*WORDS, *NUMBERS, None, [], {}, [[]], [1, 2], {"a": 1}, {"": {}}, [None] * 3, 2**64, 10**30, -(10**30))


def one(things: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Like `sampled_from`, which would write out the longest of them in its messages."""
    return st.integers(0, len(things) - 1).map(lambda place: things[place])


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += _places(tree[key])
    return found


def absurd(draw: st.DrawFn, tree: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """Return a tree of dicts and lists with one to three values lost, renamed, doubled or of another kind."""
    root = {"": copy.deepcopy(tree)}
    for _ in range(draw(st.integers(1, 3))):
        places = _places(root)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.integers(0, 6))
        if how == 0 and container is not root:
            del container[key]
        elif how == 1 and container is not root and isinstance(container, dict):
            container[draw(one([*WORDS, 0, -1, 10**30]))] = container.pop(key)
        elif how == 2 and isinstance(container[key], dict | list) and container[key]:
            container[key] = type(container[key])()
        elif how == 3:
            container[key] = draw(one([[container[key]], {"a": container[key]}, [container[key]] * 3]))
        elif other is not None and isinstance(container[key], torch.Tensor):
            container[key] = other(container[key])
        else:
            container[key] = draw(one(PLAIN))
    return root[""]


def _tensor(draw: st.DrawFn, held: torch.Tensor) -> Any:
    """Return another tensor than the one that is held."""
    return draw(
        one(
            [
                held.new_zeros(()), held.new_zeros(0), held.new_zeros(3, 3), torch.zeros_like(held),
                held.to(torch.int8),
                held.double(), held.reshape(-1)[:1].clone(),
                torch.full_like(held, -1 if held.is_signed() else 255),
                held.float() * float("nan"), held.float() + 1e30, held.flatten(), held.unsqueeze(0),
            ]
        )
    )  # fmt: skip


def run_file(draw: st.DrawFn, path: Path) -> None:
    """Have a run's file say something absurd, sealed and with a checksum that fits."""
    dataset = store.load_run(path)
    for _ in range(draw(st.integers(1, 2))):
        how = draw(st.integers(0, 5))
        dataset = _absurd_attribute(draw, dataset) if how < 3 else _absurd_variable(draw, dataset)
    try:
        store.save(dataset, path)
    except Exception:  # what no file can say
        assume(False)


def _absurd_attribute(draw: st.DrawFn, dataset: xr.Dataset) -> xr.Dataset:
    key = draw(one(sorted(dataset.attrs)))
    held = dataset.attrs[key]
    if isinstance(held, str) and held.startswith("{") and draw(st.booleans()):
        return dataset.assign_attrs({key: json.dumps(absurd(draw, json.loads(held)))})
    if draw(st.integers(0, 7)) == 0:
        found = dataset.copy()
        del found.attrs[key]
        return found
    strange = [
        *WORDS,
        *NUMBERS,
        np.array([1, 2]),
        np.array([0.5, np.nan]),
        ["a", "b"],
        np.int8(3),
        np.uint64(2**64 - 1),
    ]
    return dataset.assign_attrs({key: draw(one(strange))})


def _absurd_variable(draw: st.DrawFn, dataset: xr.Dataset) -> xr.Dataset:
    name = draw(one(sorted(map(str, dataset.variables))))
    held = dataset[name]
    how = draw(st.integers(0, 7))
    if how == 0:
        return dataset.drop_vars(name)
    if how == 1 and dataset.sizes:
        dim = draw(one(sorted(map(str, dataset.sizes))))
        return dataset.isel({dim: draw(one([slice(0), slice(1), [0] * 3, slice(None, None, -1)]))})
    if how == 2:
        free = {"run", "unit", "p0", "condition", "x" * 300, "a b", "seed", "é"} - {*dataset.variables, *dataset.dims}
        return dataset.rename({name: draw(one(sorted(free)))})
    if how == 3:
        words = np.full(held.shape, draw(one(["", "dead", "absent", "x/0", "a/b/3", "untrained", "\x1b[2J"])))
        return _with(dataset, name, words)
    if how == 4 and held.ndim:
        return _with(dataset, name, held.values[..., :1], dims=(*held.dims[:-1], "other"))
    if held.dtype.kind not in "iufb":
        return _with(dataset, name, np.zeros(held.shape))
    number = draw(one(NUMBERS))
    return _with(dataset, name, np.full(held.shape, number, np.asarray(number).dtype))


def _with(dataset: xr.Dataset, name: str, values: np.ndarray, dims: tuple = ()) -> xr.Dataset:
    variable = (dims or dataset[name].dims, values)
    found = dataset.drop_vars(name)
    return found.assign_coords({name: variable}) if name in dataset.coords else found.assign({name: variable})


def checkpoint(draw: st.DrawFn, path: Path) -> None:
    """Have a checkpoint say something absurd, with a checksum that fits."""
    found = checkpoint_files.read(path)
    if draw(st.integers(0, 5)):
        found["state"] = absurd(draw, found["state"], lambda held: _tensor(draw, held))
    else:
        found[draw(one(["schema", "identity", "fingerprint", "versions", "state"]))] = draw(one(PLAIN))
    _seal(found)
    checkpoint_files.write(found, path)


def _seal(found: dict) -> None:
    try:
        found["sha256"] = checkpoint_files.digest({key: found[key] for key in checkpoint_files.KEYS[:-1]})
    except (InputError, OverflowError, ValueError):
        found["sha256"] = "0" * 64


def weights(draw: st.DrawFn, path: Path) -> None:
    """Have a file of weights hold something absurd, and the run's file say that this is it."""
    state = dict(torch.load(path, weights_only=True))
    buffer = io.BytesIO()
    torch.save(absurd(draw, state, lambda held: _tensor(draw, held)), buffer)
    path.write_bytes(buffer.getvalue())
    run = path.with_suffix(".nc")
    store.save(store.load_run(run).assign_attrs(weights_sha256=store.digest(path)), run)


def text(draw: st.DrawFn, path: Path) -> None:
    """Have a JSON file say something absurd."""
    path.write_text(json.dumps(absurd(draw, json.loads(path.read_bytes()))), encoding="utf-8")


def own_manifest(draw: st.DrawFn, path: Path) -> None:
    """Have a manifest say something absurd, with a checksum that fits and the stamps of the files that are there."""
    found = manifest.entries(path.parent)
    rows = absurd(draw, [vars(entry) for entry in found.values()])
    told = {"schema": manifest.SCHEMA, "checksum": manifest._checksum(rows), "runs": rows}
    path.write_text(json.dumps(told), encoding="utf-8")


def own_consolidated(draw: st.DrawFn, path: Path) -> None:
    """Have a consolidated file say something absurd, with a checksum that fits and the stamps of the files there."""
    found = consolidated.read_stacks(path.parent, results.run_files(path.parent))
    (stack,) = found.stacks
    how = draw(st.integers(0, 3))
    parts = stack.variables if how % 2 else stack.coordinates
    name = draw(one(sorted(parts)))
    dims, values, own = parts[name]
    if how < 2:
        strange = [values[:0], values[..., None], values.ravel(), np.full(values.shape, "x"), np.zeros(values.shape)]
        parts[name] = dims, draw(one(strange)), own
    else:
        stack.attrs[:] = [
            {key: draw(one([*WORDS, *map(np.float64, NUMBERS[:6])])) if draw(st.integers(0, 9)) == 0 else held
             for key, held in attrs.items()}
            for attrs in stack.attrs
        ]  # fmt: skip
    consolidated.write_stacks(path.parent, found)


def protocol(draw: st.DrawFn, path: Path) -> None:
    """Have a study's protocol be a malformed one."""
    path.write_bytes(draw(malformed_protocols.contents()))


CRAFTED: dict[str, Callable[[st.DrawFn, Path], None]] = {
    ".nc": run_file,
    ".checkpoint": checkpoint,
    ".checkpoint.previous": checkpoint,
    ".pt": weights,
    ".failed.json": text,
    ".claim1": text,
    "manifest.json": own_manifest,
    "consolidated.npz": own_consolidated,
    "protocol.toml": protocol,
    ".json": text,
}


def craft(draw: st.DrawFn, path: Path) -> None:
    """Have a file of a study say something absurd, as its kind can."""
    next(make for end, make in CRAFTED.items() if path.name.endswith(end))(draw, path)
