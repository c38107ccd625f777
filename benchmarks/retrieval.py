"""What retrieval costs: BM25 and FAISS beside their bare libraries, a server under 32 clients, and growth with the corpus.

    python benchmarks/retrieval.py [bm25] [dense] [served] [growth] [overlap] [--passages 100000]

The corpus is the embedded world's, the queries its questions. Ratios are medians over repeats of paired runs, one thread. `served`
starts `jade serve` on loopback, with as many threads as there are cores, and asks it from a process of its own; both share the
machine, so the clients' CPU is printed. `bm25` compares with `rank_bm25`, too, which has to be installed (`pip install rank_bm25`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from jade_env.questions.datasets import write_corpus
from jade_env.questions.world import World, WorldSpec, make_world
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retriever_settings import Dense

PARTS = ("bm25", "dense", "served", "growth", "overlap")
TOP_K = 5
BATCH = 64
CONSOLE = Console()


def world_of(passages: int, questions: int = 2000) -> World:
    return make_world(WorldSpec(seed=1, passages=passages), "train", questions)


def rate(search: Callable[[Sequence[str]], Any], queries: Sequence[str]) -> float:
    """Queries per second of CPU, in batches."""
    began = time.process_time()
    for start in range(0, len(queries), BATCH):
        search(queries[start : start + BATCH])
    return len(queries) / (time.process_time() - began)


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def compare_bm25(passages: int, repeats: int) -> None:
    """Ours against `bm25s` with its own tokenizer and `retrieve`, and against `rank_bm25` on the same tokens."""
    import bm25s
    import Stemmer

    try:
        from rank_bm25 import BM25Okapi
    except ModuleNotFoundError:
        raise SystemExit("bm25: rank_bm25, which it compares with, is not installed: pip install rank_bm25") from None

    world = world_of(passages)
    queries = [question.text for question in world.questions][:1024]
    ours = BM25Retriever(world.documents)
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: Sequence[str]) -> Any:
        return bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, show_progress=False)

    bare = bm25s.BM25(backend="numpy")
    bare.index(tokens([f"{d.title}\n{d.text}" for d in world.documents]), show_progress=False)

    def words(text: str) -> list[str]:
        return [stemmer.stemWord(word) for word in text.lower().split()]

    plain = BM25Okapi([words(f"{d.title}\n{d.text}") for d in world.documents])

    def search_plain(texts: Sequence[str]) -> None:
        for text in texts:
            scores = plain.get_scores(words(text))
            np.argpartition(-scores, TOP_K)[:TOP_K]

    def search_bare(texts: Sequence[str]) -> None:
        bare.retrieve(tokens(texts), k=TOP_K, show_progress=False)

    few = queries[: max(16, min(len(queries), 400_000 // passages))]
    ours.search(queries[:BATCH], TOP_K), search_bare(queries[:BATCH]), search_plain(few[:2])
    rates = [
        (rate(lambda q: ours.search(q, TOP_K), queries), rate(search_bare, queries), rate(search_plain, few))
        for _ in range(repeats)
    ]
    table = table_of(f"BM25, {passages:,} passages, queries per CPU second", "", "median", "ours / it")
    table.add_row("ours, to typed hits", f"{median(r[0] for r in rates):,.0f}", "")
    for place, name in ((1, "bm25s 0.3, tokenize + retrieve"), (2, "rank_bm25, get_scores + top 5")):
        ratio = median(r[0] / r[place] for r in rates)
        table.add_row(name, f"{median(r[place] for r in rates):,.0f}", f"{ratio:,.1f}")
    CONSOLE.print(table)


def compare_dense(passages: int, repeats: int) -> None:
    """Ours against the encoder and FAISS called by hand, for an exact and an approximate index."""
    from jade_env.retrieval.dense import DenseRetriever, add_vectors, make_index, set_search, train_index
    from jade_env.retrieval.encoder_choice import make_encoder

    world = world_of(passages)
    queries = [question.text for question in world.questions][:1024]
    encoder = make_encoder(Dense(), world.documents)
    vectors = encoder.passages(world.documents)
    table = table_of(
        f"dense, {passages:,} passages x {encoder.dimensions}, queries per CPU second",
        "index",
        "ours",
        "encoder + FAISS by hand",
        "ours / it",
    )
    for factory in ("Flat", f"IVF{max(16, passages // 200)},SQ8"):
        index = make_index(factory, encoder.dimensions, "ip")
        train_index(index, vectors, factory)
        add_vectors(index, [vectors])
        ours = DenseRetriever(world.documents, index, encoder, identity=factory, device="cpu")
        set_search(index, {})

        def by_hand(texts: Sequence[str], index: Any = index) -> None:
            index.search(encoder.queries(texts), TOP_K)

        by_hand(queries[:BATCH]), ours.search(queries[:BATCH], TOP_K)
        rates = [
            (rate(lambda q, ours=ours: ours.search(q, TOP_K), queries), rate(by_hand, queries)) for _ in range(repeats)
        ]
        a, b, ratio = (
            median(values) for values in ((r[0] for r in rates), (r[1] for r in rates), (x / y for x, y in rates))
        )
        table.add_row(factory, f"{a:,.0f}", f"{b:,.0f}", f"{ratio:.2f}")
    CONSOLE.print(table)


class Server:
    """A process of `jade serve`."""

    def __init__(self, what: Path, *options: str) -> None:
        command = [sys.executable, "-m", "jade_env.cli", "serve", str(what), "--port", "0", *options]
        cores = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # as users start it
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cores)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split(" at ")[1].split()[0]
        self.handle = psutil.Process(self.process.pid)

    def load(self, queries: Path, clients: int, seconds: float, rate: float = 0.0) -> dict[str, float]:
        """What clients get of it, and its CPU meanwhile."""
        script = Path(__file__).with_name("retrieval_load.py")
        options = ["--clients", str(clients), "--seconds", str(seconds), "--rate", str(rate)]
        before = sum(self.handle.cpu_times()[:2])
        command = [sys.executable, str(script), self.url, str(queries), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        found["a_cpu_second"] = found["answered"] / (sum(self.handle.cpu_times()[:2]) - before)
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


def compare_served(passages: int, kinds: Sequence[str], repeats: int, clients: int, seconds: float) -> None:
    """The same server with and without batches, then p99 at half the peak."""
    world = world_of(passages)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus, asked = folder / "corpus.jsonl", folder / "queries.json"
        write_corpus(corpus, world.documents)
        asked.write_text(json.dumps([question.text for question in world.questions]), encoding="utf-8")
        table = table_of(
            f"served, {passages:,} passages, {clients} clients of one query each, wall-clock",
            "retriever",
            "unbatched q/s",
            "batched q/s",
            "ratio",
            "per CPU s of the server",
            "ratio",
            "clients' CPU",
            "p50 / p99 at half the peak",
        )
        for kind in kinds:
            index = folder / kind
            with CONSOLE.status(f"building the {kind} index"):
                command = ["index", "build", str(corpus), "--retriever", kind, "--out", str(index)]
                subprocess.run([sys.executable, "-m", "jade_env.cli", *command], check=True, capture_output=True)
            servers = Server(index, "--max-batch", "1"), Server(index)
            try:
                runs = []
                for number in range(repeats):
                    CONSOLE.log(f"{kind}: pair {number + 1} of {repeats}")
                    runs.append([server.load(asked, clients, seconds) for server in servers])
                slow, fast = ([run[i]["queries_a_second"] for run in runs] for i in (0, 1))
                half = servers[1].load(asked, clients, max(10.0, seconds), median(fast) / 2)
            finally:
                for server in servers:
                    server.end()
            table.add_row(
                kind,
                f"{median(slow):,.0f}",
                f"{median(fast):,.0f}",
                f"{median(b / a for a, b in zip(slow, fast, strict=True)):.2f}",
                " / ".join(f"{median(run[i]['a_cpu_second'] for run in runs):,.0f}" for i in (0, 1)),
                f"{median(run[1]['a_cpu_second'] / run[0]['a_cpu_second'] for run in runs):.2f}",
                f"{median(run[1]['client_cpu'] for run in runs):.2f}",
                f"{half['p50']:.1f} / {half['p99']:.1f} ms at {half['queries_a_second']:,.0f} q/s",
            )
            lost = sum(run[i]["errors"] for run in runs for i in (0, 1)) + half["errors"]
            assert not lost, f"{lost} requests failed"
        CONSOLE.print(table)


def growth(sizes: Sequence[int]) -> None:
    """BM25 by size of the corpus."""
    table = table_of(
        "BM25 by size of the corpus", "passages", "build, s", "index, bytes a passage", "ms of CPU a query"
    )
    for passages in sizes:
        with CONSOLE.status(f"{passages:,} passages"):
            world = world_of(passages)
            queries = [question.text for question in world.questions]
            began = time.process_time()
            retriever = BM25Retriever(world.documents)
            built = time.process_time() - began
            arrays = [value for value in vars(retriever).values() if isinstance(value, np.ndarray)]
            held = sum(array.nbytes for array in arrays) / passages
            speed = rate(lambda q, r=retriever: r.search(q, TOP_K), queries)
        table.add_row(f"{passages:,}", f"{built:.1f}", f"{held:.0f}", f"{1000 / speed:.3f}")
    CONSOLE.print(table)


class Distant:
    """A retriever that is `delay` seconds away."""

    remote = True
    identity = "distant"

    def __init__(self, retriever: Any, delay: float) -> None:
        self._retriever, self._delay = retriever, delay

    def search(self, queries: Sequence[str], top_k: int) -> Any:
        time.sleep(self._delay)
        return self._retriever.search(queries, top_k)


def play_seconds(delay: float, overlap: bool, episodes: int = 48) -> float:
    """Wall-clock of some episodes by a player that plays 8 turns at once and takes 5 ms for each."""
    from jade_env import streams
    from jade_env.envs.pool import Pool
    from jade_env.scenario import load_scenario

    pool = Pool(load_scenario("cooperative", {"data.passages": 1000, "data.train": 200}), 32, seed=0, overlap=overlap)
    pool._table.retriever = Distant(pool.retriever.retriever, delay)
    turns, done, began = pool.reset(0), 0, time.perf_counter()
    while done < episodes:
        turns = sorted(pool.turns(), key=lambda turn: turn.id)[:8]
        time.sleep(0.005 * len(turns))
        done += len(pool.step({turn.id: 1 + streams.bits(turn.id) % len(turn.candidates) for turn in turns}))
    return time.perf_counter() - began


def overlap(repeats: int) -> None:
    """What is gained by playing other episodes while documents are on their way."""
    table = table_of(
        "48 episodes, 32 at a time, 5 ms a turn", "retriever's delay", "waiting, s", "overlapping, s", "gain"
    )
    for delay in (0.02, 0.1, 0.5):
        runs = [(play_seconds(delay, False), play_seconds(delay, True)) for _ in range(repeats)]
        slow, fast, gain = (median(v) for v in ((r[0] for r in runs), (r[1] for r in runs), (a / b for a, b in runs)))
        table.add_row(f"{1000 * delay:.0f} ms", f"{slow:.1f}", f"{fast:.1f}", f"{gain:.1f}")
    CONSOLE.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is given")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--retrievers", nargs="+", choices=("bm25", "dense"), default=["bm25", "dense"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    for part in args.parts or PARTS:
        if part not in PARTS:
            parser.error(f"{part!r} is not one of {', '.join(PARTS)}")
        if part == "bm25":
            compare_bm25(args.passages, args.repeats)
        elif part == "dense":
            compare_dense(args.passages, args.repeats)
        elif part == "served":
            compare_served(args.passages, args.retrievers, args.repeats, args.clients, args.seconds)
        elif part == "growth":
            growth(args.sizes)
        else:
            overlap(args.repeats)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    CONSOLE.print(f"load of this machine over 1, 5 and 15 minutes: {load}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
