"""What a report says of a real, tiny study of scripted and trained arms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jade_env.errors import DataError
from jade_env.research.compare import compare
from jade_env.research.report import write_report
from jade_env.research.report.page import unpacked
from jade_env.research.study import Study

FEW = {"total_timesteps": 256, "n_envs": 8, "batch_size": 256, "eval_every": 256, "eval_episodes": 4}
STUDY = {
    "name": "tiny",
    "summary": "two scripted arms and a trained one",
    "scenarios": [
        {
            "scenario": "cooperative",
            "overrides": {"data.passages": 300, "data.train": 40, "data.dev": 8, "data.test": 8},
        }
    ],
    "arms": {
        "heuristic": {"policy": "heuristic"},
        "random": {"policy": "random"},
        "networks": {"policy": "sb3_shared", "overrides": FEW},
    },
    "baseline": "heuristic",
    "seeds": [0, 1],
    "splits": ["test"],
    "questions": 8,
    "modes": ["greedy"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "tiny"
    compare(Study.model_validate(STUDY), out)
    return out


def blocks_of(folder: Path, out: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    tree = unpacked(write_report(folder, out).read_text())
    return tree, {block["title"]: block for section in tree["sections"] for block in section["blocks"]}


def test_a_study_shows_the_figures_of_its_summary(study: Path, tmp_path: Path) -> None:
    summary = json.loads((study / "summary.json").read_text())
    tree, blocks = blocks_of(study, tmp_path / "report.html")
    assert tree["names"] == ["heuristic", "random", "networks"] and tree["traces"] is None
    assert dict(tree["facts"])["runs"] == "6 of 6 done"
    arms = summary["views"][0]["arms"]
    for arm, runs, f1, _, net in blocks["Scores"]["rows"]:
        assert runs == arms[arm]["runs"]
        assert f1["mean"] == pytest.approx(arms[arm]["metrics"]["f1"]["mean"], rel=1e-3)
        assert net["low"] == pytest.approx(arms[arm]["metrics"]["net"]["low"], rel=1e-3)
    differences = {row[0]: row for row in blocks["Difference from heuristic"]["rows"]}
    assert list(differences) == ["random", "networks"] and differences["random"][2]["signed"]
    expected = arms["random"]["against"]["f1"]["mean"]
    assert differences["random"][2]["mean"] == pytest.approx(expected, rel=1e-3)


def test_frontiers_and_curves_are_drawn_from_the_same(study: Path, tmp_path: Path) -> None:
    summary = json.loads((study / "summary.json").read_text())
    _, blocks = blocks_of(study, tmp_path / "report.html")
    view = summary["views"][0]
    best = view["frontiers"]["retrievals"]
    assert len(blocks["F1 against retrievals"]["stairs"]) == len(best)
    assert blocks["F1 against retrievals"]["stairs"][0][1] == pytest.approx(
        view["arms"][best[0]]["metrics"]["f1"]["mean"], rel=1e-3
    )
    curve = blocks["cooperative: F1"]["series"]
    assert [one["name"] for one in curve] == ["networks"]
    assert all(low <= mean <= high for _, mean, low, high in curve[0]["points"])
    assert len(blocks["All runs"]["rows"]) == 6


def test_a_damaged_study_is_named_with_its_mend(study: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(study, tmp_path / "broken")
    (broken / "summary.json").write_text('{"study": "tiny"}')
    with pytest.raises(DataError, match=r"summary\.json: .*--table-only writes it anew"):
        write_report(broken)
    (broken / "summary.json").unlink()
    with pytest.raises(DataError, match=r"summary\.json: cannot be read"):
        write_report(broken)
