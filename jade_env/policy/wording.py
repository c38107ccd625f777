"""Small things scripted policies do with words: fill in `#k`, say a question otherwise, find its content words.

Knows no gold, no candidate and no state of a game.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jade_env.game.workflow import substitute

PLACE = re.compile(r"#(\d+)")
"""`#k`: the answer of step k."""
_TRIPLE = re.compile(r"\s*>>\s*")
_WORD = re.compile(r"\w+")
EMPTY_WORDS = frozenset(
    _WORD.findall(
        "a an the of in on at by for from to with and or as but is are was were be been do does did has have had it its"
        " he his she her they their this that these those there what which who whom whose when where why how many much"
        " both same into than between also not"
    )
)
"""Words that say nothing about what is asked for."""


def words(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say something; places for answers are none."""
    return frozenset(words(PLACE.sub(" ", text))) - EMPTY_WORDS


def fill(text: str, answers: Sequence[tuple[str, str]]) -> str:
    """`text` with each `#k` replaced by the k-th answer, where there is one."""
    return substitute(text, [answer for _, answer in answers])


def sendable(text: str) -> str:
    """`text` without halves of surrogate pairs, which JSON may hold and no encoding can say."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def reworded(text: str) -> str:
    """The same question in other words, as a query or sub-question must differ from the one it replaces."""
    plain = _TRIPLE.sub(" ", text).rstrip("? ")
    return plain if plain and plain != text else f"{text}?"
