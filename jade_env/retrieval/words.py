"""The words of a text as the lexical indexes see them: lower case, two letters at least, stopwords, stems. Knows no index."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from types import ModuleType

WORD = re.compile(r"\b\w\w+\b")


@functools.cache
def bm25s_alone() -> ModuleType:
    """`bm25s` without JAX, which it tries out as it is imported: that would take three quarters of a GPU's memory."""
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    return bm25s  # type: ignore[no-any-return]


@functools.cache
def english_stopwords() -> frozenset[str]:
    """The English stopwords of `bm25s`."""
    bm25s_alone()
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)


@functools.cache
def english_stemmer() -> Callable[[str], str]:
    """The Snowball English stemmer."""
    import Stemmer

    stem: Callable[[str], str] = Stemmer.Stemmer("english").stemWord
    return stem


def unchanged(word: str) -> str:
    """A stemmer that leaves words as they are."""
    return word
