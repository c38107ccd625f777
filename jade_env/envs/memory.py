"""What the candidates and features remember, so that it can be forgotten at once. It does not know what is remembered.

Everything here is bounded: the functions forget what was used least recently, the tables forget everything when full.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache
from typing import Generic, TypeVar

Value = TypeVar("Value")
TABLE_SIZE = 50_000
LONG_WORD = 40

_FORGET: list[Callable[[], None]] = []


def remember(size: int) -> Callable[[Callable[..., Value]], _lru_cache_wrapper[Value]]:
    """Decorate a function of hashable arguments: its last `size` values are kept until `forget`."""

    def decorate(function: Callable[..., Value]) -> _lru_cache_wrapper[Value]:
        cached = lru_cache(maxsize=size)(function)
        _FORGET.append(cached.cache_clear)
        return cached

    return decorate


class Table(dict[str, Value], Generic[Value]):
    """A memo of a function of one word: `table[word]` computes once. Full, it is emptied; long words are never kept."""

    def __init__(self, function: Callable[[str], Value]) -> None:
        super().__init__()
        self._function = function
        _FORGET.append(self.clear)

    def __missing__(self, word: str) -> Value:
        value = self._function(word)
        if len(word) <= LONG_WORD:
            if len(self) >= TABLE_SIZE:
                self.clear()
            self[word] = value
        return value


def forget() -> None:
    """Empty every memory."""
    for clear in _FORGET:
        clear()
