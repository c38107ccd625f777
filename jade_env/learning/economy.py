"""Where memory is short while a model learns: activations that are computed twice, and what to say when none is left."""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import contextlib
from collections.abc import Iterator

from jade_env.errors import JadeError
from jade_env.policy.backbone import Backbone
from jade_env.policy.generation import out_of_memory

UPDATE = (
    "the update ran out of memory: lower token_budget or the lengths of prompts and outputs, or switch on "
    "gradient_checkpointing, offload or lora"
)
PLAY = "playing ran out of memory: lower slots, or max_prompt"
LOADING = (
    "the models do not fit in memory: take a smaller backbone, dtype=bf16, offload or lora (--dry-run has the plan)"
)


@contextlib.contextmanager
def says_what_to_lower(sentence: str = UPDATE) -> Iterator[None]:
    """Turn running out of memory into a sentence.

    Raises:
        JadeError: it ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise JadeError(sentence) from None


@contextlib.contextmanager
def recomputing(backbone: Backbone | None) -> Iterator[None]:
    """Let layers recompute their activations if they are told to: they do so only in training mode; dropout stays off."""
    modules = [] if backbone is None else list(backbone.causal.modules())
    layers = [m for m in modules if getattr(m, "gradient_checkpointing", False) and not m.training]
    dropped = [
        (m, name) for m in layers for name, rate in vars(m).items() if "drop" in name and isinstance(rate, float)
    ]
    rates = [getattr(layer, name) for layer, name in dropped]
    for layer in layers:
        layer.training = True
    for layer, name in dropped:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        for (layer, name), rate in zip(dropped, rates, strict=True):
            setattr(layer, name, rate)
