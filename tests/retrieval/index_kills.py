"""Run by test_index_kills.py: builds indexes in forked processes that are killed at random points, and compares the results.

A process of its own, so that the forks have no threads and nothing is imported twice.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import faiss
import sklearn.decomposition
import sklearn.feature_extraction.text

import jade_env.retrieval.bm25_build as bm25_build
import jade_env.retrieval.dense_build as dense_build
from jade_env.retrieval.builder import build_index
from jade_env.retrieval.folder import open_index, read_manifest
from jade_env.retriever_settings import Bm25, Dense

QUERIES = ["harbour 7", "the river Amber", "town 41 near a mill", "castle"]
assert faiss
assert sklearn.decomposition
assert sklearn.feature_extraction.text


def settings_of(kind: str) -> Bm25 | Dense:
    return Bm25() if kind == "bm25" else Dense(index="IVF4,SQ8", dimensions=16, device="cpu")


def start(corpus: Path, kind: str, out: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            build_index(corpus, settings_of(kind), out)
            code = 0
        finally:
            os._exit(code)
    return child


def main(corpus: Path, folder: Path, kind: str, kills: int) -> None:
    dense_build.SHARD, bm25_build._BLOCK_PASSAGES = 16, 16
    draw = random.Random(0)
    began = time.monotonic()
    whole = folder / "whole"
    assert os.waitpid(start(corpus, kind, whole), 0)[1] == 0
    longest = time.monotonic() - began
    expected = read_manifest(whole)
    answers = [[hit.document.id for hit in hits] for hits in open_index(whole).search(QUERIES, 10)]
    killed, finished, kept = 0, 0, 0
    out = folder / "killed"
    while killed < kills or not out.joinpath("manifest.json").exists():
        child = start(corpus, kind, out)
        if killed < kills:
            time.sleep(draw.uniform(0, longest / 2))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            kept = max(kept, len(list(out.glob(".build/vectors-*"))), len(list(out.glob(".build/block-*"))))
        else:
            assert status == 0
        if out.joinpath("manifest.json").exists():
            manifest = read_manifest(out)
            assert manifest.files == expected.files, "the files differ from those of an unbroken build"
            found = [[hit.document.id for hit in hits] for hits in open_index(out).search(QUERIES, 10)]
            assert found == answers
            finished += 1
            if killed < kills:
                shutil.rmtree(out)
    print(json.dumps({"killed": killed, "finished": finished, "kept": kept}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
