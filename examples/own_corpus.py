"""A corpus of your own: a file of passages, one of questions for each split, and seven lines of YAML.

    python examples/own_corpus.py

Passages are `{"id", "contents": "\"Title\"\ntext"}`, questions `{"id", "question", "golden_answers"}`: the layout of FlashRAG and
Search-R1. Every split is a file; on the command line the same scenario is `jade play mine.yaml`.
"""

import json
import sys
import tempfile
from pathlib import Path

import jade_env
from jade_env.learning.evaluation import EpisodeRow, evaluate
from jade_env.policy import make_policy

PASSAGES = {
    "Lighthouse of Skerry": "The Lighthouse of Skerry was built in 1844 by Alan Marsh.",
    "Alan Marsh": "Alan Marsh was an engineer who was born in Tarbet.",
    "Lighthouse of Holm": "The Lighthouse of Holm was built in 1901 by Ada Reid.",
    "Ada Reid": "Ada Reid was an engineer who was born in Wick.",
}
QUESTIONS = {
    "Who built the Lighthouse of Holm?": ["Ada Reid"],
    "Where was Alan Marsh born?": ["Tarbet"],
    "When was the Lighthouse of Skerry built?": ["1844"],
    "Where was the builder of the Lighthouse of Holm born?": ["Wick"],
}
SCENARIO = """
name: lighthouses
summary: questions about lighthouses and who built them
data: {{source: files, folder: "{folder}"}}
retriever: {{kind: bm25, top_k: 2}}
team: [planner, query_rewriter, serial_decomposer, document_selector, answer_generator, answer_summarizer]
workflows: [[AG], [R, AG], [R, DS, AG], [QDS]]
reward: {{round_cost: 0.1, retrieval_cost: 0.1}}
"""


def main(folder: Path) -> list[EpisodeRow]:
    passages = [{"id": str(i), "contents": f'"{title}"\n{text}'} for i, (title, text) in enumerate(PASSAGES.items())]
    questions = [{"id": f"q{i}", "question": q, "golden_answers": a} for i, (q, a) in enumerate(QUESTIONS.items())]
    for name, rows in {"corpus": passages, "train": questions, "dev": questions}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scenario = folder / "mine.yaml"
    scenario.write_text(SCENARIO.format(folder=folder.as_posix()))
    print(jade_env.check_scenario(scenario))  # plays it at random and says what is wrong with it
    rows = evaluate(make_policy("heuristic", scenario), scenario, "dev")
    for row in rows:
        print(f"{row.question_id}: {row.workflow:9} -> {row.answer:12} F1 {row.f1:.2f}, {row.retrievals} retrievals")
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
