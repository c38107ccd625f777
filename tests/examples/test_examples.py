"""Every example runs as it stands, on a budget of seconds, where its library is installed."""

from __future__ import annotations

import ast
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_fits_a_screen_or_two_and_says_how_it_is_run(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 80
    says = ast.get_docstring(ast.parse(text)) or ""
    assert f"python examples/{file.name}" in says


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_listed_in_the_docs(file: Path) -> None:
    assert f"`examples/{file.name}`" in (EXAMPLES.parent / "docs" / "examples.md").read_text()


def test_a_users_own_corpus_is_playable(tmp_path: Path) -> None:
    rows = example("own_corpus").main(tmp_path)
    assert [row.f1 for row in sorted(rows, key=lambda row: row.question_id)][:3] == [1.0, 1.0, 1.0]


def test_a_users_own_role_finds_more_than_the_question_alone(tmp_path: Path) -> None:
    found = example("own_role").main(tmp_path)
    assert found["QR,R,AG"] > found["R,AG"]


def test_cleanrls_loop_runs() -> None:
    pytest.importorskip("torch")
    curve = example("cleanrl_ppo").main(updates=1)
    assert all(0 <= f1 <= 1 for f1 in curve)


def test_stable_baselines3_learns_all_roles_with_one_network() -> None:
    pytest.importorskip("sb3_contrib")
    assert 0 <= example("sb3_shared").main(turns=2048, episodes=20) <= 1


def test_grpo_plays_and_learns_from_groups(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    curve = example("grpo").main(updates=1, questions=2)
    assert len(curve) == 1 and "update   1: F1" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_torchrl_wraps_the_environment_as_it_is() -> None:
    pytest.importorskip("torchrl")
    curve = example("torchrl_mappo").main(updates=1, ticks=64)
    assert all(0 <= f1 <= 1 for f1 in curve)


def test_rllib_trains_a_module_of_ours() -> None:
    pytest.importorskip("ray.rllib")
    curve = example("rllib_ppo").main(iterations=1, ticks=128)
    assert len(curve) == 1 and not math.isnan(curve[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
def test_benchmarl_trains_its_algorithms_on_the_game(algorithm: str) -> None:
    pytest.importorskip("benchmarl")
    assert not math.isnan(example("benchmarl_mappo").main(iterations=1, algorithm=algorithm, frames=128))
