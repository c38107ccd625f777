"""Models by what a user calls them: an id of the Hugging Face hub, found in its cache, or a folder that may be missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jade_env.errors import ConfigError
from jade_env.hub import located
from jade_env.language_recipe import PpoRecipe
from jade_env.policy.backbone import load_backbone
from jade_env.policy.tiny import make_tiny
from jade_env.retrieval.encoder_choice import make_encoder
from jade_env.retriever_settings import Dense


def test_an_id_of_the_hub_with_a_dot_in_it_is_found_in_the_cache(tmp_path: Path) -> None:
    name, revision = "Someone/Model2.5-0.5B", "a" * 40
    cached = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    make_tiny(0, width=32, layers=1, inner=32).save(cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    program = (
        f"from jade_env.policy.backbone import load_backbone; print(load_backbone({name!r}).causal.config.hidden_size)"
    )
    offline = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
    }  # both are read when transformers is imported
    done = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "32", done.stderr[-500:]


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen2.5-7B-Instruct", "gpt2", "distilgpt2", "t5-small", "bert-tiny", "judge-tiny", "intfloat/e5-base-v2"],
)
def test_ids_of_the_hub_are_no_folders(name: str) -> None:
    assert located(name, "backbone") == name


@pytest.mark.parametrize("name", ["./nowhere", "../up/model", "/no/such", "runs/warm/backbone", "~/models/gone"])
def test_a_folder_that_is_missing_is_said_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^backbone: there is no folder {name}$"):
        load_backbone(name)
    with pytest.raises(ConfigError, match=r"^retriever\.encoder: there is no folder"):
        make_encoder(Dense(encoder=name), ())


@pytest.mark.parametrize("name", ["jade_tiny", "jade-tinny", "Jade-Tiny"])
def test_no_hub_is_asked_for_a_slip_in_the_shipped_models_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^backbone: there is no folder {name}; did you mean 'jade-tiny'"):
        load_backbone(name)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="there is no folder .*weights.safetensors"):
        located(str(tmp_path / "weights.safetensors"), "backbone")
    assert located(str(tmp_path), "backbone") == str(tmp_path)


def test_the_home_folder_may_be_written_short() -> None:
    recipe = PpoRecipe(name="x", summary="x", learner="ppo", backbone="~/models/one")
    assert recipe.backbone == str(Path.home() / "models" / "one")
