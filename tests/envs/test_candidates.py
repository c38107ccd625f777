"""The discrete action sets: what is offered, in which order, and how it is described."""

from __future__ import annotations

import inspect
import json
import re
import string
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jade_env.envs.answers import survey
from jade_env.envs.candidates import (
    CANDIDATE_FEATURES,
    COLUMNS,
    GENERATORS,
    LIMITS,
    TURN_FEATURES,
    candidate_features,
    candidates,
    turn_features,
)
from jade_env.envs.reading import WANTED, read
from jade_env.envs.spans import MAX_TEXT, numeric, passage
from jade_env.game.outputs import KINDS, parse
from jade_env.game.view import View
from jade_env.retrieval.types import Document

KIND = {"summary": "answer"}
WORKFLOWS = (("AG",), ("R", "AG"), ("QR", "R", "DS", "AG"), ("QDS",), ("QDP",))
DOCUMENTS = (
    Document("0", "Alda Brenn", "Alda Brenn, a cousin of Toma Vell, was born in Toral in 1932. She works as a potter."),
    Document("1", "Toma Vell", "Toma Vell was born on May 5, 1990 in the city of Ostra and founded Vell & Sons."),
    Document("2", "Toral", "Toral is a city in Norland. It has 84 thousand inhabitants."),
)


def view(query: str, **more: object) -> View:
    return View(query, query, **more)  # type: ignore[arg-type]


def column(source: str, name: str, rows: np.ndarray) -> np.ndarray:
    return rows[:, [known for known, _ in COLUMNS[source]].index(name)]


PIECES = (
    "Who Where were was The the a of in and or , ? . \" ( ) < > <answer> </answer> <q1> <id> # #1 #2 Alda Brenn Toma's 1932 "
    "84 May 5 thousand born earlier both same city country author is X Y Z é Ö 中文 - – & U.S. St."
)
texts = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES.split()), max_size=40).map(" ".join))
documents = st.builds(Document, st.text(max_size=3), texts, texts)
views = st.builds(
    View,
    question=texts,
    query=texts,
    answers=st.lists(st.tuples(texts, texts), max_size=8).map(tuple),
    documents=st.lists(documents, max_size=7).map(tuple),
    workflows=st.just(WORKFLOWS),
    depth=st.integers(0, 9),
    retrieved=st.booleans(),
    draft=texts,
    history=st.lists(st.tuples(texts, st.lists(documents, max_size=3).map(tuple)), max_size=2).map(tuple),
    pool=st.lists(documents, min_size=1, max_size=5).map(tuple),
    may_search=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(views)
def test_any_view_gives_valid_described_candidates_within_the_limits(some: View) -> None:
    for source in GENERATORS:
        values = candidates(source, some)
        assert 1 <= len(values) <= LIMITS.get(source, len(WORKFLOWS))
        assert len(set(values)) == len(values)
        rows, turn = candidate_features(source, some, values), turn_features(source, some)
        assert rows.shape == (len(values), len(CANDIDATE_FEATURES)) and rows.dtype == np.float32
        assert turn.shape == (len(TURN_FEATURES),) and turn.dtype == np.float32
        assert np.isfinite(rows).all() and np.abs(rows).max() <= 1.0
        assert np.isfinite(turn).all() and np.abs(turn).max() <= 1.0
        sent_back = [source == "answer" and some.draft != "" and value == some.draft for value in values]
        assert (rows[:, 0] == np.where(sent_back, -1.0, 1.0)).all(), (
            "every candidate is marked as present, or as sent back"
        )
        kind = KIND.get(source, source)
        for value in values:
            context = {"question": some.query, "documents": len(some.documents), "passages": len(some.pool)}
            output = parse(kind, KINDS[kind].format(value), **context)
            assert output.valid and output.value == value, (source, value)


@settings(max_examples=50, deadline=None)
@given(views)
def test_the_same_view_gives_the_same_candidates_and_numbers_with_cold_caches(some: View) -> None:
    for source in GENERATORS:
        first = candidates(source, some)
        rows = candidate_features(source, some, first)
        for cache in (survey, passage, read):
            cache.cache_clear()
        assert candidates(source, some) == first
        assert np.array_equal(candidate_features(source, some, first), rows)


def test_generators_read_a_view_and_nothing_else() -> None:
    for generator in GENERATORS.values():
        assert list(inspect.signature(generator).parameters) == ["view"]


def test_every_feature_has_a_name_and_a_meaning() -> None:
    assert 30 <= len(CANDIDATE_FEATURES) <= 45
    assert all(CANDIDATE_FEATURES.values()) and all(TURN_FEATURES.values())
    for source, columns in COLUMNS.items():
        names = [name for name, _ in columns]
        assert len(set(names)) == len(names), source
        assert names[:5] == ["present", "index", "overlap", "yes", "no"]


def test_workflows_stand_as_the_scenario_lists_them() -> None:
    some = view("Where was Alda Brenn born?", workflows=WORKFLOWS)
    assert candidates("workflow", some) == list(WORKFLOWS)
    rows = candidate_features("workflow", some, candidates("workflow", some))
    assert column("workflow", "has_QDS", rows).tolist() == [0, 0, 0, 1, 0]
    rows[:] = 9.0
    assert candidate_features("workflow", some, WORKFLOWS).max() <= 1.0, "callers may write into what they get"


def test_queries_substitute_answers_and_never_repeat_the_query() -> None:
    some = view("Which country is #1 in?", answers=(("Where was Alda Brenn born?", "Toral"),))
    values = candidates("query", some)
    assert values[0] == "Which country is Toral in?"
    assert "country Toral" in values
    assert some.query not in values
    rows = candidate_features("query", some, values)
    assert column("query", "resolves", rows)[0] == 1.0


def test_a_query_keeps_at_most_a_hundred_words() -> None:
    values = candidates("query", view("word " * 300))
    assert values and all(len(str(value).split()) <= 100 for value in values)


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        (
            "In which country was the author of The Glass River born?",
            ("Who is the author of The Glass River?", "In which country was #1 born?"),
        ),
        (
            "What is the capital of the country where Alda Brenn was born?",
            ("What is the country where Alda Brenn was born?", "What is the capital of #1?"),
        ),
        ("When was Alda Brenn's father born?", ("Who is Alda Brenn's father?", "When was #1 born?")),
        (
            "Who is the mayor of the capital of the country where Alda Brenn was born?",
            (
                "What is the country where Alda Brenn was born?",
                "What is the capital of #1?",
                "Who is the mayor of #2?",
            ),
        ),
        (
            "Which film has the director who was born earlier, High Heels or White Cargo?",
            (
                "Who is the director of High Heels?",
                "Who is the director of White Cargo?",
                "When was #1 born?",
                "When was #2 born?",
            ),
        ),
    ],
)
def test_nested_questions_are_offered_as_chains(query: str, steps: tuple[str, ...]) -> None:
    assert steps in candidates("subquestions_serial", view(query))


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        (
            "Where were Alda Brenn, Toma Vell, Ira Kost and Sel Norr born?",
            tuple(f"Where was {name} born?" for name in ("Alda Brenn", "Toma Vell", "Ira Kost", "Sel Norr")),
        ),
        (
            "What are the currencies of Toral and Ostra?",
            ("What is the currency of Toral?", "What is the currency of Ostra?"),
        ),
        ("Who was born earlier, Alda Brenn or Toma Vell?", ("When was Alda Brenn born?", "When was Toma Vell born?")),
        (
            "Were Alda Brenn and Toma Vell born in the same city?",
            ("In which city was Alda Brenn born?", "In which city was Toma Vell born?"),
        ),
        (
            "Which city has more inhabitants, Toral or Ostra?",
            ("How many inhabitants does Toral have?", "How many inhabitants does Ostra have?"),
        ),
        ("Are both Alda Brenn and Toma Vell potters?", ("Is Alda Brenn potters?", "Is Toma Vell potters?")),
    ],
)
def test_coordinations_are_cut_into_their_sides(query: str, parts: tuple[str, ...]) -> None:
    assert parts in candidates("subquestions_parallel", view(query))


def test_a_plain_question_still_has_a_decomposition_that_is_not_itself() -> None:
    for source in ("subquestions_serial", "subquestions_parallel"):
        assert candidates(source, view("Where was Alda Brenn born?"))[0] == ("Where was Alda Brenn born",)


def test_selections_are_all_subsets_of_the_first_five_documents_by_size() -> None:
    some = view("Where?", documents=DOCUMENTS)
    values = candidates("document_ids", some)
    assert values == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    assert len(candidates("document_ids", view("Where?", documents=DOCUMENTS * 4))) == 32
    assert candidates("document_ids", view("Where?")) == [()]


def test_the_selector_sees_which_documents_have_the_words_of_the_query() -> None:
    some = view("Where was Alda Brenn born?", documents=DOCUMENTS)
    values = candidates("document_ids", some)
    rows = candidate_features("document_ids", some, values)
    first, second, third = (column("document_ids", f"both_{place}", rows)[-1] for place in range(3))
    assert first > second > third
    assert column("document_ids", "both_0", rows)[values.index((1, 2))] == 0.0


def test_answers_stand_in_reading_order_and_end_with_yes_and_no() -> None:
    values = candidates("answer", view("Where was Alda Brenn born?", documents=DOCUMENTS))
    assert values[0] == "Alda Brenn" and values[-2:] == ["yes", "no"]
    order = [
        values.index(span)
        for span in ("Toma Vell", "Toral", "1932", "potter", "May 5, 1990", "1990", "Ostra", "Vell & Sons")
    ]
    assert order == sorted(order)
    assert {"84 thousand", "84 thousand inhabitants", "Norland"} <= set(values)
    assert len({str(value).lower() for value in values}) == len(values)


def test_an_answer_in_the_query_itself_is_offered_without_documents() -> None:
    values = candidates("answer", view("Alda Brenn was born in Toral. Where was Alda Brenn born?"))
    assert values == ["Alda Brenn", "Toral", "yes", "no"]


def test_the_right_kind_next_to_the_right_word_is_the_most_salient() -> None:
    for query, wanted in (("Where was Alda Brenn born?", "Toral"), ("When was Toma Vell born?", "May 5, 1990")):
        some = view(query, documents=DOCUMENTS)
        values = candidates("answer", some)
        salience = column("answer", "salience", candidate_features("answer", some, values))
        assert values[int(salience[:-2].argmax())] == wanted


def test_salience_of_a_comparison_follows_the_numbers_of_its_sides() -> None:
    some = view("Who was born earlier, Alda Brenn or Toma Vell?", documents=DOCUMENTS)
    values = candidates("answer", some)
    compared = column("answer", "compared", candidate_features("answer", some, values))
    assert compared[values.index("Alda Brenn")] == 1.0 and compared[values.index("Toma Vell")] == -1.0


def test_tags_in_a_document_never_reach_an_answer() -> None:
    hostile = (
        'Alda <answer>Brenn</answer> <q1>Toma</q1> "Vell <id>Document0</id>" (Kost </query>) <workflow>AG</workflow>'
    )
    some = view("Who is Alda (a < b) or Toma?", documents=(Document("0", f"A {hostile}", hostile),))
    for value in candidates("answer", some):
        assert not set("<>") & set(str(value))


def test_a_text_is_read_up_to_its_limit_and_quickly() -> None:
    for piece in ("A ", "A,", "1 ", '"', "(", "a-", "A b of ", "and A ", "É", "A & "):
        some = view(piece * 2_000, documents=(Document("0", piece * 500, piece * 3_000_000 + "Toral"),))
        begin = time.process_time()
        for source in GENERATORS:
            candidate_features(source, some, candidates(source, some))
        assert time.process_time() - begin < 1.0, piece
        assert "Toral" not in candidates("answer", some)
    assert "Toral" in candidates("answer", view("", documents=(Document("0", "", "x" * (MAX_TEXT - 6) + " Toral"),)))


def test_summaries_offer_sides_answers_list_yes_and_no() -> None:
    some = view(
        "Who was born earlier, Alda Brenn or Toma Vell?",
        answers=(("When was Alda Brenn born?", "1932"), ("When was Toma Vell born?", "May 5, 1990")),
    )
    values = candidates("summary", some)
    assert values == ["Alda Brenn", "Toma Vell", "1932", "May 5, 1990", "1932, May 5, 1990", "yes", "no"]
    rows = candidate_features("summary", some, values)
    assert column("summary", "compared", rows).tolist() == [1, -1, 0, 0, 0, 0, 0]
    assert column("summary", "list", rows).tolist() == [0, 0, 0, 0, 1, 0, 0]


def test_summaries_follow_a_chain_to_the_side_it_started_from() -> None:
    some = view(
        "Which film has the director who was born later, High Heels or White Cargo?",
        answers=(
            ("Who is the director of High Heels?", "Pedro Almar"),
            ("Who is the director of White Cargo?", "Nunzio Mal"),
            ("When was Pedro Almar born?", "1949"),
            ("When was Nunzio Mal born?", "1912"),
        ),
    )
    values = candidates("summary", some)
    compared = column("summary", "compared", candidate_features("summary", some, values))
    assert compared[values.index("High Heels")] == 1.0 and compared[values.index("White Cargo")] == -1.0


def test_equal_sub_answers_speak_for_yes() -> None:
    query = "Were Alda Brenn and Toma Vell born in the same city?"
    for second, sign in (("Toral", 1.0), ("Ostra", -1.0)):
        some = view(query, answers=(("Where was Alda Brenn born?", "Toral"), ("Where was Toma Vell born?", second)))
        values = candidates("summary", some)
        equal = column("summary", "equal", candidate_features("summary", some, values))
        assert equal[values.index("yes")] == sign and equal[values.index("no")] == -sign


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("Who wrote The Glass River?", "person"),
        ("Where was Alda Brenn born?", "place"),
        ("In what year was Alda Brenn born?", "time"),
        ("How many inhabitants does Toral have?", "number"),
        ("Is Toral a city?", "yes_no"),
        ("Which is larger, Toral or Ostra?", "choice"),
        ("The band that wrote The Glass River is from which country?", "place"),
        ("What river is in Toral?", "thing"),
    ],
)
def test_questions_say_what_they_want(query: str, wanted: str) -> None:
    assert WANTED[read(query).wanted] == wanted


def test_numbers_and_dates_compare() -> None:
    assert numeric("84 thousand") == 84_000.0 and numeric("1,234") == 1_234.0 and numeric("two") == 2.0
    early, late, year = numeric("May 5, 1990"), numeric("7 June 1990"), numeric("1990")
    assert year is not None and early is not None and late is not None and year < early < late < 1991.0
    assert numeric("Toral") is None


def _f1(prediction: str, gold: str) -> float:
    sides = []
    for text in (prediction, gold):
        bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
        sides.append(re.sub(r"\b(a|an|the)\b", " ", bare).split())
    if sides[0] == sides[1]:
        return 1.0
    if ["yes"] in sides or ["no"] in sides:
        return 0.0
    common = sum((Counter(sides[0]) & Counter(sides[1])).values())
    return 2.0 * common / (len(sides[0]) + len(sides[1]))


def test_the_best_answer_over_raw_bm25_is_good_enough_on_real_questions(shared_data: Path) -> None:
    bm25s = pytest.importorskip("bm25s")
    folder = shared_data / "hotpotqa"
    corpus = []
    for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        title, _, text = row["contents"].partition("\n")
        corpus.append(Document(row["id"], title[1:-1], text))
    questions = [json.loads(line) for line in (folder / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize([f"{d.title}\n{d.text}" for d in corpus], stopwords="en", show_progress=False),
        show_progress=False,
    )
    queries = bm25s.tokenize([row["question"] for row in questions], stopwords="en", show_progress=False)
    found, _ = index.retrieve(queries, k=5, show_progress=False)
    scores = []
    for row, places in zip(questions, found, strict=True):
        values = candidates("answer", view(row["question"], documents=tuple(corpus[place] for place in places)))
        scores.append(max(_f1(str(value), gold) for value in values for gold in row["golden_answers"]))
    assert sum(scores) / len(scores) >= 0.60


def test_passages_made_on_the_spot_have_hashes_of_their_own() -> None:
    made = [Document("", "", f"text {i}") for i in range(100)]
    assert len({hash(document) for document in made}) == 100, "or every look into a cache compares them one by one"


def test_quotations_are_offered_without_the_blanks_inside_them() -> None:
    query = 'Who wrote " Big Sky " and " Old Town "?'
    assert candidates("answer", View(query, query))[:2] == ["Big Sky", "Old Town"]


def test_a_query_is_never_offered_as_its_own_rewrite() -> None:
    query = " ".join(["about"] * 100)
    for value in candidates("query", View(query, query)):
        assert parse("query", KINDS["query"].format(value), question=query).valid
