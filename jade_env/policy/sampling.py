"""What is asked of a language model and what comes back, as token ids.

Knows no model and no game: whoever generates fills a `Sample` for a `Request`; whoever learns reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jade_env.policy.grammar import Grammar


@dataclass(frozen=True, slots=True)
class Request:
    """One output to be generated.

    Attributes:
        key: names the random stream: token i takes the i-th uniform of `streams.generator("lm", *key)`, so that an
            output depends on the weights, the prompt and the key, and on nothing else that is generated.
        prompt: token ids, at least one.
        max_new: the output is cut after so many tokens, the stop token included.
        grammar: the only outputs that are possible; None: any.
        adapter: which of the backbone's adapters answers; None: as it is.
        stop: the output also ends with the token that completes one of these strings.
        temperature: logits are divided by it before the softmax; above 0.
    """

    key: tuple[int | str, ...]
    prompt: tuple[int, ...]
    max_new: int
    grammar: Grammar | None = None
    adapter: str | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 1.0


def _no_logprobs() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Sample:
    """An output as it was sampled.

    Attributes:
        prompt: token ids.
        output: token ids, the stop token included where there was one.
        logprobs: float32 [N], of each output token under the distribution that it was drawn from, temperature and
            grammar included.
        allowed: for each output token the ids that the grammar allowed, None where it allowed all; () without a grammar.
        value: the value head at the last prompt token.
        text: the output as text, without special tokens.
        stopped: whether it ended by itself; False: it was cut at `max_new`.
        temperature: what the logits were divided by.
    """

    prompt: tuple[int, ...]
    output: tuple[int, ...]
    logprobs: np.ndarray = field(default_factory=_no_logprobs, compare=False)
    allowed: tuple[tuple[int, ...] | None, ...] = ()
    value: float = 0.0
    text: str = ""
    stopped: bool = True
    temperature: float = 1.0
