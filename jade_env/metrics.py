"""Scores of answers: answer strings and gold strings in, numbers out. Knows no question, no episode and no reward.

Two rules. `standard` is the definition of SQuAD and HotpotQA: lower case, ASCII punctuation deleted, articles and extra
spaces removed, then exact match and token F1; an answer or gold that is just yes, no or noanswer scores 0 unless both
are the same (HotpotQA). `jade_code` is what the code released with the paper computes: dashes, quotes and their
look-alikes are unified first, and punctuation becomes a space instead of vanishing.

| | standard | jade_code |
|---|---|---|
| several golds | F1 of the best gold, precision and recall of that same gold | the best gold for each metric apart |
| yes/no on one side only | F1 0 | plain token F1 |
| yes/no on both sides | all metrics are EM | all metrics are EM |
| cover-EM | a gold stands in the prediction as whole words | as a substring ("lead" is in "leading") |
| both sides empty once normalised | all metrics 1 | EM and cover-EM 1, the others 0 |
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from jade_env.errors import ConfigError, DataError

Rule = Literal["standard", "jade_code"]
ListRule = Literal["f1", "squared", "all"]

_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})
_ARTICLES = frozenset({"a", "an", "the"})
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_LIST_SEPARATOR = re.compile(r",|\band\b", re.IGNORECASE)

_DELETE_PUNCTUATION: Mapping[int, None] = dict.fromkeys(map(ord, string.punctuation))


def _dashes_and_quotes() -> str:
    """Dashes and quotation marks beyond ASCII, by Unicode category; they count as the ASCII signs they resemble."""
    kinds = {"Pd", "Pi", "Pf"}  # dashes, opening and closing quotes
    others = "\u201a\u201e\u2032\u2033\u2212\u00b4\u2026"  # low quotes, primes, minus, acute accent, ellipsis
    return others + "".join(c for c in map(chr, range(0x80, 0x3100)) if unicodedata.category(c) in kinds)


_SPACE_PUNCTUATION: Mapping[int, str] = dict.fromkeys(map(ord, string.punctuation + _dashes_and_quotes()), " ")


class Scores(NamedTuple):
    """What one prediction is worth against its golds; each metric is in [0, 1].

    Attributes:
        em: 1.0 where the normalised prediction equals a gold.
        f1: token F1.
        precision: share of the prediction's tokens that are in the gold.
        recall: share of the gold's tokens that are in the prediction.
        cover_em: 1.0 where the normalised prediction contains a gold.
    """

    em: float
    f1: float
    precision: float
    recall: float
    cover_em: float


class _Answer(NamedTuple):
    """An answer made ready for comparison."""

    text: str
    tokens: list[str]


class _Gold(NamedTuple):
    """A gold answer made ready for comparison; `words` are its tokens, each once."""

    text: str
    tokens: list[str]
    words: frozenset[str]


def normalize(text: str, rule: Rule = "standard") -> str:
    """Return `text` as the rule compares it: lower case, without punctuation, articles and extra spaces."""
    if rule in ("standard", "jade_code"):  # letters and digits alone, as most answers are, need no pattern
        words = text.lower().split()
        bare = "".join(words)
        if bare.isalnum() and bare.isascii():
            return " ".join([word for word in words if word not in _ARTICLES])
    if rule == "standard":
        table: Mapping[int, str | None] = _DELETE_PUNCTUATION
    elif rule == "jade_code":
        table = _SPACE_PUNCTUATION
    else:
        raise ConfigError(f"metrics: rule {rule!r} is not one of standard, jade_code")
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(table)).split())


def is_yes_no(text: str) -> bool:
    """Whether `text`, a gold answer, is yes or no, whatever its capitals and punctuation."""
    return _prepare_gold(text, "standard").text in ("yes", "no")


def score(prediction: str, golds: Sequence[str], rule: Rule = "standard") -> Scores:
    """Score a prediction against its accepted answers by the table at the top of this file.

    Args:
        prediction: the answer given; any string.
        golds: the accepted answers, at least one.
        rule: `standard` or `jade_code`.

    Raises:
        DataError: there is no gold answer.
        ConfigError: `golds` is one bare string, or the rule is unknown.
    """
    if isinstance(golds, str):
        raise ConfigError(f"metrics: golds is the string {golds[:40]!r}; give a list of accepted answers")
    if not golds:
        raise DataError(f"metrics: {prediction[:40]!r} cannot be scored without a gold answer; give at least one")
    text = normalize(prediction, rule)
    answer = _Answer(text, text.split())
    return _SCORERS[rule](answer, [_prepare_gold(gold, rule) for gold in golds])


@lru_cache(maxsize=1 << 16)
def _prepare_gold(gold: str, rule: Rule) -> _Gold:
    """Golds come back every epoch, so they are normalised once."""
    text = normalize(gold, rule)
    tokens = text.split()
    return _Gold(text, tokens, frozenset(tokens))


def _token_scores(answer: _Answer, gold: _Gold) -> tuple[float, float, float]:
    """F1, precision and recall over the bag of tokens."""
    if gold.words.isdisjoint(answer.tokens):
        return 0.0, 0.0, 0.0
    shared = (Counter(answer.tokens) & Counter(gold.tokens)).total()
    precision, recall = shared / len(answer.tokens), shared / len(gold.tokens)
    return 2 * precision * recall / (precision + recall), precision, recall


def _score_standard(answer: _Answer, golds: Sequence[_Gold]) -> Scores:
    """Apply the left column of the table."""
    best = (0.0, 0.0, 0.0)
    covered = False
    text, tokens = answer
    for gold in golds:
        if text == gold.text:
            return Scores(1.0, 1.0, 1.0, 1.0, 1.0)
        if gold.words.isdisjoint(tokens):
            continue  # no F1, and not covered
        covered = covered or f" {gold.text} " in f" {text} "
        if text not in _CLOSED_ANSWERS and gold.text not in _CLOSED_ANSWERS:
            best = max(best, _token_scores(answer, gold))
    return Scores(0.0, *best, 1.0 if covered else 0.0)


def _score_jade_code(answer: _Answer, golds: Sequence[_Gold]) -> Scores:
    """Apply the right column of the table."""
    exact = 1.0 if any(answer.text == gold.text for gold in golds) else 0.0
    if answer.text in _CLOSED_ANSWERS and all(gold.text in _CLOSED_ANSWERS for gold in golds):
        return Scores(exact, exact, exact, exact, exact)
    covered = 1.0 if any(gold.text in answer.text for gold in golds) else 0.0
    f1s, precisions, recalls = zip(*(_token_scores(answer, gold) for gold in golds), strict=True)
    return Scores(exact, max(f1s), max(precisions), max(recalls), covered)


_SCORERS: Mapping[str, Callable[[_Answer, Sequence[_Gold]], Scores]] = {
    "standard": _score_standard,
    "jade_code": _score_jade_code,
}


def support_recall(retrieved_ids: Iterable[str], supporting_ids: Iterable[str]) -> float:
    """Return the share of the supporting passages that were retrieved.

    A question without supporting passages has no such share: the value is nan, to be left out of a mean.
    """
    wanted = set(supporting_ids)
    return len(wanted.intersection(retrieved_ids)) / len(wanted) if wanted else math.nan


def list_score(prediction: str, items: Sequence[str | Sequence[str]], rule: ListRule = "squared") -> float:
    """Score an answer that is a list, such as "Oslo, Bergen and Hamar"; order does not matter.

    The prediction is split at commas and at the word "and"; a gold item that holds one of these itself ("Trinidad and
    Tobago") counts as one. Items are compared normalised (`standard`), and each gold item is matched at most once.

    Args:
        prediction: the answer given; any string.
        items: the gold items, at least one, each as its spelling or its spellings; an item that stands twice must be named twice.
        rule: `f1`, the F1 of the items, where half a list without a mistake is worth 2/3; `squared`,
            (matched / max(gold items, predicted items)) ** 2, where it is worth 1/4; `all`, 1.0 for exactly the gold
            items and 0.0 for anything else.

    Raises:
        DataError: there is no gold item, or one that is empty once normalised.
        ConfigError: `items` is one bare string, or the rule is unknown.
    """
    if isinstance(items, str):
        raise ConfigError(f"metrics: items is the string {items[:40]!r}; give a list of gold items")
    if not items:
        raise DataError(f"metrics: {prediction[:40]!r} cannot be scored without gold items; give at least one")
    matched, predicted = _match_items(prediction, items)
    if rule == "f1":
        return 2 * matched / (predicted + len(items))
    if rule == "squared":
        return (matched / max(predicted, len(items))) ** 2
    if rule == "all":
        return float(matched == predicted == len(items))
    raise ConfigError(f"metrics: list rule {rule!r} is not one of f1, squared, all")


def _split_items(text: str) -> list[str]:
    return [piece for part in _LIST_SEPARATOR.split(text) if (piece := normalize(part) or _article(part))]


def _article(part: str) -> str:
    """An item that is nothing but a word which normalising drops, as in "vitamins A and C"."""
    return part.strip().lower() if any(map(str.isalnum, part)) else ""


@lru_cache(maxsize=1 << 16)
def _gold_pieces(item: str) -> tuple[str, ...]:
    pieces = tuple(_split_items(item))
    if not pieces:
        raise DataError(f"metrics: the gold list item {item!r} is empty once normalised; give it a word")
    return pieces


def _match_items(prediction: str, items: Sequence[str | Sequence[str]]) -> tuple[int, int]:
    """Return how many gold items the prediction names, and how many items it has."""
    predicted: list[str] = _split_items(prediction)
    golds = [(_gold_pieces(i),) if isinstance(i, str) else tuple(map(_gold_pieces, i)) for i in items]
    matched = 0
    for spellings in sorted(golds, key=_widest, reverse=True):
        for pieces in spellings:
            if _take(predicted, pieces):
                matched += 1
                break
    return matched, len(predicted)


def _widest(spellings: tuple[tuple[str, ...], ...]) -> int:
    if not spellings:
        raise DataError("metrics: a gold list item has no spelling; give it at least one")
    return max(map(len, spellings)) if len(spellings) > 1 else len(spellings[0])


def _take(predicted: list[str], pieces: tuple[str, ...]) -> bool:
    """Whether an item is among what was predicted, where it is then one item that is never matched again."""
    first, width = pieces[0], len(pieces)
    if width == 1:
        if first in predicted:
            predicted[predicted.index(first)] = ""
            return True
        return False
    for start in range(len(predicted) - width + 1):
        if predicted[start] == first and tuple(predicted[start : start + width]) == pieces:
            predicted[start : start + width] = [""]
            return True
    return False
