"""`check_scenario` plays a user's scenario and explains what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

import jade_env
from jade_env.agent import load_agent
from jade_env.questions.datasets import write_corpus, write_questions
from jade_env.questions.world import WorldSpec, make_world
from jade_env.scenario import load_scenario

SMALL = {"data.passages": 300, "data.train": 60}


def write(folder: Path, **changes: object) -> Path:
    """A user's scenario over files of his own."""
    world = make_world(WorldSpec(seed=1, passages=200), "train", 30)
    (folder / "mine").mkdir()
    write_corpus(folder / "mine" / "corpus.jsonl", world.documents)
    write_questions(folder / "mine" / "train.jsonl", world.questions)
    tree = load_scenario("hotpotqa").model_dump(mode="json")
    tree.update(name="mine", data={"source": "files", "folder": "mine"}, **changes)
    (folder / "mine.yaml").write_text(yaml.safe_dump(tree))
    return folder / "mine.yaml"


def test_a_good_scenario_is_ok_and_its_facts_are_told() -> None:
    report = jade_env.check_scenario("cooperative", overrides=SMALL)
    assert report.ok and not report.problems
    assert report.facts["questions"] == 60 and report.facts["malformed outputs"] == 0
    assert "cooperative: ok" in str(report)


def test_a_scenario_on_files_is_played_and_its_idle_members_are_named(tmp_path: Path) -> None:
    report = jade_env.check_scenario(write(tmp_path, workflows=[["R", "AG"], ["QR", "R", "AG"]]), data=tmp_path)
    assert report.ok
    assert any(
        "serial_decomposer, parallel_decomposer" in hint and "can never have a turn" in hint for hint in report.hints
    )
    assert any("is judged on dev: " in hint and "no split 'dev'; it has train" in hint for hint in report.hints)


def test_supporting_ids_that_match_nothing_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    questions = tmp_path / "mine" / "train.jsonl"
    rows = [json.loads(line) for line in questions.read_text("utf-8").splitlines()]
    for row in rows:
        row["metadata"]["supporting_ids"] = ["nowhere"]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    report = jade_env.check_scenario(path, data=tmp_path)
    assert any("do supporting_ids match the corpus ids" in hint for hint in report.hints), report
    assert any("are those of no passage in the corpus, such as 'nowhere'" in hint for hint in report.hints)


def test_slips_in_questions_and_prompts_are_hinted_at(tmp_path: Path) -> None:
    path = write(tmp_path)
    plain = jade_env.check_scenario(path, data=tmp_path)
    assert not any("no passage" in hint or "before it is there" in hint or "{query}" in hint for hint in plain.hints)
    folder = tmp_path / "mine"
    (folder / "dev.jsonl").write_bytes((folder / "train.jsonl").read_bytes())
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]
    rows[5]["golden_answers"] = ["A"]
    rows[3]["metadata"]["decomposition"] = [{"question": "who is #1?", "answer": "x", "supporting_id": None}]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    card = load_agent("answer_generator").model_dump(mode="json")
    card["prompts"]["full"]["user"] = "{documents}"
    tree = yaml.safe_load(path.read_text()) | {"prompt": "full"}
    tree["team"] = [card if member == "answer_generator" else member for member in tree["team"]]
    path.write_text(yaml.safe_dump(tree))
    report = jade_env.check_scenario(path, data=tmp_path)
    assert report.ok
    for hint in (
        "answer_generator: its full prompt has no {query}: it never reads the question",
        "30 questions stand in train and in dev",
        f"1 questions have a gold answer of which scoring leaves nothing (articles and punctuation do not count), so that an empty "
        f"answer is right, such as {rows[5]['id']}",
        f"1 decompositions use an answer before it is there (#k), such as that of {rows[3]['id']}",
    ):
        assert any(hint in said for said in report.hints), report


def test_workflows_that_the_limits_forbid_are_hinted_at() -> None:
    for limit in ({"limits.max_depth": 0}, {"limits.max_rounds": 1}):
        report = jade_env.check_scenario("cooperative", overrides={**SMALL, **limit})
        assert report.ok and any("limits: QDS and QDP can never run" in hint for hint in report.hints)
    assert not any("limits" in hint for hint in jade_env.check_scenario("cooperative", overrides=SMALL).hints)


def test_mistakes_are_reported_and_not_raised(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert "did you mean 'cooperative'" in jade_env.check_scenario("coperative").problems[0]
    assert "no folder mine" in jade_env.check_scenario(path).problems[0]
    (tmp_path / "mine" / "corpus.jsonl").write_text("")
    assert "corpus.jsonl" in jade_env.check_scenario(path, data=tmp_path).problems[0]
    (tmp_path / "mine" / "train.jsonl").write_text('{"id": "1", "question": "Who?"}\n')
    problem = jade_env.check_scenario(path, data=tmp_path).problems[0]
    assert "train.jsonl" in problem or "corpus.jsonl" in problem


def test_the_reason_of_a_retriever_that_fails_is_told_and_nothing_is_guessed(tmp_path: Path) -> None:
    retriever = {"kind": "remote", "urls": ["http://127.0.0.1:9"], "retries": 0}
    report = jade_env.check_scenario("small_world", overrides={**SMALL, "retriever": retriever})
    assert "of 64 episodes were cut short" in report.problems[0] and "127.0.0.1:9" in report.problems[0]
    assert not any("no workflow retrieves" in hint or "had no turn" in hint for hint in report.hints)


def test_what_never_retrieves_is_not_told_that_nothing_was_found() -> None:
    report = jade_env.check_scenario("cooperative", overrides={**SMALL, "workflows": ["AG"]})
    assert [hint for hint in report.hints if "retriev" in hint] == [
        "no workflow retrieves: answers come from the question alone"
    ]
