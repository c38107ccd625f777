"""The words of a text as the lexical indexes see them: lower case, two letters at least, stopwords, stems. Knows no index."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

WORD = re.compile(r"\b\w\w+\b")


@functools.cache
def english_stopwords() -> frozenset[str]:
    """The English stopwords of `bm25s`."""
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
