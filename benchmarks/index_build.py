"""Builds indexes of a made-up corpus and says what they cost: `python benchmarks/index_build.py --passages 1000000`.

The corpus is the embedded world's. For BM25 and for a dense index with the embedded encoder: seconds by the clock and of CPU, peak
memory of the building process (`jade index build` in a process of its own), bytes a passage on disk, and milliseconds a query
(best of three rounds, 64 queries at once and one at a time). For the dense index also recall@10 against exact search over the
same vectors, with several numbers of clusters looked at. Everything lies in --work, where a second call finds it again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jade_env.errors import JadeError
from jade_env.questions.datasets import read_questions
from jade_env.retrieval import Retriever
from jade_env.retrieval.dense import DenseRetriever
from jade_env.retrieval.folder import open_index, read_manifest

QUERIES = 256
NPROBES = (1, 4, 16, 64, 256)


def run(arguments: Sequence[str]) -> tuple[float, float, int]:
    """Run a jade command and return its seconds, CPU seconds and peak memory in MB."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "jade_env.cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"jade {' '.join(arguments)} failed")
    unit = 1_000_000 if sys.platform == "darwin" else 1_000
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss // unit


def milliseconds(retriever: Retriever, queries: Sequence[str], batch: int) -> float:
    """Return milliseconds a query, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for i in range(0, len(queries), batch):
            retriever.search(queries[i : i + batch], 10)
        best = min(best, time.perf_counter() - start)
    return 1000 * best / len(queries)


def exact(retriever: DenseRetriever, queries: Sequence[str], top_k: int) -> np.ndarray:
    """Return the numbers of the nearest passages by their exact vectors, encoded again in parts (queries x top_k)."""
    vectors = retriever.encoder.queries(queries)
    scores = np.full((len(queries), 0), 0.0, dtype=np.float32)
    numbers = np.zeros((len(queries), 0), dtype=np.int64)
    for start in range(0, len(retriever.documents), 20_000):
        documents = retriever.documents[start : start + 20_000]
        scores = np.hstack([scores, vectors @ retriever.encoder.passages(documents).T])
        here = np.broadcast_to(np.arange(start, start + len(documents)), (len(queries), len(documents)))
        numbers = np.hstack([numbers, here])
        kept = np.lexsort((numbers, -scores), axis=1)[:, :top_k]
        scores, numbers = np.take_along_axis(scores, kept, 1), np.take_along_axis(numbers, kept, 1)
    return numbers


def measure(work: Path, name: str, build: Sequence[str], queries: Sequence[str]) -> Retriever:
    """Build an index unless it is there, and print what it costs."""
    index, notes = work / name, work / f"{name}.json"
    if not notes.exists():
        seconds, cpu, peak = run(["index", "build", str(work / "corpus.jsonl"), *build, "--out", str(index)])
        notes.write_text(json.dumps([seconds, cpu, peak]))
    seconds, cpu, peak = json.loads(notes.read_text())
    manifest = read_manifest(index)
    retriever = open_index(index, device="cpu", check=False)
    own = manifest.bytes - manifest.files["documents.jsonl"].bytes
    print(
        f"{name}: {seconds:.0f} s ({cpu:.0f} CPU s), peak memory {peak:,} MB, index {own / manifest.corpus.passages:.0f} and "
        f"documents {manifest.files['documents.jsonl'].bytes / manifest.corpus.passages:.0f} bytes a passage"
    )
    together, alone = milliseconds(retriever, queries, 64), milliseconds(retriever, queries, 1)
    print(f"  {together:.2f} ms a query 64 at once, {alone:.2f} ms one at a time", flush=True)
    return retriever


def main() -> None:
    """Make the corpus, build, measure, print."""
    parser = argparse.ArgumentParser(description="Cost of building and searching indexes.")
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--index", default="IVF1024,PQ64", help="FAISS factory string of the dense index")
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--memory", default="6G")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and indexes (1 GB for a million)")
    given = parser.parse_args()
    work = given.work
    if not (work / "corpus.jsonl").exists():
        seconds, cpu, peak = run(
            [
                "data",
                "world",
                "--out",
                str(work),
                "--passages",
                str(given.passages),
                "--questions",
                str(QUERIES),
                "--force",
            ]
        )
        print(f"corpus: {seconds:.0f} s ({cpu:.0f} CPU s), peak memory {peak:,} MB", flush=True)
    queries = [question.text for question in read_questions(work / "train.jsonl")]
    measure(work, "bm25", ["--memory", given.memory], queries)
    dense_options = ["--retriever", "dense", "--index", given.index, f"dimensions={given.dimensions}"]
    dense = measure(work, "dense", [*dense_options, "--memory", given.memory], queries)
    assert isinstance(dense, DenseRetriever)
    best = exact(dense, queries, 10)
    for nprobe in NPROBES:
        opened = open_index(work / "dense", search={"nprobe": nprobe}, device="cpu", check=False)
        answers = opened.search(queries, 10)
        names = [{dense.documents[i].id for i in row} for row in best.tolist()]
        found = sum(len(row & {hit.document.id for hit in hits}) for row, hits in zip(names, answers, strict=True))
        speed = milliseconds(opened, queries, 64)
        print(f"  nprobe {nprobe}: recall@10 against exact {100 * found / best.size:.1f} %, {speed:.2f} ms", flush=True)


if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        raise SystemExit(f"{error}") from None
