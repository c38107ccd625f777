"""Prints BM25's recall on the shared questions beside the figures of their README: `python benchmarks/recall.py`.

The README counts train, dev and the held-out test questions, this command train and dev. `all@k`: share of questions
with every gold passage among the first k; `any@k`: with at least one. In %.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jade_env.errors import JadeError
from jade_env.questions.datasets import read_corpus, read_questions
from jade_env.retrieval.bm25 import BM25Retriever

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COLUMNS = ("all@5", "all@10", "any@5", "any@10")

PUBLISHED: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "hotpotqa": {"stemmed": (53.5, 76.1, 96.2, 99.5), "plain": (50.6, 73.4, 95.2, 99.2)},
    "2wikimultihopqa": {"stemmed": (34.8, 41.3, 98.7, 99.7), "plain": (33.9, 39.8, 99.0, 99.9)},
    "musique": {"stemmed": (13.1, 21.2, 86.6, 93.1), "plain": (11.8, 20.6, 86.9, 93.8)},
    "xquad_en": {"stemmed": (98.9, 99.3, 98.9, 99.3), "plain": (98.7, 99.2, 98.7, 99.2)},
}


def recall(folder: Path, words: str, splits: Sequence[str] = ("train", "dev")) -> tuple[float, float, float, float]:
    """Return the figures of `COLUMNS` for one dataset, with `words` "stemmed" or "plain"."""
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


def main() -> None:
    """Measure every dataset and print the table."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="BM25 recall on the shared questions (train and dev).")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("JADE_DATA", DEFAULT_DATA)))
    data = parser.parse_args().data
    table = Table(title="BM25 recall in %: ours on train+dev / README on all questions / difference")
    for column in ("dataset", "words", *COLUMNS):
        table.add_column(column, justify="left" if column in ("dataset", "words") else "right")
    largest = 0.0
    for dataset, by_words in PUBLISHED.items():
        for words, published in by_words.items():
            try:
                ours = recall(data / dataset, words)
            except JadeError as error:
                parser.error(str(error))
            pairs = list(zip(ours, published, strict=True))
            cells = (f"{mine:.1f} / {theirs:.1f} / {mine - theirs:+.1f}" for mine, theirs in pairs)
            table.add_row(dataset, words, *cells)
            largest = max(largest, *(abs(mine - theirs) for mine, theirs in pairs))
    console = Console()
    console.print(table)
    console.print(f"Largest difference: {largest:.1f} points.")


if __name__ == "__main__":
    main()
