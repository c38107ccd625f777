"""The embedded world: closed, seeded, and as hard as it should be."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from jade_env.errors import ConfigError
from jade_env.questions import Question, words
from jade_env.questions.datasets import (
    document_record,
    question_record,
    read_corpus,
    read_questions,
    write_corpus,
    write_questions,
)
from jade_env.questions.draws import Draws
from jade_env.questions.facts import counts, draw_facts
from jade_env.questions.mixture import KINDS, MIXTURE
from jade_env.questions.relations import RELATIONS, chains
from jade_env.questions.wordings import WORDINGS
from jade_env.questions.world import World, WorldSpec, deal, make_world, vocabulary
from jade_env.retrieval.bm25 import BM25Retriever

SPEC = WorldSpec(seed=3, passages=1000)
PERSONS = "the (founder|author|director|person) "
QUESTION_WORDS = "what which who where when how many does do whom its"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SPEC, "dev", 1500)


def of_kind(world: World, *kinds: str) -> list[Question]:
    """Return the questions of some kinds."""
    return [question for question in world.questions if question.kind in kinds]


def spelled(world: World) -> str:
    """Return everything a world says, as JSON lines."""
    records = [document_record(document) for document in world.documents]
    records += [question_record(question) for question in world.questions]
    return "\n".join(json.dumps(record, sort_keys=True) for record in records)


def resolved(question: Question) -> list[str]:
    """Return the steps' questions with the gold answers in place of `#k`."""
    answers = [step.answer for step in question.decomposition]
    return [
        re.sub(r"#(\d)", lambda found: answers[int(found[1]) - 1], step.question) for step in question.decomposition
    ]


def test_the_same_spec_gives_the_same_bytes_on_any_machine() -> None:
    made = spelled(make_world(WorldSpec(seed=1, passages=200), "train", 100))
    assert made == spelled(make_world(WorldSpec(seed=1, passages=200), "train", 100))
    assert (
        hashlib.sha256(made.encode()).hexdigest() == "5f182fd312b17e5bc2fd680b1597d2c21565f16a5c1c9fac239bc5213fa78316"
    )


def test_passages_do_not_depend_on_the_questions_asked(world: World) -> None:
    assert make_world(SPEC, "dev", 10).documents == world.documents


@pytest.mark.parametrize("other", [(replace(SPEC, seed=4), "dev"), (SPEC, "train"), (SPEC, "a test, \u00e9")])
def test_splits_and_seeds_are_different_worlds(world: World, other: tuple[WorldSpec, str]) -> None:
    second = make_world(*other, 1500)
    texts = {document.text for document in world.documents}
    assert not texts & {document.text for document in second.documents}
    answers = {question.text: question.golden_answers for question in of_kind(world, "single")}
    shared = [question for question in of_kind(second, "single") if question.text in answers]
    agreeing = [question for question in shared if question.golden_answers == answers[question.text]]
    assert len(agreeing) <= 2


@pytest.mark.parametrize("passages", [100, 150, 1000, 3333, 20_000])
def test_the_number_of_passages_is_as_asked(passages: int) -> None:
    documents = make_world(WorldSpec(passages=passages), "train", 5).documents
    assert [document.id for document in documents] == [str(position) for position in range(passages)]


@pytest.mark.parametrize("passages", [1000, 20_000])
def test_every_word_is_of_one_closed_list(passages: int) -> None:
    held = set(vocabulary())
    assert len(held) <= 1500
    for split in ("train", "test"):
        world = make_world(WorldSpec(seed=9, passages=passages), split, 2000)
        texts = [f"{document.title} {document.text}" for document in world.documents]
        for question in world.questions:
            texts += [question.text, *question.golden_answers]
            texts += [f"{step.question} {step.answer}" for step in question.decomposition]
        found = set(re.findall(r"[^\W\d]+", " ".join(texts)))
        assert found <= held
        assert re.sub(r"[A-Za-z0-9 .,?#]", "", " ".join(texts)) == ""


def test_invented_words_are_unique_and_none_is_part_of_another() -> None:
    from Stemmer import Stemmer

    lists = (words.FIRST_NAMES, words.SURNAMES, words.PLACES, words.COUNTRIES, words.RIVERS)
    invented = [word.lower() for held in (*lists, words.CURRENCIES, words.LANGUAGES) for word in held]
    assert len(set(Stemmer("english").stemWords(invented))) == len(invented)
    assert not [(one, two) for one in invented for two in invented if one != two and one in two]
    sentences = {word.lower() for word in vocabulary()} - set(invented)
    assert len(sentences) + len(invented) == len({word.lower() for word in vocabulary()})


@pytest.mark.parametrize("passages", [100, 1000, 20_000, 1_000_000])
def test_names_are_unique_whatever_the_size(passages: int) -> None:
    facts = draw_facts(Draws(0, "train", "facts"), counts(passages, 0.18))
    names = [name for kind in ("person", "city", "country", "company", "book", "film") for name in facts.names[kind]]
    assert len(set(names)) == len(names)
    assert all(len(name.split()) == len(set(name.split())) <= 3 for name in names)


def test_passages_are_short_and_say_what_they_are_about(world: World) -> None:
    lengths = [len(document.text.split()) for document in world.documents]
    assert 15 <= min(lengths) <= max(lengths) <= 45
    assert all(1 <= document.text.count(". ") + 1 <= 3 for document in world.documents)
    assert all(document.title and "{" not in document.title + document.text for document in world.documents)


def test_every_gold_passage_holds_what_it_is_gold_for(world: World) -> None:
    for question in world.questions:
        for step in question.decomposition:
            document = world.documents[int(step.supporting_id or "-1")]
            assert step.answer in document.text
            assert document.title in document.text
        assert question.supporting_ids == tuple(step.supporting_id for step in question.decomposition)


def test_chains_are_solved_step_by_step(world: World) -> None:
    for hops, kind in enumerate(("single", "bridge2", "bridge3"), start=1):
        asked = of_kind(world, kind)
        assert asked
        for question in asked:
            steps = question.decomposition
            assert len(steps) == hops == question.metadata["hops"]
            assert steps[-1].answer == question.golden_answers[0]
            assert len({step.answer for step in steps}) == hops
            text = steps[0].question
            for number, step in enumerate(steps[1:], start=1):
                assert f"#{number}" in step.question
                assert step.question.count("#") == 1
                opening, inner = re.match(r"(Who is|What is) (the .*)\?", text).groups()  # type: ignore[union-attr]
                assert (opening == "Who is") == (re.match(PERSONS, inner) is not None)
                text = step.question.replace(f"#{number}", inner)
                assert world.documents[int(step.supporting_id or "-1")].title == steps[number - 1].answer
            assert text == question.text


def test_lists_have_two_to_four_different_items_in_the_order_asked(world: World) -> None:
    asked = of_kind(world, "list")
    for question in asked:
        items = question.list_items
        assert question.is_list
        assert 2 <= len(items) == len(set(items)) == len(question.decomposition) <= 4
        assert question.golden_answers == (", ".join(items), f"{', '.join(items[:-1])} and {items[-1]}")
        assert tuple(step.answer for step in question.decomposition) == items
        titles = [world.documents[int(name)].title for name in question.supporting_ids]
        assert f"{', '.join(titles[:-1])} and {titles[-1]}" in question.text
    sizes = Counter(len(question.list_items) for question in asked)
    assert sizes == deal({2: 0.1, 3: 0.2, 4: 0.7}, len(asked))  # type: ignore[arg-type]


def test_comparisons_are_true_and_their_steps_independent(world: World) -> None:
    for question in of_kind(world, "compare_which"):
        titles = [world.documents[int(name)].title for name in question.supporting_ids]
        one, two = (int(step.answer.replace(",", "")) for step in question.decomposition)
        assert one != two
        less = re.search(r"earlier|first|fewer", question.text) is not None
        assert question.golden_answers == (titles[(one < two) != less],)
        assert question.text.endswith(f"{titles[0]} or {titles[1]}?")
    for question in of_kind(world, "compare_yesno"):
        one_step, two_step = question.decomposition
        assert question.golden_answers == ("yes" if one_step.answer == two_step.answer else "no",)
    assert not any(
        "#" in step.question
        for q in of_kind(world, "compare_which", "compare_yesno", "list")
        for step in q.decomposition
    )


def test_yes_and_no_are_balanced(world: World) -> None:
    answers = Counter(question.golden_answers[0] for question in of_kind(world, "compare_yesno"))
    assert abs(answers["yes"] - answers["no"]) <= 1
    by_form: dict[str, Counter[str]] = {}
    for question in make_world(SPEC, "dev", 4000).questions:
        if question.kind == "compare_yesno":
            form = re.sub(r"\b[A-Z]\w* [A-Z]\w*\b|\b[A-Z]\w*(?= (and|have|lie))|(?<=and )[A-Z]\w*", "X", question.text)
            by_form.setdefault(form, Counter())[question.golden_answers[0]] += 1
    assert all(min(counted["yes"], counted["no"]) > 0 for counted in by_form.values() if counted.total() >= 12)


def test_direct_questions_hold_their_answer_and_need_no_passage(world: World) -> None:
    for question in of_kind(world, "direct"):
        statement = question.text[: question.text.index(". ")]
        assert question.golden_answers[0] in statement
        assert question.supporting_ids == question.decomposition == ()


def test_the_mixture_is_dealt_exactly(world: World) -> None:
    assert Counter(question.kind for question in world.questions) == deal(MIXTURE, 1500)
    assert set(MIXTURE) == set(KINDS)
    only = make_world(replace(SPEC, mixture={"single": 1, "bridge3": 3}), "train", 101)
    assert Counter(question.kind for question in only.questions) == {"single": 25, "bridge3": 76}
    assert sum(deal({"a": 1, "b": 1, "c": 1}, 100).values()) == 100


def test_nothing_is_asked_twice_and_entities_are_asked_evenly() -> None:
    world = make_world(WorldSpec(passages=1000), "train", 4000)
    assert len({question.text for question in world.questions}) == 4000
    assert [question.id for question in world.questions[:2]] == ["train_0", "train_1"]
    told = Counter(question.supporting_ids[0] for question in of_kind(world, "single"))
    assert max(told.values()) <= 4
    kinds_in_order = [question.kind for question in world.questions[:200]]
    assert len(set(kinds_in_order)) == len(KINDS)


def test_more_questions_than_a_small_world_has_are_still_asked() -> None:
    world = make_world(WorldSpec(passages=100, mixture={"single": 1}), "train", 600)
    assert len(world.questions) == len({question.id for question in world.questions}) == 600
    assert len({question.text for question in world.questions}) > 150


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("passages", [100, 200])
def test_the_smallest_worlds_have_every_kind(kind: str, passages: int) -> None:
    rest = {} if kind != "compare_yesno" else {"single": 9.0}
    for noise in (0.0, 0.5):
        spec = WorldSpec(passages=passages, mixture={kind: 1.0, **rest}, noise=noise)
        assert any(question.kind == kind for question in make_world(spec, "train", 60).questions)


def test_relations_and_wordings_fit_together() -> None:
    told = {wording.name: wording.subject for wording in WORDINGS}
    for relation in RELATIONS:
        assert told[relation.passage] == relation.subject
        assert len(relation.asks) >= 2
    for wording in WORDINGS:
        assert len(wording.plain) == 4
        assert len(wording.oblique) == 2
        assert all("{s}" in text and "{o}" in text for text in wording.plain + wording.oblique)
    assert {hops: len(chains(hops)) for hops in (1, 2, 3)} == {1: 16, 2: 23, 3: 30}


def test_oblique_wordings_share_no_word_with_the_questions_and_plain_ones_do() -> None:
    from bm25s.stopwords import STOPWORDS_EN
    from Stemmer import Stemmer

    stem = Stemmer("english").stemWord
    ignored = set(STOPWORDS_EN) | set(QUESTION_WORDS.split())

    def content(text: str) -> set[str]:
        found = re.findall("[a-z]+", re.sub(r"\{\w\}", " ", text).lower())
        return {stem(word) for word in found if word not in ignored}

    for wording in WORDINGS:
        for relation in [relation for relation in RELATIONS if relation.passage == wording.name]:
            asked = set().union(*(content(text) for text in relation.asks))
            sharing = [bool(content(text) & asked) for text in wording.plain]
            assert sum(sharing) >= 3, (relation.name, sharing)
            if relation.target != "river":
                assert not [text for text in wording.oblique if content(text) & asked], relation.name


def test_bm25_finds_single_facts_and_steps_but_not_the_end_of_a_chain(world: World) -> None:
    retriever = BM25Retriever(world.documents)

    def recall(queries: list[str], gold: list[str], top_k: int) -> float:
        found = retriever.search(queries, top_k)
        return sum(name in {hit.document.id for hit in hits} for name, hits in zip(gold, found, strict=True)) / len(
            gold
        )

    single = of_kind(world, "single")
    assert recall([q.text for q in single], [q.supporting_ids[0] for q in single], 5) >= 0.97
    bridges = of_kind(world, "bridge2", "bridge3")
    assert recall([q.text for q in bridges], [q.supporting_ids[-1] for q in bridges], 5) <= 0.1
    assert recall([q.text for q in bridges], [q.supporting_ids[0] for q in bridges], 5) >= 0.9
    steps = [pair for q in world.questions for pair in zip(resolved(q), q.supporting_ids, strict=True)]
    assert recall([text for text, _ in steps], [name for _, name in steps], 5) >= 0.97
    assert recall([text for text, _ in steps], [name for _, name in steps], 3) >= 0.93
    phrases = [re.sub(r"^(Who|What) is |\?$", "", q.decomposition[0].question) for q in bridges]
    assert recall(phrases, [q.supporting_ids[0] for q in bridges], 5) >= 0.97


def test_a_world_goes_through_files_unchanged(world: World, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", world.documents)
    write_questions(tmp_path / "dev.jsonl", world.questions)
    assert list(read_corpus(tmp_path / "corpus.jsonl")) == world.documents
    assert list(read_questions(tmp_path / "dev.jsonl")) == world.questions


def test_a_hundred_thousand_passages_take_seconds() -> None:
    start = time.process_time()
    made = make_world(WorldSpec(passages=100_000), "train", 100)
    assert time.process_time() - start < 20
    assert len(made.documents) == 100_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"passages": 99}, "passages: 99 is not between 100 and 1000000"),
        ({"passages": 2_000_000}, "passages: 2000000 is not between"),
        ({"phrasings": 5}, "phrasings: 5 is not between 1 and 4"),
        ({"oblique": 1.5}, "oblique: 1.5 is not between 0 and 1"),
        ({"noise": -0.1}, "noise: -0.1 is not between 0 and 0.5"),
        ({"mixture": {"singel": 1}}, "'singel' is not one of .*; did you mean 'single'?"),
        ({"mixture": {"single": -1}}, "the weight of single, -1, is not a number of 0 or more"),
        ({"mixture": {"single": float("nan")}}, "the weight of single, nan"),
        ({"mixture": {"single": 0}}, "no weight is above 0"),
        ({"mixture": {"single": 1, "compare_yesno": 1}}, "compare_yesno has a share of 0.50; at most 0.1 is allowed"),
        ({"list_sizes": (1.0, 2.0)}, "is not three weights"),
    ],
)
def test_a_spec_that_is_not_allowed_is_named(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        WorldSpec(**changes)  # type: ignore[arg-type]


def test_a_number_of_questions_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="questions: 0 is not a positive number"):
        make_world(SPEC, "train", 0)


def test_draws_are_even_and_distinct() -> None:
    draws = Draws(5, "x")
    counted = Counter(draws.below(7, 70_000).tolist())
    assert sorted(counted) == list(range(7))
    assert max(counted.values()) - min(counted.values()) < 600
    assert sorted(draws.permutation(100).tolist()) == list(range(100))
    for high, size in ((10, 10), (1000, 10), (10**6, 5000)):
        found = draws.distinct(high, size).tolist()
        assert len(set(found)) == size
        assert 0 <= min(found) <= max(found) < high
    stream = draws.endless(5)
    assert sorted(next(stream) for _ in range(10)) == sorted([*range(5), *range(5)])
    assert Draws("a", "b").bits(1) != Draws("ab").bits(1)


def test_wordings_in_use_are_as_many_as_asked_for() -> None:
    plainest = make_world(replace(SPEC, phrasings=1, oblique=0.0), "train", 5).documents
    told = [document.text for document in plainest if " came into the world " in document.text]
    assert not told
    born = [document.text for document in plainest if re.search(r"was born in \w+( \w+)? in \d{4}\. ", document.text)]
    assert len(born) == counts(1000, SPEC.noise)["person"]
    assert all(", a cousin of " in text for text in born)
    oblique = make_world(replace(SPEC, oblique=1.0), "train", 5).documents
    assert not [document for document in oblique if ", a cousin of " in document.text]
