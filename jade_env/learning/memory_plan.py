"""`jade train --dry-run`: what a training would hold in memory, part by part, and what to lower. Loads no weights.

The model is laid out on torch's meta device, where tensors have shapes and no content. Knows sizes; knows no training.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from jade_env.envs.encoding import Encoder
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError
from jade_env.game.episode import Rules
from jade_env.hub import located
from jade_env.language_recipe import LANGUAGE_MODEL, LoraSettings, PpoRecipe, refuse_fp16, said_of
from jade_env.learning.language_team import backbone_named, learned_of, specs_of
from jade_env.learning.optimizer import PART
from jade_env.policy.backbone import DTYPES, Lora, with_adapters
from jade_env.recipe import MarlRecipe, Recipe, WarmStartRecipe
from jade_env.scenario import Scenario

KNOWN: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": {
        "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151_936, "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-7B-Instruct": {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18_944, "vocab_size": 152_064, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Sizes of the models that shipped recipes name, from their published configurations, for machines that cannot reach the hub."""
GIB = 2.0**30
KEPT = 12, 4
"""Numbers that a layer keeps for each token's backward pass, in units of the model's width and of its MLP's. A test counts them
for Llama, Qwen2 and GPT-2: right in bf16, up to a tenth too many in float32. The attention matrix is not kept."""
MASK = 2
"""Bytes of the truth values from which each number of an attention mask is made."""
LOGITS = 4 * 3
"""Bytes for each output token and word: float32 logits, their softmax, and their gradient."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing in memory.

    Attributes:
        name: of it.
        size: bytes.
        lower: what makes it smaller.
        during: when it is there, `playing` or `learning`; always where "".
        host: whether it lies in the host's memory, whatever device computes.
        optimizer: whether it is an optimizer's state, which checkpoints hold beside the weights.
    """

    name: str
    size: float
    lower: str
    during: str = ""
    host: bool = False
    optimizer: bool = False


def dry_run(
    scenario: Scenario, recipe: Recipe | MarlRecipe | WarmStartRecipe | PpoRecipe, data: str | Path | None = None
) -> str:
    """What `jade train` would do, as text: questions, agents, episodes, and for a language model the memory plan.

    Raises:
        ConfigError: the recipe and the scenario do not fit, it trains in fp16, or the backbone is unknown.
        DataError: the questions cannot be read.
    """
    if isinstance(recipe, WarmStartRecipe | PpoRecipe):
        refuse_fp16(recipe)
    team = Rules.names(scenario)
    questions, judged = (len(open_source(scenario, data).questions(split)) for split in ("train", "dev"))
    lines = [f"{scenario.name}: {questions} train questions and {judged} of dev, played by {', '.join(team)}"]
    if isinstance(recipe, MarlRecipe):
        recipe.check(scenario)
        if recipe.algorithm == "qmix":
            encoder = Encoder(scenario)
            tick = 2 * len(encoder.agents) * (4 * encoder.size + encoder.actions) + 8 * encoder.state_size
            lines.append(
                f"replay memory: {recipe.memory} ticks of {tick / 1000:.0f} kB, {recipe.memory * tick / GIB:.2f} GiB; "
                "lower memory to need less"
            )
    if isinstance(recipe, Recipe | MarlRecipe):
        lines.append(f"{recipe.name}: {recipe.total_timesteps} turns, {', '.join(recipe.trained(team))} learn")
        return "\n".join(lines)
    if isinstance(recipe, WarmStartRecipe):
        return "\n".join([*lines, f"{recipe.name}: {recipe.steps} steps of {recipe.batch_size} turns"])
    learned = learned_of(scenario, recipe)
    lines.append(
        f"{recipe.name}: {recipe.steps} steps of {recipe.episodes} episodes "
        f"({recipe.questions} questions x {recipe.plans} plans x {recipe.executions} executions); "
        f"{', '.join(learned) or 'nobody'} learn{'s' * (len(learned) < 2)}; credit {recipe.credit}"
    )
    parts, facts = plan(scenario, recipe)
    parts = [part for part in parts if part.size]
    lines.append(facts)
    for part in parts:
        when = f", while {part.during}" if part.during else ""
        where = ", in the host's memory" if part.host else ""
        lines.append(f"  {part.size / GIB:9.3f} GiB  {part.name}{when}{where}")
    device = _device(recipe)
    apart = 0.0 if "cpu" in device.lower() else sum(part.size for part in parts if part.host)
    most, during = at_most([part for part in parts if not (apart and part.host)])
    lines.append(f"  {most / GIB:9.3f} GiB  at once, on {device}{f', while {during}' if during else ''}")
    if apart:
        lines.append(f"  {apart / GIB:9.3f} GiB  beside it, in the host's memory")
    if moments := sum(part.size for part in parts if part.optimizer):
        number = DTYPES[recipe.dtype].itemsize
        saved = moments * (1 + number / _moments(recipe))
        lines.append(
            f"  {saved / GIB:9.3f} GiB  on disk for a checkpoint; the last {recipe.keep} and the best are kept (keep)"
        )
    lines.append("to need less, lower the largest first:")
    lines += [f"  {part.name}: {part.lower}" for part in sorted(parts, key=lambda part: -part.size)[:3] if part.lower]
    return "\n".join(lines)


def at_most(parts: Sequence[Part]) -> tuple[float, str]:
    """The bytes of the parts that are there at once, and during what: playing and learning take turns."""
    always = sum(part.size for part in parts if not part.during)
    phases = {during: sum(part.size for part in parts if part.during == during) for during in ("playing", "learning")}
    during = max(phases, key=lambda name: phases[name])
    return always + phases[during], during if phases[during] else ""


def plan(scenario: Scenario, recipe: PpoRecipe) -> tuple[list[Part], str]:
    """The parts of the memory that a recipe's training needs, and a line of facts about its model."""
    roles, team = Rules.of(scenario).agents, Rules.names(scenario)
    config = _config(recipe.backbone)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    whole = sum(p.numel() for p in model.parameters())
    if not recipe.train_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    learned = set(learned_of(scenario, recipe))
    if recipe.lora is not None:
        adapters = tuple(sorted(set(recipe.adapters(roles).values()))) or ("default",)
        model = with_adapters(model, _lora(recipe.lora), adapters, recipe.backbone)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    number = DTYPES[recipe.dtype].itemsize
    reference, critic = (
        bool(learned) and recipe.needs_reference(not learned < set(team)),
        bool(learned) and recipe.critic == "separate",
    )
    copies, learners = 1 + reference + critic, (1 + critic) if learned else 0
    width, layers = int(config.hidden_size), int(config.num_hidden_layers)
    context = _context(config)
    length = min(context, _longest(scenario, recipe, team, context))
    master = 4 if number < 4 else 0
    adapters_only = recipe.lora is not None
    own = trained if adapters_only else 0
    # each adapter has rows of its own, and so has the model as it began where it plays those who do not learn
    caches = max(1, len(set(recipe.adapters(roles).values()))) * (2 if learned and learned < set(team) else 1)
    smaller = "lora" if recipe.lora is None else "lora.rank, lora.modules"
    parts = [
        Part(
            f"weights ({copies} x {whole / 1e6:.1f} M x {number} bytes)",
            (copies * whole + learners * own) * number,
            _fewer_weights(number == 4, reference and learned == set(team), critic),
        ),
        Part(
            f"gradients ({trained / 1e6:.1f} M{', of one model at a time' * (learners > 1)})",
            trained * number * bool(learners),
            smaller,
            "learning",
        ),
        Part(
            "float32 gradients and what AdamW makes of them, a part at a time",
            _stepping(model, trained) * bool(learners and master and not recipe.offload),
            "",
            "learning",
        ),
        Part(
            f"optimizer (two moments{' and a float32 copy' * (_moments(recipe) > 8)}"
            f"{f' of {learners} models' * (learners > 1)})",
            learners * trained * _moments(recipe),
            smaller if recipe.offload else f"offload=true (into the host's memory), {smaller}",
            host=recipe.offload,
            optimizer=True,
        ),
        Part(
            f"key-value cache ({f'{caches} x ' * (caches > 1)}{recipe.slots} slots x {length} tokens)",
            float(caches * recipe.slots * length * _cached(config) * number),
            "slots, max_prompt",
            "playing",
        ),
        *(_of_passes(recipe, config, length) if learned else ()),
        *_others(scenario, recipe, length),
    ]
    learn = trained if learned else 0
    facts = f"{recipe.backbone}: {layers} layers of width {width}, {whole / 1e6:.1f} M parameters, {learn / 1e6:.1f} M learn"
    return parts, facts


def _of_passes(recipe: PpoRecipe, config: Any, length: int) -> list[Part]:
    """What a forward and a backward pass hold, of turns of at most `length` tokens."""
    number, width, layers = DTYPES[recipe.dtype].itemsize, int(config.hidden_size), int(config.num_hidden_layers)
    a_layer = float(recipe.token_budget * kept_by_a_layer(config) * number)
    activations = a_layer * layers
    if recipe.gradient_checkpointing:
        activations = a_layer + recipe.token_budget * width * number * layers
    widest = min(recipe.token_budget, _context(config), length + max(length, width // 2))
    mask = float(recipe.token_budget * widest * (number + MASK)) if recipe.plans * recipe.executions > 1 else 0.0
    logits = min(recipe.token_budget, 2**26 // config.vocab_size) * config.vocab_size * LOGITS
    more = "" if recipe.gradient_checkpointing else ", or gradient_checkpointing=true"
    return [
        Part(f"activations ({recipe.token_budget} tokens)", activations, f"token_budget{more}", "learning"),
        Part("attention mask of prompts that several rows answer", mask, "token_budget, max_prompt", "learning"),
        Part("logits of output tokens", float(logits), "token_budget", "learning"),
    ]


def _context(config: Any) -> int:
    """The most tokens that a model reads at once, 2,048 where it does not say."""
    return int(getattr(config, "max_position_embeddings", 0) or 2048)


def _moments(recipe: PpoRecipe) -> int:
    """Bytes of an optimizer for each weight: two moments, and a float32 copy of what is shorter or lies elsewhere."""
    return 12 if DTYPES[recipe.dtype].itemsize < 4 or recipe.offload else 8


def _stepping(model: Any, trained: int) -> float:
    """Bytes beside the weights while float32 copies step: the gradients of a part, and two intermediates of AdamW."""
    largest = max(int(p.numel()) for p in model.parameters() if p.requires_grad)
    return 4.0 * 3 * min(trained, max(PART, largest))


def _fewer_weights(whole: bool, reference: bool, critic: bool) -> str:
    """What makes the weights less, of what is not done yet."""
    ways = {"dtype=bf16": whole, "kl 0 for all agents saves the reference": reference, "critic: head or none": critic}
    return "; ".join([*(way for way, helps in ways.items() if helps), "a smaller backbone"])


def kept_by_a_layer(config: Any) -> int:
    """How many numbers a layer of a model with such a configuration keeps for the backward pass of each token.

    An MLP whose width is not given is taken for four times as wide as the model.
    """
    width = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width)
    return KEPT[0] * width + KEPT[1] * inner


def _cached(config: Any) -> int:
    """How many numbers a token takes in the key-value cache."""
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return int(config.num_hidden_layers) * 2 * heads * head


def _others(scenario: Scenario, recipe: PpoRecipe, length: int) -> list[Part]:
    """The other language models of the team, each as one part."""
    number = DTYPES[recipe.dtype].itemsize
    specs, learned = specs_of(scenario, recipe), learned_of(scenario, recipe)
    parts = []
    for spec in sorted({spec for spec in specs.values() if spec.startswith(LANGUAGE_MODEL)}):
        place = backbone_named(spec, recipe)
        config = _config(place)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        size = sum(p.numel() for p in model.parameters())
        learns = any(specs[agent] == spec for agent in learned)
        moments = float(size * _moments(recipe) * learns)
        cache = float(recipe.slots * length * _cached(config) * number)
        said = f"{place}, which {'learns' if learns else 'plays'} beside it ({size / 1e6:.1f} M"
        weights = float(size * number * (1 + learns))
        parts.append(Part(f"{said}, with its cache)", weights + cache, "a smaller model, slots"))
        parts.append(Part(f"{said}): its optimizer", moments, "a smaller model", host=recipe.offload, optimizer=True))
    return parts


def _longest(scenario: Scenario, recipe: PpoRecipe, team: Mapping[str, Sequence[str]], context: int) -> int:
    """The most tokens that a turn of any agent may have, read and written."""
    longest = 0
    for names in team.values():
        card = next(scenario.cards[name] for name in names if name in scenario.cards)
        longest = max(longest, (said_of(names, recipe.max_prompt) or context) + card.max_tokens)
    return longest


def _lora(settings: LoraSettings) -> Lora:
    return Lora(settings.rank, settings.alpha, settings.modules)


def _device(recipe: PpoRecipe) -> str:
    if recipe.device != "auto":
        return recipe.device
    return "the GPU" if torch.cuda.is_available() else "the CPU"


def _config(backbone: str) -> Any:
    place = located(backbone, "backbone")
    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=backbone in KNOWN)
    except (OSError, ValueError) as error:
        if backbone in KNOWN:
            return Qwen2Config(**KNOWN[backbone], max_position_embeddings=32_768)
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"backbone: {backbone}: its configuration cannot be read: {first}") from None
