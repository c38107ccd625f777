"""Models of other makes: refused where they cannot be used, in a sentence, and used rightly where they can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPTNeoConfig,
    LlamaConfig,
    OPTConfig,
    Qwen3Config,
    RwkvConfig,
)

import jade_env
from jade_env.errors import ConfigError, JadeError
from jade_env.learning import ppo
from jade_env.learning.batches import Row
from jade_env.learning.optimizer import adamw
from jade_env.policy import MixedPolicy, make_policy
from jade_env.policy.backbone import Backbone, Lora, load_backbone
from jade_env.policy.generation import Generator
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.sampling import Request, Sample
from jade_env.policy.tiny import make_tiny, make_tokenizer

TOKENIZER = make_tokenizer()
SIZES = {
    "vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
GEMMA = {**SIZES, "query_pre_attn_scalar": 8}
NEO = {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4, "window_size": 16}


def backbone_of(config: Any, dtype: torch.dtype = torch.float32, tokenizer: Any = TOKENIZER) -> Backbone:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.data.mul_(3)
    return Backbone(model, tokenizer, "that model").eval()


@pytest.mark.parametrize(
    "config",
    [
        lambda: RwkvConfig(**SIZES, attention_hidden_size=32),
        lambda: BloomConfig(**SIZES, n_layer=2, n_head=4),
    ],
    ids=["it has no cache", "its positions are in its mask"],
)
def test_a_model_that_does_not_bear_rows_of_different_lengths_is_refused(config: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match="that model: a .* cannot write many rows at once here"):
        Generator(backbone_of(config()))


def test_local_attention_is_a_window_that_nothing_longer_enters() -> None:
    generator = Generator(backbone_of(GPTNeoConfig(**{**SIZES, **NEO})), slots=4, ignore_stop=True)
    assert generator.limit == 16
    samples = generator.run([Request(("k", str(n)), tuple(range(5, 5 + n)), 4) for n in (3, 12, 7)])
    rows = [Row(sample, "a", np.zeros(4, np.float32)) for sample in samples]
    for sample, said in zip(samples, ppo.log_probs(generator.backbone, rows), strict=True):
        assert sample.logprobs == pytest.approx(said, abs=1e-4)
    with pytest.raises(ConfigError, match="longer than that model can read"):
        generator.submit([Request(("k",), tuple(range(5, 18)), 4)])


def test_prompts_are_cut_to_what_a_sliding_window_reads() -> None:
    backbone = backbone_of(Gemma3TextConfig(**GEMMA, sliding_window=128))
    game = jade_env.load_scenario("cooperative", {"workflows": ["R,AG"], "data.train": 40, "data.passages": 300})
    pool = jade_env.make_pool(game, 8, mode="text")
    with pytest.raises(
        ConfigError, match=r"answer_generator, question train_\d+: the prompt has .* set overlong=truncate"
    ):
        LanguageModelPolicy(backbone, Manner(prompt="brief")).act(pool.turns())
    player = LanguageModelPolicy(backbone, Manner(prompt="brief", overlong="truncate"))
    assert len(player.act(pool.turns())) == 8 and player.truncated > 0


@pytest.mark.parametrize("scale", [1, 30])
def test_capped_logits_are_taken_in_bfloat16_too(scale: int) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Gemma2Config(**GEMMA, sliding_window=200)).to(torch.bfloat16).eval()
    model.get_output_embeddings().weight.data.mul_(scale)
    assert Backbone(model, TOKENIZER, "that model").dtype == torch.bfloat16


def test_a_model_of_text_and_images_is_named(tmp_path: Path) -> None:
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    tokens = {"image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7, "mm_tokens_per_image": 4}
    config = Gemma3Config(text_config={**GEMMA, "sliding_window": 200}, vision_config=vision, **tokens)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    TOKENIZER.save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="is a Gemma3ForConditionalGeneration, which cannot be used here"):
        load_backbone(str(tmp_path / "model"), device="cpu")


def test_broken_weights_are_one_sentence(tmp_path: Path) -> None:
    make_tiny(0, width=16, layers=1, inner=16).save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_backbone(str(tmp_path / "model"), device="cpu")


def test_a_pad_token_beyond_the_vocabulary_is_never_read() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    backbone = backbone_of(LlamaConfig(**SIZES), tokenizer=tokenizer)
    assert tokenizer.pad_token_id >= SIZES["vocab_size"] > backbone.pad_id
    samples = Generator(backbone, slots=4).run([Request(("k", str(n)), tuple(range(5, 5 + n)), 4) for n in (3, 9)])
    assert len(ppo.log_probs(backbone, [Row(s, "a", np.zeros(len(s.output), np.float32)) for s in samples])) == 2


def test_a_template_that_can_think_is_told_not_to() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }} {% endfor %}"
        "=>{% if enable_thinking is defined and enable_thinking is false %} no thoughts{% endif %}"
    )
    backbone = backbone_of(Qwen3Config(**SIZES), tokenizer=tokenizer)
    assert backbone.decode(backbone.encode([{"role": "user", "content": "who"}])).endswith("no thoughts")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role != 'system' %}{{ m.content }} {% endfor %}=>",  # leaves it out without a word
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('none') }}{% endif %}{{ m.content }} {% endfor %}=>",
        "{% for m in messages %}{{ m.content }} {% endfor %}=>",
    ],
)
def test_what_the_system_says_is_said_whatever_the_template_makes_of_it(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    backbone = backbone_of(LlamaConfig(**SIZES), tokenizer=tokenizer)
    prompt = backbone.decode(
        backbone.encode([{"role": "system", "content": "plan"}, {"role": "user", "content": "who"}])
    )
    assert prompt.split()[:2] == ["plan", "who"]


@pytest.mark.parametrize(
    ("modules", "unknown"), [(("q_proj", "value_proj"), "value_proj"), (("proj",), "proj"), (("a", "b"), "a, b")]
)
def test_every_layer_that_is_to_have_an_adapter_is_there(modules: tuple[str, ...], unknown: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES))
    with pytest.raises(
        ConfigError, match=rf"lora.modules: {unknown}: that model has .*q_proj.* \(it has no such layer\)"
    ):
        Backbone(model, TOKENIZER, "that model", Lora(rank=2, modules=modules))
    Backbone(model, TOKENIZER, "that model", Lora(rank=2, modules=("q_proj", "self_attn.v_proj")))


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_that_has_diverged_plays_no_further(number: float, greedy: bool) -> None:
    backbone = backbone_of(LlamaConfig(**SIZES))
    with torch.no_grad():
        backbone.causal.get_output_embeddings().weight[7, 0] = number
    with pytest.raises(JadeError, match="that model: its logits are infinite or no numbers: .* float32 is too narrow"):
        Generator(backbone, slots=4, greedy=greedy).run([Request(("k",), (5, 6, 7), 4)])


def test_a_value_head_goes_with_its_folder(tmp_path: Path) -> None:
    made = make_tiny(0, width=16, layers=1, inner=16)
    with torch.no_grad():
        made.head.weight.fill_(0.5)
    made.save(tmp_path / "model")
    assert torch.equal(load_backbone(str(tmp_path / "model"), device="cpu").head.weight, made.head.weight)
    make_tiny(0, width=32, layers=1, inner=16).save(tmp_path / "wider")
    (tmp_path / "model" / "value_head.safetensors").write_bytes(
        (tmp_path / "wider" / "value_head.safetensors").read_bytes()
    )
    with pytest.raises(ConfigError, match="is not the value head of this model"):
        load_backbone(str(tmp_path / "model"), device="cpu")


def test_recomputed_activations_have_no_dropout_though_their_layers_are_in_training_mode() -> None:
    backbone = backbone_of(OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=32, dropout=0.5))
    backbone.causal.gradient_checkpointing_enable({"use_reentrant": False})
    rng = np.random.default_rng(0)
    drawn = [Sample(tuple(rng.integers(4, 900, 20).tolist()), (7, 8, 9), np.zeros(3, np.float32)) for _ in range(4)]
    rows = [Row(sample, "a", np.ones(3, np.float32)) for sample in drawn]
    before = ppo.log_probs(backbone, rows)
    rows = [
        Row(Sample(s.prompt, s.output, said), "a", np.ones(3, np.float32))
        for s, said in zip(drawn, before, strict=True)
    ]
    optimizer = adamw(list(backbone.parameters()), 1e-9, 0.0)
    figures = ppo.update(backbone, None, optimizer, rows, ppo.Settings(minibatches=1), np.random.default_rng(0))
    assert figures["ratio_max"] == pytest.approx(1.0, abs=1e-3)
    layer = next(
        m for m in backbone.causal.modules() if getattr(m, "gradient_checkpointing", False) and hasattr(m, "dropout")
    )
    assert layer.dropout == 0.5 and not layer.training


def test_a_team_may_have_such_a_model_in_it() -> None:
    backbone = backbone_of(Gemma3TextConfig(**GEMMA, sliding_window=400))
    game = jade_env.load_scenario("cooperative", {"data.train": 40, "data.passages": 300})
    team = MixedPolicy(
        {"default": make_policy("heuristic", game), "planner": LanguageModelPolicy(backbone, Manner(prompt="brief"))}
    )
    pool = jade_env.make_pool(game, 4, mode="text")
    turns = pool.turns()
    assert len(team.act(turns)) == len(turns)
