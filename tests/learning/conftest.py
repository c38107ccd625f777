"""Random models of three families, with tokenizers trained on the spot on the prompts of real turns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import jade_env
from jade_env.policy.tiny import make_tiny
from jade_env.scenario import Scenario, load_scenario

SIZES = {"vocab_size": 400, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **SIZES}
CHATTY = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}=>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATTY
FAMILIES = {
    "llama": (LlamaConfig(**SMALL, max_position_embeddings=512, num_key_value_heads=2), CHATTY),
    "qwen2": (Qwen2Config(**SMALL, max_position_embeddings=512, num_key_value_heads=2), NO_SYSTEM),
    "gpt2": (GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=512, **SIZES), None),
}


@pytest.fixture(scope="session")
def turns() -> list[tuple[str, list[dict[str, str]]]]:
    """Agents and messages of real turns."""
    small = {"data.passages": 300, "data.train": 60, "prompt": "brief"}
    pool = jade_env.make_pool("cooperative", n=6, seed=3, mode="text", overrides=small)
    found = []
    for workflow in ("QDS", "QDP", "R,DS,AG"):
        open_turns = pool.turns()
        found += [(turn.agent, turn.messages) for turn in open_turns]
        pool.step({turn.id: f"<workflow>{workflow}</workflow>" for turn in open_turns})
    return found


@pytest.fixture(scope="session")
def folders(turns: list[tuple[str, list[dict[str, str]]]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model and its tokenizer of each family, as folders."""
    texts = [message["content"] for _, messages in turns for message in messages]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=["<s>", "</s>", "<|endoftext|>"])
    places = {}
    for name, (config, template) in FAMILIES.items():
        places[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # random enough that its log-probabilities differ
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(places[name])
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(places[name])
    return places


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two small models of different shapes."""
    folder = tmp_path_factory.mktemp("backbones")
    for name, width in (("one", 32), ("two", 48)):
        make_tiny(0, width=width, layers=1, inner=32).save(folder / name)
    return str(folder / "one"), str(folder / "two")


@pytest.fixture(scope="session")
def game() -> Scenario:
    return load_scenario("cooperative", {"data.passages": 200, "data.train": 40, "data.dev": 8, "data.test": 8})
