"""Prints what the embedded world costs and how hard it is: `python benchmarks/world.py [--max 100000] [--recall-max 100000]`.

For each size: CPU time, passages a second, JSONL megabytes, growth of peak memory, different words; then, per kind of
question, how many there are and BM25's success in %: `all@k`, every gold passage among the first k for the question as asked;
`last@k`, the one that holds the answer; `steps@k`, the gold passage of every gold step when it is asked by itself.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence

from jade_env.errors import JadeError
from jade_env.questions import Question, Step
from jade_env.questions.datasets import document_record
from jade_env.questions.mixture import KINDS
from jade_env.questions.world import World, WorldSpec, make_world, vocabulary
from jade_env.retrieval.bm25 import BM25Retriever

SIZES = (1_000, 10_000, 100_000, 1_000_000)
COLUMNS = ("all", "last", "steps")


def resolved(steps: Sequence[Step]) -> list[str]:
    """Return the steps' questions with the gold answers in place of `#k`."""
    return [re.sub(r"#(\d+)", lambda found: steps[int(found[1]) - 1].answer, step.question) for step in steps]


def recall(world: World, top_k: int) -> dict[str, dict[str, float]]:
    """Return the figures of `COLUMNS` for each kind of question."""
    retriever = BM25Retriever(world.documents)

    def found(queries: Sequence[str]) -> list[set[str]]:
        return [{hit.document.id for hit in hits} for hits in retriever.search(queries, top_k)]

    table: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        asked = [question for question in world.questions if question.kind == kind and question.decomposition]
        if not asked:
            continue
        ids = found([question.text for question in asked])
        steps = [step for question in asked for step in question.decomposition]
        step_ids = found([text for question in asked for text in resolved(question.decomposition)])
        table[kind] = {
            "all": _share([set(question.supporting_ids) <= held for question, held in zip(asked, ids, strict=True)]),
            "last": _share([question.supporting_ids[-1] in held for question, held in zip(asked, ids, strict=True)]),
            "steps": _share([step.supporting_id in held for step, held in zip(steps, step_ids, strict=True)]),
        }
    return table


def _share(hits: Sequence[bool]) -> float:
    return 100 * sum(hits) / len(hits)


def _words(world: World) -> int:
    words: set[str] = set()
    for document in world.documents:
        words.update(re.findall("[A-Za-z]+", f"{document.title} {document.text}"))
    for question in world.questions:
        words.update(re.findall("[A-Za-z]+", " ".join((question.text, *question.golden_answers))))
    return len(words)


def _peak() -> int:
    """Return the most memory this process has held so far, in MB."""
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1_000_000 if sys.platform == "darwin" else 1_000)


def _kinds(questions: Sequence[Question]) -> str:
    counted = Counter(question.kind for question in questions)
    return ", ".join(f"{kind} {counted[kind]}" for kind in KINDS)


def main() -> None:
    """Make worlds of growing size and print the tables."""
    parser = argparse.ArgumentParser(description="Cost and difficulty of the embedded world.")
    parser.add_argument("--max", type=int, default=100_000, help="largest world, in passages (up to 1000000)")
    parser.add_argument("--recall-max", type=int, default=100_000, help="largest world to index with BM25")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--top-k", type=int, default=5)
    arguments = parser.parse_args()
    print(f"words in all lists and sentences: {len(vocabulary())}")
    for size in [size for size in SIZES if size <= arguments.max] or [arguments.max]:
        before, start = _peak(), time.process_time()
        world = make_world(WorldSpec(passages=size), "test", arguments.questions)
        seconds, memory = time.process_time() - start, _peak() - before
        megabytes = sum(len(str(document_record(document))) for document in world.documents) / 1e6
        print(
            f"\n{size:,} passages: {seconds:.2f} s CPU, {size / seconds:,.0f} passages/s, {megabytes:.1f} MB,"
            f" peak memory +{memory} MB, {_words(world)} different words\n  {_kinds(world.questions)}"
        )
        if size <= arguments.recall_max:
            print(f"  {'kind':14}" + "".join(f"{f'{column}@{arguments.top_k}':>9}" for column in COLUMNS))
            for kind, figures in recall(world, arguments.top_k).items():
                print(f"  {kind:14}" + "".join(f"{figures[column]:9.1f}" for column in COLUMNS))


if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        raise SystemExit(f"{error}") from None
