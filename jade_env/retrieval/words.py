"""The words of a text as the lexical indexes see them: lower case, composed, without stopwords, stemmed. Knows no index."""

from __future__ import annotations

import functools
import re
import sys
import threading
import unicodedata
from collections.abc import Callable
from types import ModuleType

# Marks that go on with a word and that `\w` leaves out: accents that stand apart, vowel signs, joiners between letters.
_MARKS = "\u200c\u200d" + "".join(
    chr(code)
    for code in (*range(0x300, 0x2000), *range(0xA800, 0xAC00))
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_WORD = re.compile(r"\w\w+|(?<!\w['’])\w")
_WORD_WITH_MARKS = re.compile(rf"[\w{_MARKS}]{{2,}}|(?<!\w['’])\w")
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


def words_in(text: str) -> list[str]:
    """The words of a text in lower case, one-letter ones too, but not what an apostrophe leaves over (the s of "Ada's")."""
    if text.isascii():
        return _WORD.findall(text.lower())
    return _WORD_WITH_MARKS.findall(unicodedata.normalize("NFC", text.lower()))


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
