"""User rules: rules that a user's own file makes, executed only by the user's leave and refused in one line.

Each file is executed once, from the bytes that were hashed, with a registry of its own: two files may use one name, and
one file may serve any number of runs. It stands alone, since a run's identity covers this one file: it may
import installed packages, and nothing that lies beside it.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch

from rfmodel.errors import InputError, nearest
from rfmodel.routing import RULES, Edge, Feedback, Plan, Rule, Trace, make_rule
from rfmodel.routing.rules import call_factory
from rfmodel.rule_files import RuleFile, files_of, names_file
from rfmodel.settings import RuleSettings

Factory = Callable[..., Rule]

_LOADED: dict[tuple[Path, str], dict[str, Factory]] = {}


def make_any(rule: RuleSettings) -> Rule:
    """Return the rule that settings ask for: one that is registered, or one of a user's file.

    Raises
    ------
    InputError
        As `make_rule`; and for a file that may not be executed, that fails, that has no such function, or whose
        function makes no rule. The message names the file, the line and the error.
    """
    if rule.code is None:
        if names_file(rule.name):
            raise InputError(
                f"rule '{rule.name}' names a file, and these settings came without it; use load_protocol, or import "
                "the file and hand its Rule to Routed"
            )
        return make_rule(rule.name, **rule.options)
    if not rule.code.allowed:
        raise InputError(
            f"'{rule.code.file}' is code that this would execute; read it, then give --allow-code "
            "(from Python: allow_code=True)"
        )
    factory = _factory(rule.code)
    with _refusing(rule.code, f"while {rule.code.function} makes the rule", _first_line(factory)):
        made = call_factory(rule.name, factory, rule.options)
    if not isinstance(made, Rule):
        raise InputError(
            f"'{rule.code.file}', line {_first_line(factory)}: {rule.code.function} returns a {type(made).__name__}; "
            "let it return a rfmodel.routing.Rule"
        )
    return _guarded(made, rule.code, _first_line(factory))


def _factory(code: RuleFile) -> Factory:
    key = (code.path, code.digest)
    if key not in _LOADED:
        _LOADED[key] = _load(code)
    found = _LOADED[key]
    if code.function not in found:
        known = ", ".join(found) or "no function at all"
        raise InputError(
            f"'{code.file}' has no function '{code.function}': it has {known}{nearest(code.function, found)}"
        )
    return found[code.function]


def _load(code: RuleFile) -> dict[str, Factory]:
    """Execute a file, and return its functions by name and by the name under which it registers them."""
    module = ModuleType(f"{code.path.stem.replace('.', '_')}_{code.digest}")
    module.__file__, module.__package__ = str(code.path), ""
    with _refusing(code, "while it is loaded", 1), _own_registry(module.__name__) as registered:
        _refuse_neighbours(code)
        sys.modules[module.__name__] = module  # dataclasses look their module up
        try:
            exec(compile(code.content, str(code.path), "exec", dont_inherit=True), vars(module))
        except BaseException:
            del sys.modules[module.__name__]
            raise
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    return registered | functions


@contextmanager
def _own_registry(module: str) -> Iterator[dict[str, Factory]]:
    """Within this context only rfmodel's own rules are registered; what `module` adds is handed over at its end."""
    before, registered = dict(RULES), {}
    for name, factory in before.items():
        if factory.__module__.partition(".")[0] != "rfmodel":
            del RULES[name]
    try:
        yield registered
    finally:
        # What a package registers when it is first imported, here, stays for those who import it later.
        added = {name: factory for name, factory in RULES.items() if name not in before}
        registered |= {name: factory for name, factory in RULES.items() if factory.__module__ == module}
        RULES.clear()
        RULES.update(before | {name: factory for name, factory in added.items() if name not in registered})


def _refuse_neighbours(code: RuleFile) -> None:
    """Refuse an import of what lies beside the file, whose content the run's identity would not cover."""
    for node in ast.walk(ast.parse(code.content, str(code.path))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        for name in {name.partition(".")[0] for name in names} - {"rfmodel"}:
            if _lies_in({code.folder, code.path.parent}, name):
                raise InputError(
                    f"'{code.file}', line {node.lineno}: '{name}' lies beside it, and a run's identity is that of this "
                    f"file alone; put the code into '{code.file}', or install it as a package"
                )


def _lies_in(folders: set[Path], name: str) -> bool:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location else ())]
    beside = {folder / part for folder in folders for part in (name, f"{name}.py", f"{name}/__init__.py")}
    return any(Path(place).resolve() in beside for place in places)


def _guarded(rule: Rule, code: RuleFile, line: int) -> Rule:
    """Return the rule with its failures told in one line, and its draws from the global state fixed by the seed."""

    def routing(record: Trace, sites: list[str]) -> list[Edge]:
        with _refusing(code, "while its routing lays edges", line):
            edges = list(rule.routing(record, sites))
        for edge in edges:
            if not isinstance(edge, Edge):
                raise InputError(f"'{code.file}', line {line}: the routing of '{rule.name}' gives {edge!r}, no Edge")
        return edges

    def feedback(plan: Plan) -> Feedback:
        with _refusing(code, f"while it makes the map of '{plan.edge}'", line), torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.generator.initial_seed())
            made = rule.feedback(plan)
        _refuse_incomplete(made, f"'{code.file}', line {line}: the map of '{plan.edge}'")
        return made

    parts = {pattern: _guarded(part, code, line) for pattern, part in rule.parts.items()}
    return replace(rule, routing=routing, feedback=feedback, parts=parts)


def _refuse_incomplete(made: object, what: str) -> None:
    if not isinstance(made, Feedback):
        raise InputError(f"{what} is a {type(made).__name__}; make it a rfmodel.routing.Feedback")
    for method in ("carry", "effective"):
        if getattr(type(made), method) is getattr(Feedback, method):
            raise InputError(f"{what} is a {type(made).__name__}, which has no {method}(); write one")


@contextmanager
def _refusing(code: RuleFile, doing: str, line: int) -> Iterator[None]:
    """Turn what a user's file raises, SystemExit included, into one line that names file, line and error."""
    try:
        yield
    except (Exception, SystemExit) as error:
        at = _line(error, str(code.path))
        if isinstance(error, InputError):  # rfmodel's own say what would do
            raise InputError(f"'{code.file}', line {at}: {error}" if at else str(error)) from None
        reason = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:200]
        raise InputError(
            f"'{code.file}', line {at or line}: {type(error).__name__}{f' ({reason})' if reason else ''} {doing}; "
            f"{_remedy(error)}"
        ) from None


@contextmanager
def blaming(rules: Mapping[str, RuleSettings]) -> Iterator[None]:
    """Turn what a user's file raises while a network is trained by it into one line that names it."""
    try:
        yield
    except Exception as error:
        for code in files_of(rules).values():
            if at := _line(error, str(code.path)):
                with _refusing(code, "while a network is trained by it", at):
                    raise
        raise


def _line(error: BaseException, path: str) -> int | None:
    """Return the last line of the user's file that the error passed; None where it passed none."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    return lines[-1] if lines else None


def _remedy(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return "install what it imports, or put that code into the file"
    if isinstance(error, SystemExit):
        return "take the exit out: the file is loaded, and not run as a program"
    return "mend it there"


def _first_line(factory: Factory) -> int:
    plain = inspect.unwrap(factory)
    return plain.__code__.co_firstlineno if inspect.isfunction(plain) else 1
