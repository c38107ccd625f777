"""`import jade_env` is light: nothing that learns, draws or serves comes with it; its public names are where promised."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jade_env

HEAVY = ("torch", "stable_baselines3", "transformers", "scipy", "matplotlib", "rich", "typer", "faiss", "ray", "bm25s")


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import jade_env") & set(HEAVY)


def test_playing_an_episode_loads_no_learning_library() -> None:
    code = "import jade_env; jade_env.parallel_env(overrides={'data.passages': 300, 'data.train': 20}).reset(seed=0)"
    assert not loaded_by(code) & {"torch", "stable_baselines3", "matplotlib", "rich"}


def test_the_game_is_pure_python() -> None:
    code = "import importlib.machinery, types, sys\nimport jade_env.game.episode"
    program = code.replace(
        "import jade_env.game.episode", "sys.modules['jade_env'] = stub()\nimport jade_env.game.episode"
    )
    stub = (
        "def stub():\n    import types\n    from pathlib import Path\n    module = types.ModuleType('jade_env')\n"
        f"    module.__path__ = [{str(jade_env.__path__[0])!r}]\n    return module\n"
    )
    assert not loaded_by(stub + program) & {"numpy", "gymnasium", "pettingzoo", "torch"}


def test_the_promised_names_are_there() -> None:
    for name in jade_env.__all__:
        assert getattr(jade_env, name) is not None
    assert jade_env.game.outputs.parse("answer", "<answer>Rome</answer>").value == "Rome"
    assert jade_env.metrics.score("Rome", ["Rome"]).f1 == 1.0


def test_a_missing_extra_is_one_sentence_that_names_it() -> None:
    code = (
        "import importlib.util as u, sys\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\nsys.argv = "
        "['jade', 'train', 'cooperative', '--out', 'never-made']\nfrom jade_env.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "jade: torch is not installed: pip install 'jade-env[train]'"


def test_what_there_is_can_be_found_by_completion() -> None:
    import jade_env

    assert {"env", "parallel_env", "make_pool", "learning", "load_scenario"} <= set(dir(jade_env))


def test_no_pattern_has_a_possessive_group() -> None:
    """Before Python 3.11.5 `re` matches them wrongly where the group inside goes back."""
    for file in (Path(__file__).parents[1] / "jade_env").rglob("*.py"):
        assert not re.search(r"\)(?:[*+?]|\{{1,2}[0-9,]*\}{1,2})\+(?!\+)[^ ]", file.read_text(encoding="utf-8")), file
