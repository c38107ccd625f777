"""The words of a text as the lexical indexes see them: lower case, two letters at least, stopwords, stems. Knows no index."""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable
from types import ModuleType

WORD = re.compile(r"\b\w\w+\b")
_ABSENT = object()
_IMPORTING = threading.Lock()


@functools.cache
def bm25s_alone() -> ModuleType:
    """`bm25s` without JAX, which it would start as it is imported: that takes three quarters of a GPU's memory.

    Nobody in the process gets its JAX backend then. While it is imported, another thread cannot import `jax`.
    """
    with _IMPORTING:
        jax = sys.modules.get("jax", _ABSENT)
        sys.modules["jax"] = None  # type: ignore[assignment]  # what makes an import fail
        try:
            import bm25s
        finally:
            if jax is _ABSENT:
                del sys.modules["jax"]
            else:
                sys.modules["jax"] = jax  # type: ignore[assignment]
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
