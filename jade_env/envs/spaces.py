"""Spaces: prompts as a Gymnasium space that takes any Unicode, and the Box/Discrete spaces of discrete mode."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from gymnasium import spaces

from jade_env.envs.encoding import Encoder
from jade_env.scenario import Mode

MAX_TEXT = 1_000_000
"""Longest prompt or output in characters; longer outputs are cut before they are read."""
_PRINTABLE = np.array(sorted(string.ascii_letters + string.digits + string.punctuation + " "))


class Prompt(str):
    """A text observation: a plain `str` that also has the `dtype` PettingZoo's tests read."""

    dtype = np.dtype(str)
    __slots__ = ()


class AnyText(spaces.Text):
    """Text of any Unicode up to `max_length` characters. `sample` draws printable ASCII from the seeded generator."""

    def __init__(self, max_length: int = MAX_TEXT) -> None:
        super().__init__(max_length=max_length, min_length=0, charset="".join(_PRINTABLE))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random printable text."""
        length = int(self.np_random.integers(0, 64))
        return "".join(self.np_random.choice(_PRINTABLE, size=length))

    def __eq__(self, other: object) -> bool:
        """Spaces of the same length are equal."""
        return isinstance(other, AnyText) and self.max_length == other.max_length

    def __repr__(self) -> str:
        return f"AnyText({self.max_length})"


def observation_space(encoder: Encoder, mode: Mode) -> spaces.Space[Any]:
    """The observation space of an agent in a mode."""
    if mode == "text":
        return AnyText()
    return spaces.Dict(
        observation=spaces.Box(-1.0, 1.0, (encoder.size,), np.float32),
        action_mask=spaces.Box(0, 1, (encoder.actions,), np.int8),
    )


def action_space(encoder: Encoder, mode: Mode) -> spaces.Space[Any]:
    """The action space of an agent in a mode."""
    return AnyText() if mode == "text" else spaces.Discrete(encoder.actions)


def state_space(encoder: Encoder) -> spaces.Box:
    """The space of `state()`."""
    return spaces.Box(-1.0, 1.0, (encoder.state_size,), np.float32)
