"""Benchmarks and examples run for hours or are run by hand: whatever they take from the package has to be there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from jade_env.errors import MissingExtra

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")])


def missing(tree: ast.Module) -> list[str]:
    """Names that are imported from the package, or read from a module of it, and are not there."""
    modules: dict[str, ModuleType] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "jade_env":
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    try:
                        importlib.import_module(f"{node.module}.{name.name}")
                    except ModuleNotFoundError:
                        found.append(f"{node.module}.{name.name}")
                        continue
                if isinstance(value := getattr(module, name.name), ModuleType):
                    modules[name.asname or name.name] = value
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "jade_env":
                    modules[name.asname or "jade_env"] = importlib.import_module(name.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if not hasattr(module, node.attr):
                found.append(f"{module.__name__}.{node.attr}")
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_script_takes_from_the_package_is_there(path: Path) -> None:
    try:
        assert not missing(ast.parse(path.read_text(encoding="utf-8")))
    except (MissingExtra, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("jade_env"):
            raise
        pytest.skip(str(error))


def test_a_name_that_is_gone_is_found() -> None:
    gone = (
        "from jade_env.learning import credit\nfrom jade_env.envs import nowhere\ncredit.no_such_rule\ncredit.group\n"
    )
    assert missing(ast.parse(gone)) == ["jade_env.envs.nowhere", "jade_env.learning.credit.no_such_rule"]
