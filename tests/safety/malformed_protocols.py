"""Protocols gone wrong: real ones with keys lost, renamed, doubled, and values that no author would write."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st
from studies import TINY

from rfmodel import protocols

NUMBERS = (
    "0", "-0", "-1", "1", "2", "3", "7", "255", "65536", "2147483647", "2147483648", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "1_0", "0x7f", "0b1", "0o17", "nan", "-nan", "inf", "-inf", "1e308",
    "1e999", "-1e999", "5e-324", "0.0", "-0.0", "0.5", "1.0", "1.5", "1e-9", "3e9", "+1", "1" * 400, "1" * 5000,
    "0x" + "f" * 6000, "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "true", "false",
)  # fmt: skip
TEXTS = (
    "", " ", ".", "..", "*", "**", "[", "[!", "a[", "?", "x" * 300, "y" * 100_000, "\x1b]0;owned\x07", "\x1b[2J",
    "\x00", "\x7f\x9b31m", "\u202eevil", "\u2028", "\ufeff", "é", "日本", "👩‍💻", "e\u0301" * 50, "\U000e0001",
    "a\nb", "a\tb",
    "{", "}", "{}", "{0}", "{0.__class__}", "{rank}", "{rank.__class__}", "{rank:>999999999}", "{seed:{seed}}",
    "{bottleneck!r:>9}", "{rank:d}", "{seed:.999999999f}", "{seed:%Y}", "{{seed}}", "{rank!z}", "%s%n", "${HOME}",
    "/etc/passwd", "../../etc/passwd", "..\\..\\x", "C:\\x", "~root", "file:///etc/passwd", "con", "a/b", "./a",
    "my_rules.py:my_rule", "../my_rules.py:my_rule", "/tmp/my_rules.py:f", "sub/../../r.py:f", "a.py", ":", "a.py:",
    "a\\b.py:f", "a.py:f.g", "x" * 300 + ".py:f", "pipe.py:f", "loop.py:f", "folder.py:f",
    "bp", "fa", "ldfa", "dldfa", "partition", "kolen_pollack", "weight_mirror", "retina_vvs", "mlp", "vit", "vgg",
    "natural_patches", "cifar10", "image_folder", "gradient", "rmsprop", "<script>alert(1)</script>", "$\\frac{",
)  # fmt: skip
KEYS = (
    "", "a", "seed", "rank", "rule", "rules", "name", "axes", "conditions", "published", "presets", "network", "data",
    "train", "fields", "options", "parts", "sites", "sha256", "code", "__class__", "model_config", "bottleneck",
    "depth", "width", "size", "classes", "path", "train.epochs", "rules.retina", 'rules."*"', "a b", "a.", ".a", "a..b",
    "x = 1",
    "x = 1\ny", "x = {} #", "x = [] #", "[x]", "é", "\x1b", "z" * 300, ".".join("k" * 40), "network.depth.x",
)  # fmt: skip


def _one(things: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Like `sampled_from`, which would write out the longest of them in its messages."""
    return st.integers(0, len(things) - 1).map(lambda place: things[place])


class Raw(str):
    """A value as it stands in the file."""


def _bases() -> Iterator[dict[str, Any]]:
    yield tomllib.loads(TINY)
    for name in protocols.names():
        raw = tomllib.loads(protocols.find(name).read_text(encoding="utf-8"))
        raw["conditions"] = raw.get("conditions", [{}])[:1]
        raw["axes"] = {key: values[:1] for key, values in raw.get("axes", {}).items()}
        yield raw


@cache
def bases() -> tuple[dict[str, Any], ...]:
    """Return the real protocols, cut to one condition, as tables; a small one first."""
    return tuple(_bases())


def _nested(kind: str, depth: int) -> Raw:
    return Raw("[" * depth + "]" * depth if kind == "array" else "{a=" * depth + "1" + "}" * depth)


values = st.one_of(
    _one(NUMBERS).map(Raw),
    _one(TEXTS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.builds(_nested, _one(["array", "table"]), _one([1, 2, 9, 40, 400, 3000])),
    st.lists(_one([*map(Raw, NUMBERS[:30]), *TEXTS[:12]]), max_size=4),
    st.dictionaries(_one(KEYS), _one([*map(Raw, NUMBERS), *TEXTS]), max_size=3),
    st.integers(3, 6).map(lambda power: Raw(f"[{','.join(map(str, range(10**power // 3)))}]")),
)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything in a tree."""
    found: list[tuple[Any, Any]] = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += _places(tree[key])
    return found


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a real protocol's tables with one to three things wrong."""
    tree = copy.deepcopy(draw(_one(bases()[:1] * 40 + bases())))
    for _ in range(draw(st.integers(1, 3))):
        _spoilt(draw, tree)
    return tree


def _spoilt(draw: st.DrawFn, tree: dict[str, Any]) -> None:
    container, key = draw(_one(_places(tree) or [(tree, "title")]))
    what = draw(_one(["delete", "rename", "value", "value", "value", "wrap", "add", "add", "axis", "rule", "label"]))
    inside = [t for t, k in _places(tree) if isinstance(t, dict)] or [tree]
    if what == "delete":
        del container[key]
    elif what == "rename" and isinstance(container, dict):
        container[draw(_one(KEYS))] = container.pop(key)
    elif what == "value":
        container[key] = draw(values)
    elif what == "wrap":
        container[key] = draw(_one([[container[key]], {"a": container[key]}, [container[key]] * 3]))
    elif what == "add":
        draw(_one(inside))[draw(_one(KEYS))] = draw(values)
    elif what == "axis":
        axes = tree["axes"] if isinstance(tree.get("axes"), dict) else tree.setdefault("axes", {})
        if isinstance(axes, dict):
            length = draw(_one([1, 2, 1001, 40_000]))
            for name in draw(st.sets(_one(KEYS), max_size=3)):
                axes[name] = Raw(f"[{','.join(map(str, range(length)))}]")
    elif what == "rule":
        tree["rules"] = {draw(_one([*TEXTS, "retina", "vvs.*"])): draw(rules)}
    else:
        conditions = tree.get("conditions")
        tree["conditions"] = [
            {
                **(
                    conditions[0]
                    if isinstance(conditions, list) and conditions and isinstance(conditions[0], dict)
                    else {}
                ),
                "name": draw(_one(TEXTS)),
            }
        ]


rules = st.recursive(
    _one([*TEXTS, *map(Raw, NUMBERS)])
    | st.fixed_dictionaries(
        {"name": _one(TEXTS)}, optional={"rank": values, "sites": values, "q": values, "sha256": values}
    ),
    lambda inner: st.fixed_dictionaries(
        {"name": _one(["partition", "ldfa"]), "parts": st.dictionaries(_one(TEXTS), inner, max_size=3)}
    ),
    max_leaves=4,
)


def written(value: Any) -> str:
    """Return a value as TOML, tables inline."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, bool) or not isinstance(value, str | dict | list):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return "{" + ", ".join(f"{written(str(key))} = {written(inner)}" for key, inner in value.items()) + "}"


def file_of(tree: dict[str, Any]) -> str:
    """Return a protocol's text, a line a top-level key."""
    return "".join(f"{written(str(key))} = {written(value)}\n" for key, value in tree.items())


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a protocol file: spoilt tables, and now and then spoilt text or no text at all."""
    how = draw(_one(["tables"] * 12 + ["text", "text", "bytes", "bombs"]))
    if how == "bytes":
        return draw(st.binary(max_size=300))
    if how == "bombs":
        return draw(_one(BOMBS))
    content = file_of(draw(trees())).encode()
    if how == "tables":
        return content
    at = draw(st.integers(0, len(content)))
    extra = draw(
        _one(
            [
                b"",
                b"\x00",
                b"\xff",
                b"\xed\xa0\x80",
                b"\xef\xbb\xbf",
                b"\r",
                b"[",
                b'"',
                b"'''",
                b"\n[train]\n",
                b'"\\uD800"',
            ]
        )
    )
    return draw(_one([content[:at], content[:at] + extra + content[at:], content + content[:at], content[at:]]))


BOMBS = (
    b"a." * 200_000 + b"a = 1",
    b'"a".' * 200_000 + b"a = 1",
    b"[" + b"a." * 100_000 + b"a]",
    b"title = " + b"[" * 100_000,
    b"x = {" + b"a = {" * 50_000,
    b"title = \"" + b"x" * 2**20 + b"\"",
    b"[[conditions]]\n" * 60_000,
    b"[axes]\nseed = [0, 1]\n" + b"[[conditions]]\nname = \"c\"\n" * 20_000,
    b"[axes]\n" + b"".join(b'"train.x%d" = [%s]\n' % (i, b",".join([b"1"] * 100)) for i in range(5)),
    b"[fields]\nlayers = [" + b"\"retina.conv2\"," * 20_000 + b"]",
    b"[network]\nname = \"mlp\"\ndepth = 2000000000\n",
    b"[network]\ndepth = 2000000000\n",
    b"[network]\nname = \"vit\"\ndepth = 2000000000\n",
    b"[network]\nname = \"mlp\"\nwidth = [" + b"8," * 9000 + b"]",
)  # fmt: skip
