"""The rules of the game, in pure Python: workflows, outputs, trace, rewards, and `episode`, the rule book."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("episode", "outputs", "prompts", "rewards", "trace", "view", "workflow"):
        return import_module(f"jade_env.game.{name}")
    raise AttributeError(f"module 'jade_env.game' has no attribute {name!r}")
