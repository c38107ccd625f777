"""BM25 on real questions finds what the data's README says it finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "recall.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recall_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("words", ["stemmed", "plain"])
@pytest.mark.parametrize("dataset", ["hotpotqa", "musique", "xquad_en"])
def test_recall_is_within_two_points_of_the_published_figures(
    shared_data: Path, script: ModuleType, dataset: str, words: str
) -> None:
    ours = script.recall(shared_data / dataset, words)
    assert ours == pytest.approx(script.PUBLISHED[dataset][words], abs=2.0)
