"""Labels that tell conditions apart: one condition is one set of settings, whatever its seeds.

A study's folder may hold runs of one label made at different times with different settings. Pooled, they would
be counted as seeds of one condition; here each set of settings gets a label that says how it differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

RULED = ("rule", "rank")


def dotted(value: object, prefix: str = "") -> dict[str, str]:
    """Return nested settings as one level of dotted keys, each value as JSON."""
    if isinstance(value, dict) and value:
        return {key: v for name, inner in value.items() for key, v in dotted(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): json.dumps(value, ensure_ascii=False)}


def parsed(text: str) -> object:
    """Return what a JSON text says, or the text itself where it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def seedless(text: str) -> dict[str, str]:
    """Return the dotted settings of a run without its seed: equal for the runs of one condition."""
    if not text:
        return {}
    return {key: value for key, value in dotted(parsed(text)).items() if key != "seed"}


def distinct_labels(
    labels: Sequence[str],
    seeds: Sequence[int],
    settings: Sequence[str],
    coordinates: Mapping[str, Sequence[object]],
) -> list[str]:
    """Return each run's condition label, extended where runs of one label differ in more than the seed.

    Parameters
    ----------
    labels : sequence of str, one a run
    seeds : sequence of int
    settings : sequence of str
        Settings as JSON, "" where a run recorded none.
    coordinates : mapping of name to one value a run
        Where the runs stand (rule, rank, network, width, ...): named first, as in "BP, bottleneck 4".

    Returns
    -------
    list of str
        "BP, wide (train.epochs 2)" where settings that are no coordinate differ; unchanged where none do.
        Without settings, runs of one label and seed are told apart by their coordinates alone.
    """
    flat = [seedless(text) for text in settings]
    split = list(labels)
    for label in dict.fromkeys(labels):
        rows = [i for i, name in enumerate(labels) if name == label]
        known = [flat[i] for i in rows]
        if all(one == known[0] for one in known) and len({seeds[i] for i in rows}) == len(rows):
            continue
        stands = {n: [_short(v[i]) for i in rows] for n, v in coordinates.items()}
        stands = {n: v for n, v in stands.items() if len(set(v)) > 1}
        keys = _differing(known, stands)
        for place, row in enumerate(rows):
            parts = [label, *(f"{name} {values[place]}" for name, values in stands.items())]
            told = [f"{key} {_plain(known[place][key])}" for key in keys if key in known[place]]
            split[row] = ", ".join(parts) + (f" ({', '.join(told)})" if told else "")
    return split


def _differing(known: list[dict[str, str]], stands: Mapping[str, list[str]]) -> list[str]:
    """Return the keys that differ between runs and that their coordinates do not already tell."""
    keys = [k for k in dict.fromkeys(k for one in known for k in one) if len({one.get(k) for one in known}) > 1]
    return [key for key in keys if not _told(key, known, stands)]


def _told(key: str, known: list[dict[str, str]], stands: Mapping[str, list[str]]) -> bool:
    """Whether a key's value follows from the coordinates that are named already."""
    leaf = key.rpartition(".")[2]
    # A rule comes with settings of its own, which its name and rank tell as long as they follow from these.
    leaf = "network" if key == "network.name" else leaf
    names = [leaf] if leaf in stands else [n for n in RULED if n in stands and key.startswith("rule")]
    if not names:
        return False
    places = list(zip(*(stands[name] for name in names), strict=True))
    return len(set(places)) == len({(place, one.get(key)) for place, one in zip(places, known, strict=True)})


def _short(value: object) -> str:
    try:
        return f"{float(value):g}" if not isinstance(value, str) else value
    except (TypeError, ValueError):
        return str(value)


def _plain(text: str) -> str:
    value = json.loads(text)
    return value if isinstance(value, str) else text
