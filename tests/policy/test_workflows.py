"""In the default mixture no fixed workflow is best: there is something for a planner to decide."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jade_env.scenario import load_scenario

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "workflows.py"
KINDS = {"direct", "single", "bridge2", "bridge3", "list", "compare_which", "compare_yesno"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("workflows_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("split", ["tune", "fresh"])
def test_the_best_workflow_per_kind_beats_the_best_single_one_by_fifteen_hundredths(
    script: ModuleType, split: str
) -> None:
    values = script.measure(load_scenario("cooperative", {"data.test": 400}), split, 400)
    assert values.best_per_kind - values.best_single >= 0.15
    assert values.best_per_question >= values.best_per_kind
    assert set(values.kinds) == KINDS
    assert min(values.kinds.count(kind) for kind in KINDS) >= 0.05 * len(values.kinds)


def test_the_command_prints_the_table(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = script.main(["--questions", "60", "--split", "other", "data.passages=300"])
    printed = capsys.readouterr().out
    assert "QDP; R,AG" in printed
    assert "best per kind" in printed
    assert set(gaps) == {"per_kind", "per_question"}
