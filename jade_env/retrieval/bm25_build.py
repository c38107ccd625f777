"""BM25's posting lists made from a corpus on disk, block by block, in bounded memory. Knows no query.

A block is one file, written whole, with the words it adds to the vocabulary, so that a build that was killed goes on after its
last block. The weights are those of the Lucene variant in `bm25s`; a test compares the two.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jade_env.questions.jsonl import written_whole
from jade_env.retrieval.corpus import DocumentStore
from jade_env.retrieval.folder import POSTINGS, STARTS, WEIGHTS, WORDS
from jade_env.retrieval.words import english_stemmer, english_stopwords, unchanged, words_in
from jade_env.retriever_settings import Bm25

_BLOCK_PASSAGES = 50_000
_BYTES_A_WORD = 64  # while a block is sorted
_BATCH_BYTES = 16 << 20
_MAX_WORDS_REMEMBERED = 1 << 21
_STOPWORD = -1

Progress = Callable[[int], None]


def build_bm25(settings: Bm25, store: DocumentStore, work: Path, out: Path, memory: int, progress: Progress) -> None:
    """Write the files of a BM25 index into `out`, with blocks in `work` that a later call goes on from."""
    words = _count(settings, store, work, memory, progress)
    _merge(settings, len(store), len(words), _blocks(work), out)
    with written_whole(out / WORDS) as (file,):
        file.write(json.dumps(words).encode())


def _blocks(work: Path) -> list[Path]:
    return sorted(work.glob("block-*.npz"))


def _count(settings: Bm25, store: DocumentStore, work: Path, memory: int, progress: Progress) -> list[str]:
    """Count every passage's words, and return the vocabulary."""
    vocabulary: dict[str, int] = {}
    start = 0
    for path in _blocks(work):
        with np.load(path, allow_pickle=False) as block:
            for word in json.loads(block["words"].tobytes()):
                vocabulary[word] = len(vocabulary)
            start = int(block["end"])
    counter = _Counter(settings, vocabulary)
    while start < len(store):
        progress(start)
        known = len(vocabulary)
        tokens, lengths = array("i"), array("i")
        for documents in store.batches(start, min(len(store), start + _BLOCK_PASSAGES), 1000, _BATCH_BYTES):
            for document in documents:
                before = len(tokens)
                counter.add(document.contents, tokens)
                lengths.append(len(tokens) - before)
            progress(start + len(lengths))
            if len(tokens) * _BYTES_A_WORD > memory:
                break
        new_words = json.dumps(list(vocabulary)[known:]).encode()
        with written_whole(work / f"block-{len(_blocks(work)):06}.npz") as (file,):
            _write_block(file, np.array(tokens), np.array(lengths), start, new_words)
        start += len(lengths)
    return list(vocabulary)


class _Counter:
    """Turns texts into numbers of words, which it gives in order of first appearance."""

    def __init__(self, settings: Bm25, vocabulary: dict[str, int]) -> None:
        self._vocabulary = vocabulary
        self._stopwords = english_stopwords() if settings.stopwords else frozenset[str]()
        self._stem = english_stemmer() if settings.stem else unchanged
        self._known: dict[str, int] = {}

    def add(self, text: str, tokens: array[int]) -> None:
        """Append a text's words."""
        known = self._known
        for word in words_in(text):
            token = known.get(word)
            if token is None:
                if word in self._stopwords:
                    token = _STOPWORD
                else:
                    token = self._vocabulary.setdefault(self._stem(word), len(self._vocabulary))
                if len(known) >= _MAX_WORDS_REMEMBERED:
                    known.clear()
                known[word] = token
            if token != _STOPWORD:
                tokens.append(token)


def _write_block(file: object, tokens: NDArray[np.int32], lengths: NDArray[np.int32], start: int, words: bytes) -> None:
    """Write a block: (word, passage, count) by word and then passage."""
    passages = np.repeat(np.arange(len(lengths)), lengths)
    pairs, counts = np.unique(tokens.astype(np.int64) * len(lengths) + passages, return_counts=True)
    np.savez(
        file,  # type: ignore[arg-type]
        tokens=(pairs // max(1, len(lengths))).astype(np.int32),
        passages=(pairs % max(1, len(lengths)) + start).astype(np.int32),
        counts=counts.astype(np.int32),
        lengths=lengths.astype(np.int32),
        start=start,
        end=start + len(lengths),
        words=np.frombuffer(words, dtype=np.uint8),
    )


def _merge(settings: Bm25, passages: int, words: int, blocks: list[Path], out: Path) -> None:
    """Weigh the counts of all blocks and put them into posting lists, a block at a time."""
    holding = np.zeros(words, dtype=np.int64)  # passages that hold a word
    total = 0
    for path in blocks:
        with np.load(path, allow_pickle=False) as block:
            holding += np.bincount(block["tokens"], minlength=words)
            total += int(block["lengths"].sum(dtype=np.int64))
    starts = np.concatenate([[0], np.cumsum(holding)]).astype(np.int64)
    idf = np.log(1 + (passages - holding + 0.5) / (holding + 0.5)).astype(np.float32)
    mean_length = total / passages
    drafts = {name: out / f".{name}.part" for name in (POSTINGS, WEIGHTS)}
    kinds = {POSTINGS: np.int32, WEIGHTS: np.float32}
    for name, draft in drafts.items():
        np.lib.format.open_memmap(draft, mode="w+", dtype=kinds[name], shape=(int(starts[-1]),)).flush()
    cursor = starts[:-1].copy()
    for path in blocks:
        with np.load(path, allow_pickle=False) as block:
            tokens, numbers, counts = block["tokens"], block["passages"], block["counts"].astype(np.float64)
            lengths = block["lengths"][numbers - int(block["start"])]
        if not len(tokens):
            continue
        norm = settings.k1 * ((1 - settings.b) + settings.b * lengths / mean_length)
        weights = idf[tokens] * (counts / (norm + counts))
        present, firsts, repeats = np.unique(tokens, return_index=True, return_counts=True)
        places = np.arange(len(tokens)) - np.repeat(firsts, repeats) + cursor[tokens]
        cursor[present] += repeats
        # Mapped anew for every block, so that what was written does not stay in the memory of the process.
        for name, values in ((POSTINGS, numbers), (WEIGHTS, weights)):
            array_on_disk = np.lib.format.open_memmap(drafts[name], mode="r+")
            array_on_disk[places] = values
            array_on_disk.flush()
            del array_on_disk
    for name, draft in drafts.items():
        draft.replace(out / name)
    with written_whole(out / STARTS) as (file,):
        np.save(file, starts)
