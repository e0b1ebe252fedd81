"""Who imports whom: data flows one way, models and routing stay apart, only figures draws."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rfmodel"
FORBIDDEN = {
    "models": {
        "diagnostics",
        "routing",
        "training",
        "datasets",
        "fields",
        "symmetry",
        "figures",
        "store",
        "study",
        "protocols",
    },
    "routing": {
        "diagnostics",
        "models",
        "training",
        "datasets",
        "fields",
        "symmetry",
        "figures",
        "store",
        "study",
        "protocols",
    },
    "factors": {
        "models",
        "routing",
        "training",
        "datasets",
        "fields",
        "symmetry",
        "figures",
        "store",
        "study",
        "costs",
    },
    "datasets": {"models", "routing", "training", "fields", "symmetry", "figures", "store", "study"},
    "fields": {"models", "routing", "training", "datasets", "symmetry", "figures", "store", "study"},
    "symmetry": {"models", "routing", "training", "datasets", "fields", "fits", "figures", "store", "study"},
    "fits": {"models", "routing", "training", "datasets", "fields", "figures", "store", "study", "references"},
    "references": {"models", "routing", "training", "datasets", "fields", "fits", "figures", "store", "study"},
    "representation": {"models", "routing", "training", "datasets", "symmetry", "fits", "figures", "store", "study"},
    "comparing": {"models", "routing", "training", "datasets", "fields", "fits", "store", "study"},
    "figures": {
        "theory",
        "fits",
        "representation",
        "diagnostics",
        "models",
        "routing",
        "training",
        "datasets",
        "fields",
        "store",
        "study",
    },
    "theory": {
        "models",
        "training",
        "datasets",
        "fields",
        "symmetry",
        "figures",
        "store",
        "study",
        "protocols",
        "routing.routed",
    },
    "training": {"figures", "fields", "symmetry", "store", "study", "protocols"},
    "loop": {"training", "figures", "fields", "symmetry", "store", "study", "protocols"},
    "resuming": {"models", "figures", "fields", "symmetry", "store", "study", "protocols"},
    "checkpoints": {"models", "routing", "training", "datasets", "fields", "symmetry", "figures", "study", "protocols"},
    "checkpoint_files": {
        "models",
        "routing",
        "training",
        "datasets",
        "fields",
        "symmetry",
        "figures",
        "store",
        "study",
    },
    "history": {"models", "training", "figures", "fields", "symmetry", "store", "study", "protocols"},
    "diagnostics": {"models", "training", "datasets", "fields", "symmetry", "figures", "store", "study", "protocols"},
    "costs": {"models", "training", "datasets", "fields", "symmetry", "figures", "store", "study", "protocols"},
    "parallel": {"models", "routing", "training", "datasets", "fields", "symmetry", "figures", "store", "study"},
    "store": {"models", "routing", "training", "datasets", "fields", "symmetry", "figures", "study", "running"},
    "running": {"figures", "symmetry", "study", "report", "tables", "progress", "cli"},
    "protocols": {"models", "routing", "training", "datasets", "fields", "symmetry", "figures", "store", "study"},
    "settings": {"models", "routing", "training", "datasets", "fields", "symmetry", "figures", "store", "study"},
}
TORCHLESS = {
    "comparing",
    "references",
    "report_differences",
    "protocols",
    "expansion",
    "runs",
    "rule_files",
    "settings",
    "network_settings",
    "symmetry",
    "figures",
    "store",
    "errors",
    "report",
    "report_numbers",
    "report_settings",
    "markup",
    "published",
    "tables_of_runs",
    "terminal",
    "schemas",
    "report_page",
    "theory_report",
    "tables_of_theory",
    "cli_theory",
    *(f"theory/{name}" for name in ("settings", "checking", "spectra", "integration", "tasks", "initial", "equations")),
    *(f"theory/{name}" for name in ("saxe", "stationary", "recovery", "pursuit", "projections", "factorisation")),
    "bounded_toml",
    "factors/schedule",
    "condition_labels",
    "spreadsheet",
    "stopping",
    "cli",
    "cli_run",
    "running/outcomes",
    "running/turns",
    "running/wire",
}


def modules(name):
    path = PACKAGE / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", FORBIDDEN)
def test_imports_flow_one_way(name):
    for path in modules(name):
        crossed = {part for part in FORBIDDEN[name] for i in imports(path) if i.startswith(f"rfmodel.{part}")}
        assert not crossed, f"{path.name} imports {crossed}"


def test_only_figures_imports_matplotlib():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "figures":
            assert not any(i.startswith("matplotlib") for i in imports(path)), path


@pytest.mark.parametrize("name", sorted(TORCHLESS))
def test_these_know_no_torch(name):
    for path in modules(name):
        assert not any(i.startswith("torch") for i in imports(path)), path


def test_no_pyplot_and_no_print():
    for path in PACKAGE.rglob("*.py"):
        assert not any("pyplot" in i for i in imports(path)), path
        calls = [
            n.func.id
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        ]
        assert "print" not in calls, path
