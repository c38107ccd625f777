"""What an answer is worth: both rules against independent definitions, the recorded rows, and lists."""

from __future__ import annotations

import collections
import json
import math
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jade_env.errors import ConfigError, DataError
from jade_env.metrics import Scores, is_yes_no, list_score, normalize, score, support_recall

WORDS = [
    "the",
    "a",
    "The",
    "An",
    "yes",
    "No",
    "no.",
    "noanswer",
    "Paris",
    "paris",
    "new-york",
    "U.S.",
    "é",
    "–",
    "'",
    "1,5",
]
ANSWERS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
METRICS = ("em", "f1", "precision", "recall", "cover_em")


# SQuAD's published definition, with HotpotQA's rule for yes, no and noanswer, written down anew.
def published_normalize(text: str) -> str:
    without = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", without).split())


def published_f1(prediction: str, gold: str) -> float:
    a, b = published_normalize(prediction), published_normalize(gold)
    if a != b and {a, b} & {"yes", "no", "noanswer"}:
        return 0.0
    if not a or not b:
        return float(a == b)
    same = (collections.Counter(a.split()) & collections.Counter(b.split())).total()
    return 2 * same / (len(a.split()) + len(b.split()))


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4))
@example("Yes, it is", ["yes"])
@example("no", ["no", "Norway"])
@example("the", ["A"])
def test_standard_is_the_published_definition(prediction: str, golds: list[str]) -> None:
    scores = score(prediction, golds)
    assert scores.em == max(published_normalize(prediction) == published_normalize(gold) for gold in golds)
    assert scores.f1 == pytest.approx(max(published_f1(prediction, gold) for gold in golds))
    assert normalize(prediction) == published_normalize(prediction)


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4))
def test_every_standard_metric_is_a_share_and_an_exact_answer_has_them_all(prediction: str, golds: list[str]) -> None:
    scores = score(prediction, golds)
    values = [getattr(scores, metric) for metric in METRICS]
    assert all(0 <= value <= 1 for value in values)
    assert scores.em == 0 or values == [1.0] * 5


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=4))
def test_any_string_has_a_jade_code_score(prediction: str, golds: list[str]) -> None:
    scores = score(prediction, golds, "jade_code")
    assert all(0 <= getattr(scores, metric) <= 1 for metric in METRICS)
    assert scores.cover_em >= scores.em


def test_jade_code_equals_every_recorded_row(shared_data: Path) -> None:
    different = []
    for line in (shared_data / "parity" / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        scores = score(row["prediction"], row["golds"], "jade_code")
        if any(getattr(scores, metric) != (row["em"] if row[metric] is None else row[metric]) for metric in METRICS):
            different.append((row, scores))
    assert not different


@pytest.mark.parametrize(
    ("prediction", "golds", "expected"),
    [
        # prediction, golds, (em, f1, precision, recall, cover_em) by the rule "jade_code"
        ("The OSLO.", ["Oslo"], (1, 1, 1, 1, 1)),
        ("Oslo & Bergen", ["Oslo"], (0, 2 / 3, 1 / 2, 1, 1)),
        ("Saint-Denis", ["Saint Denis"], (1, 1, 1, 1, 1)),
        ("1914\u20131918", ["1914-1918"], (1, 1, 1, 1, 1)),
        ("O\u2019Brien", ["O'Brien"], (1, 1, 1, 1, 1)),
        ("\u201cHamlet\u201d\u2026", ["Hamlet"], (1, 1, 1, 1, 1)),
        ("5 \u00d7 3", ["5 3"], (0, 4 / 5, 2 / 3, 1, 0)),
        ("\u00e9", ["e"], (0, 0, 0, 0, 0)),
        ("misleading", ["lead"], (0, 0, 0, 0, 1)),
        ("I don't know", ["no"], (0, 0, 0, 0, 1)),
        ("no", ["no"], (1, 1, 1, 1, 1)),
        ("No.", ["yes"], (0, 0, 0, 0, 0)),
        ("no idea", ["no"], (0, 2 / 3, 1 / 2, 1, 1)),
        ("noanswer", ["no"], (0, 0, 0, 0, 0)),
        ("no", ["Norway", "NO"], (1, 1, 1, 1, 1)),
        ("", ["Oslo"], (0, 0, 0, 0, 0)),
        # each metric has its own best gold: precision 1 by the first, recall 1 by the second
        ("red big car", ["the big red car that he sold", "car"], (0, 2 * 3 / 9, 1, 1, 1)),
    ],
)
def test_jade_code_on_rows_made_by_hand(prediction: str, golds: list[str], expected: tuple[float, ...]) -> None:
    scores = score(prediction, golds, "jade_code")
    assert [getattr(scores, metric) for metric in METRICS] == pytest.approx(expected)


def test_standard_takes_precision_and_recall_of_the_gold_with_the_best_f1() -> None:
    scores = score("red big car", ["the big red car that he sold", "car"])
    assert (scores.f1, scores.precision, scores.recall) == pytest.approx((2 * 3 / 9, 1, 1 / 2))


def test_the_rules_differ_on_punctuation_inside_a_word() -> None:
    assert score("Saint Denis", ["Saint-Denis"], "standard").em == 0
    assert score("Saint Denis", ["Saint-Denis"], "jade_code").em == 1


def test_standard_cover_em_wants_whole_words() -> None:
    assert score("It was Oslo, I think.", ["Oslo"]).cover_em == 1
    assert score("misleading", ["lead"]).cover_em == 0
    assert score("I don't know", ["no"]).cover_em == 0
    assert score("anything", ["the"]).cover_em == 0


def test_an_exact_answer_among_several_golds_is_worth_everything() -> None:
    assert score("USA", ["United States", "the U.S.A."]) == Scores(1.0, 1.0, 1.0, 1.0, 1.0)


def test_scoring_without_gold_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="'Oslo' cannot be scored without a gold answer"):
        score("Oslo", [])


def test_a_bare_string_of_golds_is_refused() -> None:
    with pytest.raises(ConfigError, match="give a list"):
        score("Oslo", "Oslo")
    with pytest.raises(ConfigError, match="give a list"):
        list_score("Oslo", "Oslo")


def test_unknown_rules_are_named() -> None:
    with pytest.raises(ConfigError, match="'squad' is not one of standard, jade_code"):
        score("Oslo", ["Oslo"], "squad")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'half' is not one of f1, squared, all"):
        list_score("Oslo", ["Oslo"], "half")  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "expected"), [("Yes.", True), (" NO ", True), ("no idea", False), ("", False)])
def test_yes_and_no_are_known_whatever_their_form(text: str, expected: bool) -> None:
    assert is_yes_no(text) is expected


def test_support_recall_is_the_share_of_gold_passages_found() -> None:
    assert support_recall(["3", "1", "9"], ["1", "2"]) == 0.5
    assert support_recall([], ["1"]) == 0.0
    assert support_recall(["1", "1"], ["1", "1"]) == 1.0
    assert math.isnan(support_recall(["1"], []))


CITIES = ("Oslo", "Bergen", "Hamar", "Moss")


@pytest.mark.parametrize(
    ("prediction", "f1", "squared", "everything"),
    [
        ("Oslo, Bergen, Hamar, Moss", 1, 1, 1),
        ("moss and hamar and OSLO, and the Bergen.", 1, 1, 1),
        ("Oslo, Bergen", 2 / 3, 1 / 4, 0),
        ("Oslo, Oslo, Oslo, Oslo", 1 / 4, 1 / 16, 0),
        ("Oslo, Bergen, Hamar, Moss, Narvik", 8 / 9, 16 / 25, 0),
        ("Narvik", 0, 0, 0),
        ("", 0, 0, 0),
        (", and ,", 0, 0, 0),
    ],
)
def test_a_list_is_scored_by_its_items(prediction: str, f1: float, squared: float, everything: float) -> None:
    scores = [list_score(prediction, CITIES, rule) for rule in ("f1", "squared", "all")]
    assert scores == pytest.approx([f1, squared, everything])


def test_half_a_list_is_worth_a_quarter_unless_asked_otherwise() -> None:
    assert list_score("Oslo", ["Oslo", "Bergen"]) == 0.25


def test_an_item_that_stands_twice_must_be_named_twice() -> None:
    assert list_score("Oslo", ["Oslo", "Oslo"], "all") == 0
    assert list_score("Oslo and Oslo", ["Oslo", "Oslo"], "all") == 1


def test_an_item_with_and_in_it_is_one_item() -> None:
    golds = ["Tobago", "Trinidad and Tobago", "Paris, Texas"]
    assert list_score("Paris, Texas, Trinidad and Tobago, Tobago", golds, "all") == 1
    assert list_score("Trinidad and Tobago", golds) == pytest.approx(1 / 9)


def test_a_list_without_gold_items_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="without gold items"):
        list_score("Oslo", [])
    with pytest.raises(DataError, match="'!' is empty once normalised"):
        list_score("Oslo", ["!"])


def test_an_item_that_is_a_word_which_normalising_drops_is_an_item() -> None:
    assert list_score("vitamins", ["A", "C"]) == 0
    assert list_score("a and C", ["A", "C"], "all") == 1
    assert list_score("C, ...", ["C"], "all") == 1, "what has no letter is no item"


@given(ANSWERS, st.lists(st.sampled_from(CITIES), min_size=1, max_size=4))
def test_the_order_of_a_list_does_not_matter(extra: str, items: list[str]) -> None:
    for rule in ("f1", "squared", "all"):
        one = list_score(", ".join([*items, extra]), items, rule)
        other = list_score(", ".join([extra, *reversed(items)]), sorted(items), rule)
        assert one == other
        assert 0 <= one <= 1


def test_a_huge_prediction_is_scored_in_a_moment() -> None:
    start = time.perf_counter()
    for text in (" " * 100_000, "and " * 25_000, "a," * 50_000, "a\u0301" * 50_000):
        score(text, ["Oslo", "yes"])
        score(text, ["Oslo", "yes"], "jade_code")
        list_score(text, CITIES)
    assert time.perf_counter() - start < 5


def test_an_item_may_have_several_spellings_and_is_matched_once() -> None:
    items = [("605,000", "605 thousand", "605000"), "Oslo"]
    for said in ("605,000 and Oslo", "Oslo, 605 thousand", "605000, Oslo"):
        assert list_score(said, items) == 1.0
    assert list_score("605,000, 605 thousand", items) == 0.25  # one of two, however often
    assert list_score("605 hundred, Oslo", items) == 0.25
    with pytest.raises(DataError, match="a gold list item has no spelling"):
        list_score("Oslo", ["Oslo", ()])
