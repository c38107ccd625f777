"""BM25: its scores against the formula, its order, its manners with odd queries, and its figures on real questions."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jade_env.errors import ConfigError, DataError
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.types import Document, Retriever

DOCUMENTS = [
    Document("a", "Oslo", "Oslo is the capital of Norway. Kings reside in Oslo."),
    Document("b", "Bergen", "Bergen is a port in the west of Norway."),
    Document("c", "Paris", "The capital of France."),
    Document("d", "", "the of is"),
    Document("e", "Paris, Texas", "A film about a man who walks, walked and is walking."),
    Document("f", "Nowhere", ""),
]
WORDS = ["oslo", "norway", "capital", "port", "west", "france", "paris", "texas", "film", "walk", "zebra"]


def random_corpus(count: int, seed: int = 0) -> list[Document]:
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(300)]
    chances = 1 / np.arange(1, 301)
    drawn = rng.choice(300, size=(count, 30), p=chances / chances.sum())
    lengths = rng.integers(1, 31, size=count)
    return [
        Document(str(i), f"title{i % 7}", " ".join(vocabulary[w] for w in row[:length]))
        for i, (row, length) in enumerate(zip(drawn, lengths, strict=True))
    ]


def brute_force(documents: list[Document], query: str, k1: float, b: float) -> dict[str, float]:
    """BM25 by its formula over plain words of at least two letters: Lucene's idf, and no factor of k1 + 1."""
    rows = [Counter(w for w in f"{d.title} {d.text}".lower().split() if len(w) > 1) for d in documents]
    mean_length = np.mean([row.total() for row in rows])
    scores = dict.fromkeys((d.id for d in documents), 0.0)
    for word in query.lower().split():
        holding = sum(word in row for row in rows)
        idf = math.log(1 + (len(rows) - holding + 0.5) / (holding + 0.5))
        for document, row in zip(documents, rows, strict=True):
            saturation = row[word] + k1 * (1 - b + b * row.total() / mean_length)
            scores[document.id] += idf * row[word] / saturation if row[word] else 0.0
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 0.0)])
def test_scores_are_those_of_the_formula(k1: float, b: float) -> None:
    documents = random_corpus(200)
    retriever = BM25Retriever(documents, stem=False, stopwords=False, k1=k1, b=b)
    queries = ["w1 w7 w40", "title3 w250", "w5 w5 w5 w9", "w299", "w0 w1 w2 w3 w4 w5 w6 w7 w8"]
    for query, hits in zip(queries, retriever.search(queries, 10), strict=True):
        expected = brute_force(documents, query, k1, b)
        best = sorted((value for value in expected.values() if value > 0), reverse=True)[:10]
        assert [hit.score for hit in hits] == pytest.approx(best, rel=1e-5)
        assert all(hit.score == pytest.approx(expected[hit.document.id], rel=1e-5) for hit in hits)


def test_the_whole_ranking_is_that_of_bm25s_itself() -> None:
    import bm25s
    import Stemmer

    texts = [f"{d.title}\n{d.text}" for d in DOCUMENTS]
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    retriever = BM25Retriever(DOCUMENTS)
    for query in ("Who walks in Paris?", "the capital of Norway", "kings and ports"):
        tokens = bm25s.tokenize([query], stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
        scores = index.get_scores(tokens[0])
        found = {hit.document.id: hit.score for hit in retriever.search([query], 10)[0]}
        expected = {d.id: value for d, value in zip(DOCUMENTS, scores.tolist(), strict=True) if value > 0}
        assert found == pytest.approx(expected)


def test_top_k_is_the_head_of_the_full_ranking() -> None:
    retriever = BM25Retriever(random_corpus(500))
    queries = ["w1 w2 w3", "w0", "title1 w8 w8 w90"]
    full = retriever.search(queries, 500)
    for k in (1, 2, 5, 50):
        assert retriever.search(queries, k) == [hits[:k] for hits in full]
    for hits in full:
        order = [(-hit.score, int(hit.document.id)) for hit in hits]
        assert order == sorted(order)


def test_equal_scores_stand_in_the_order_of_the_corpus() -> None:
    twins = [Document(str(i), "Twin", f"same words {'once more' if i % 3 == 0 else 'twice less'}") for i in range(90)]
    hits = BM25Retriever(twins).search(["same twin"], 40)[0]
    assert [hit.document.id for hit in hits] == [str(i) for i in range(40)]


def test_documents_without_a_word_of_the_query_are_no_hits() -> None:
    hits = BM25Retriever(DOCUMENTS).search(["capital"], 100)[0]
    assert {hit.document.id for hit in hits} == {"a", "c"}
    assert all(hit.score > 0 for hit in hits)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("When was Apollo 8?", "8"),
        ("Malcolm X", "x"),
        ("the dog's", ""),
        ("Zu\u0308rich", "z"),
        ("दिल्ली", "d"),
        ("दिली", ""),
    ],
)
def test_words_of_one_letter_and_words_with_marks_are_words(query: str, found: str) -> None:
    texts = {"3": "Apollo 3", "8": "Apollo 8", "x": "Malcolm X", "s": "S", "z": "Zürich", "d": "दिल्ली है"}
    retriever = BM25Retriever([Document(name, "", text) for name, text in texts.items()])
    best = retriever.search([query], 1)[0]
    assert [hit.document.id for hit in best] == ([found] if found else [])


def test_titles_count_as_text() -> None:
    assert BM25Retriever(DOCUMENTS).search(["Texas"], 3)[0][0].document.id == "e"


def test_stemming_and_stopwords_can_be_left_out() -> None:
    assert BM25Retriever(DOCUMENTS).search(["walks the"], 9)[0][0].document.id == "e"
    assert BM25Retriever(DOCUMENTS).search(["port"], 9) == BM25Retriever(DOCUMENTS).search(["the Ports"], 9)
    assert BM25Retriever(DOCUMENTS, stem=False).search(["ports"], 9) == [[]]
    plain = BM25Retriever(DOCUMENTS, stopwords=False).search(["the"], 9)[0]
    assert next(hit.document.id for hit in plain) == "d"


@pytest.mark.parametrize("query", ["", "   ", "the of", "?!", "zebra", "x", "\ud800", "\x00"])
def test_queries_that_say_nothing_find_nothing(query: str) -> None:
    assert BM25Retriever(DOCUMENTS).search([query, "Oslo", query], 3)[0::2] == [[], []]


def test_no_queries_give_no_answers() -> None:
    assert BM25Retriever(DOCUMENTS).search([], 3) == []


def test_a_query_of_100_kilobytes_is_answered_in_a_moment() -> None:
    retriever = BM25Retriever(random_corpus(2000))
    start = time.perf_counter()
    queries = ["w1 w2 w3 " * 11_000, "x" * 100_000, "\u00e9" * 50_000, " ".join(f"n{i}" for i in range(15_000))]
    lengths = [len(hits) for hits in retriever.search(queries, 5)]
    assert lengths == [5, 0, 0, 0]
    assert time.perf_counter() - start < 5


@settings(max_examples=50)
@given(st.lists(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS)).map(" ".join)), max_size=4))
def test_any_text_is_answered_the_same_alone_and_in_a_batch(queries: list[str]) -> None:
    retriever = BM25Retriever(DOCUMENTS)
    assert retriever.search(queries, 3) == [retriever.search([query], 3)[0] for query in queries]


def test_threads_may_search_at_once() -> None:
    retriever = BM25Retriever(random_corpus(3000))
    queries = [f"w{i} w{2 * i} title{i % 7}" for i in range(100)]
    expected = retriever.search(queries, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: retriever.search([query], 5)[0], queries)) == expected


def test_a_corpus_of_stopwords_answers_with_nothing() -> None:
    retriever = BM25Retriever([Document("0", "", "the of"), Document("1", "", "")])
    assert retriever.search(["the", "anything"], 3) == [[], []]


def test_identity_changes_with_corpus_order_and_parameters() -> None:
    variants = [
        BM25Retriever(DOCUMENTS),
        BM25Retriever(DOCUMENTS[::-1]),
        BM25Retriever(DOCUMENTS[:-1]),
        BM25Retriever([Document("a", "Oslo O", DOCUMENTS[0].text[1:]), *DOCUMENTS[1:]]),
        BM25Retriever(DOCUMENTS, stem=False),
        BM25Retriever(DOCUMENTS, stopwords=False),
        BM25Retriever(DOCUMENTS, k1=1.2),
        BM25Retriever(DOCUMENTS, b=0.5),
    ]
    identities = {retriever.identity for retriever in variants}
    assert len(identities) == len(variants)
    assert BM25Retriever(iter(DOCUMENTS)).identity == variants[0].identity
    assert isinstance(variants[0], Retriever)


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_top_k_below_one_is_refused(top_k: int) -> None:
    with pytest.raises(ConfigError, match=f"top_k is {top_k}; it must be at least 1"):
        BM25Retriever(DOCUMENTS).search(["Oslo"], top_k)


def test_a_bare_string_of_queries_is_refused() -> None:
    with pytest.raises(ConfigError, match="give a list of queries"):
        BM25Retriever(DOCUMENTS).search("Oslo", 3)


def test_a_bad_corpus_or_parameter_is_named() -> None:
    with pytest.raises(DataError, match="corpus is empty"):
        BM25Retriever([])
    with pytest.raises(DataError, match="document 1 has the id 'a' of an earlier one"):
        BM25Retriever([DOCUMENTS[0], DOCUMENTS[0]])
    with pytest.raises(ConfigError, match="k1 is -1"):
        BM25Retriever(DOCUMENTS, k1=-1)
    with pytest.raises(ConfigError, match="b is 2"):
        BM25Retriever(DOCUMENTS, b=2)


SCRIPT = """
import sys
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.types import Document
assert "bm25s" not in sys.modules
words = "the quick brown fox jumps over a lazy dog while seven wizards box with quartz liquor jugs".split()
corpus = [Document(str(i), words[i % 16], " ".join(words[i % 16:])) for i in range(64)]
hits = BM25Retriever.cached(corpus, sys.argv[1]).search(["lazy wizards jump quickly over dogs"], 20)[0]
print([(hit.document.id, hit.score.hex()) for hit in hits])
"""


def test_every_process_gives_the_same_scores_and_the_terminal_stays_clean(tmp_path: Path) -> None:
    outputs = []
    for hash_seed, cache in (("1", "first"), ("2", "second"), ("3", "first")):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / cache)]
        run = subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        assert run.stderr == ""
        outputs.append(run.stdout)
    assert len(set(outputs)) == 1
    assert outputs[0].count("\n") == 1


@pytest.mark.parametrize("before", ["", "import jax, jax.lax\n"])
def test_jax_is_not_started_behind_the_users_back(before: str, tmp_path: Path) -> None:
    package = tmp_path / "jax"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported')\n")
    (package / "lax.py").write_text("def top_k(scores, k):\n    print('started')\n    return scores, scores\n")
    code = before + (
        "from jade_env.retrieval.bm25 import BM25Retriever\nfrom jade_env.retrieval.types import Document\n"
        "found = BM25Retriever([Document('a', 'Oslo', 'the capital of Norway')]).search(['norway'], 1)\n"
        "print(found[0][0].document.id)\nimport jax.lax\njax.lax.top_k([], 1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == (["imported", "a", "started"] if before else ["a", "imported", "started"])
