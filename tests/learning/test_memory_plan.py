"""What the memory plan of a training reads from a recipe."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from jade_env.language_recipe import PpoRecipe
from jade_env.learning import checkpoint
from jade_env.learning.learner import Learner
from jade_env.learning.memory_plan import Part, at_most, dry_run, kept_by_a_layer, plan
from jade_env.policy.backbone import Lora, load_backbone
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario


def width(**overrides: Any) -> int:
    """Tokens in a slot of the key-value cache."""
    recipe = load_recipe("jade_joint", overrides)
    assert isinstance(recipe, PpoRecipe)
    parts, _ = plan(load_scenario("cooperative"), recipe)
    (found,) = [re.search(r"slots x (\d+) tokens", part.name) for part in parts if "cache" in part.name]
    assert found
    return int(found[1])


def test_the_cache_is_as_wide_as_the_longest_turn_of_any_agent() -> None:
    cards = load_scenario("cooperative").cards
    written = max(card.max_tokens for card in cards.values())
    one = width(max_prompt=100)
    assert one == 100 + written
    assert width(max_prompt={"default": 100}) == one
    assert width(max_prompt={"default": 50, "planner": 200}) == max(200 + cards["planner"].max_tokens, 50 + written)
    assert width(max_prompt={"planner": 100}) == width(), "the others may fill the context"


SMALL = {"hidden_size": 128, "num_attention_heads": 4, "vocab_size": 9}
GROUPED = {"hidden_size": 112, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 9}
CONFIGS = {
    "llama": lambda n: LlamaConfig(**SMALL, num_hidden_layers=n, intermediate_size=512),
    "narrow": lambda n: LlamaConfig(**SMALL, num_hidden_layers=n, intermediate_size=256),
    "qwen2": lambda n: Qwen2Config(**GROUPED, num_hidden_layers=n, intermediate_size=608),
    "gpt2": lambda n: GPT2Config(n_embd=128, n_layer=n, n_head=4, vocab_size=9, bos_token_id=0, eos_token_id=0),
}


def kept(config: Any, dtype: torch.dtype, tokens: tuple[int, int] = (4, 128)) -> int:
    """Bytes that the backward pass of a model finds saved, weights apart."""
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    weights = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.Tensor] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(tokens, dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", list(CONFIGS))
def test_the_activations_of_a_layer_are_what_the_backward_pass_finds(kind: str, dtype: torch.dtype) -> None:
    config = CONFIGS[kind]
    a_layer = (kept(config(4), dtype) - kept(config(2), dtype)) / 2 / (4 * 128)
    assert 0.85 < a_layer / (kept_by_a_layer(config(1)) * dtype.itemsize) < 1.05


def parts(**overrides: Any) -> dict[str, float]:
    recipe = load_recipe("jade_joint", overrides)
    assert isinstance(recipe, PpoRecipe)
    return {part.name: part.size for part in plan(load_scenario("cooperative"), recipe)[0]}


def test_every_adapter_and_the_model_that_plays_the_others_has_a_cache_of_its_own() -> None:
    def cache(**overrides: Any) -> float:
        return next(size for name, size in parts(**overrides).items() if "cache" in name)

    one = cache()
    lora = {"rank": 4}
    assert cache(lora=lora) == one and cache(lora=lora, sharing="per_role") == 7 * one
    assert cache(train=["planner"]) == 2 * one == cache(train=["planner"], lora=lora)


def test_adapters_need_no_second_model_to_play_those_who_do_not_learn() -> None:
    def copies(**overrides: Any) -> str:
        return next(name for name in parts(**overrides) if name.startswith("weights"))

    assert copies(train=["planner"], kl={}).startswith("weights (2 x")
    assert copies(train=["planner"], kl={}, lora={"rank": 4}).startswith("weights (1 x")


def test_adapters_have_the_precision_of_the_model_that_they_are_put_into() -> None:
    def sizes(lora: dict[str, int] | None, dtype: str) -> float:
        found = parts(lora=lora, dtype=dtype, train=["planner"], kl={})
        return next(size for name, size in found.items() if name.startswith("weights"))

    for dtype, number in (("bf16", 2), ("fp32", 4)):
        backbone = load_backbone("jade-tiny", device="cpu", dtype=dtype, lora=Lora(rank=4))
        adapters = sum(p.numel() * p.element_size() for n, p in backbone.named_parameters() if "lora_" in n)
        whole = sum(p.numel() for n, p in backbone.causal.named_parameters() if "lora_" not in n)
        assert sizes({"rank": 4}, dtype) == pytest.approx(whole * number + adapters)


def test_other_models_of_the_team_are_counted() -> None:
    other = {"answer_generator": "language_model:Qwen/Qwen2.5-0.5B-Instruct"}
    plays, learns = (parts(policies=other, train=train) for train in (["planner"], ["planner", "answer_generator"]))
    beside = sum(size for name, size in plays.items() if "which plays beside it (494.0 M" in name)
    learning = sum(size for name, size in learns.items() if "which learns beside it (494.0 M" in name)
    assert beside > 494e6 * 4 and learning - beside == pytest.approx(494e6 * 12, rel=0.001)


def test_a_team_that_does_not_learn_needs_one_model_and_its_cache() -> None:
    found = {name.split(" (")[0]: size for name, size in parts(train="none").items() if size}
    assert set(found) == {"weights", "key-value cache"}
    assert found["key-value cache"] == next(size for name, size in parts().items() if "cache" in name)
    text = dry_run(load_scenario("cooperative"), load_recipe("frozen"))
    assert "nobody learns" in text and "0.0 M learn" in text and "lora" not in text


def test_what_is_done_already_is_not_advised() -> None:
    short = {"dtype": "bf16", "gradient_checkpointing": True, "lora": {"rank": 4}}
    plain, saving = (dry_run(load_scenario("cooperative"), load_recipe("jade_joint", o)) for o in ({"slots": 1}, short))
    assert "gradient_checkpointing=true" in plain and "gradient_checkpointing" not in saving
    recipe = load_recipe("jade_joint", short)
    assert isinstance(recipe, PpoRecipe)
    advice = {part.name.split(" (")[0]: part.lower for part in plan(load_scenario("cooperative"), recipe)[0]}
    assert advice["weights"] == "a smaller backbone" and advice["optimizer"].endswith("lora.rank, lora.modules")
    assert "offload=true" in advice["optimizer"] and "offload=true" not in advice["gradients"]


def test_playing_and_learning_take_turns_and_an_optimizer_may_lie_in_the_hosts_memory() -> None:
    always, plays, learns = Part("a", 5.0, ""), Part("b", 3.0, "", "playing"), Part("c", 2.0, "", "learning")
    assert at_most([always, plays, learns]) == (8.0, "playing")
    assert at_most([always, plays, learns, Part("d", 2.0, "", "learning")]) == (9.0, "learning")
    assert at_most([always]) == (5.0, "")
    said = [
        dry_run(load_scenario("cooperative"), load_recipe("qwen2.5-7b", {"device": device}))
        for device in ("cuda", "cpu")
    ]

    def gibibytes(text: str, what: str) -> float:
        return float(re.findall(rf"([0-9.]+) GiB  {what}", text)[0])

    weights, gradients, moments = (7615.6e6 * number / 2**30 for number in (2 * 2, 2, 2 * 12))
    cache = 128 * (3072 + 160) * 28 * 2 * 4 * 128 * 2 / 2**30
    most = weights + max(cache, gradients + gibibytes(said[0], "activations") + gibibytes(said[0], "logits"))
    assert gibibytes(said[0], "at once") == pytest.approx(most, rel=1e-3)
    assert gibibytes(said[0], "beside it, in the host's memory") == pytest.approx(moments, rel=1e-3)
    assert gibibytes(said[0], "on disk for a checkpoint") == pytest.approx(moments + weights, rel=1e-3)
    assert gibibytes(said[1], "at once") == pytest.approx(most + moments, rel=1e-3), "a CPU has one memory"


def test_what_a_plan_says_of_an_optimizer_is_what_there_is() -> None:
    for knobs in ({}, {"dtype": "bf16"}, {"offload": True}, {"dtype": "bf16", "offload": True}):
        recipe = load_recipe("jade_joint", knobs)
        assert isinstance(recipe, PpoRecipe)
        learner = Learner(recipe, load_scenario("cooperative").team, everybody=True)
        for parameter in learner.backbone.parameters():
            parameter.grad = torch.zeros_like(parameter)
        learner.optimizer.step()
        held = checkpoint.optimizer_tensors(learner.optimizer)
        size = sum(tensor.nbytes for name, tensor in held.items() if not name.endswith("step"))
        (said,) = (part.size for part in plan(load_scenario("cooperative"), recipe)[0] if part.optimizer)
        assert size == pytest.approx(said, rel=0.01)
