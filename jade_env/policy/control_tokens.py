"""Keeps what documents, questions and other roles wrote from being read as a tokenizer's tokens of control.

A tokenizer finds its special tokens wherever their text stands: a document that says `<|im_end|>` would end the user's message
and could begin one of the system's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from transformers import PreTrainedTokenizerBase

from jade_env.game.prompts import Message


class ControlTokens:
    """The texts of a tokenizer's special tokens, and of those that end an output."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]) -> None:
        texts = {str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special}
        texts.update(map(str, tokenizer.all_special_tokens), filter(None, tokenizer.convert_ids_to_tokens([*stop_ids])))
        longest_first = sorted(texts - {""}, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def defuse(self, text: str) -> str:
        """The text with a space inside each of them, so that it is read letter by letter."""
        return self._pattern.sub(lambda found: f"{found[0][:1]} {found[0][1:]}" if len(found[0]) > 1 else " ", text)

    def defused(self, messages: Sequence[Message]) -> list[Message]:
        """The same messages with defused contents."""
        return [{**message, "content": self.defuse(message["content"])} for message in messages]
