"""`jade eval`: tables, JSON and rows; which questions are played, and what is said where none can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jade_env import cli

SMALL = ("data.passages=300", "data.train=20", "data.dev=20")
RUNNER = CliRunner()


def jade(*words: str, stdin: str | None = None) -> Result:
    return RUNNER.invoke(cli.app, list(words), input=stdin)


def test_a_wrong_split_names_those_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "hotpotqa"
    assert jade("data", "world", "--out", str(folder), "--passages", "200", "--questions", "10").exit_code == 0
    result = jade("eval", "random", "hotpotqa", "--data", str(tmp_path), "--split", "trian")
    assert result.exit_code == 2
    assert "has no split 'trian'; it has train; did you mean 'train'?" in result.stderr


def test_eval_prints_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("eval", "random", "cooperative", "--episodes", "12", "--seed", "3", "--json", *SMALL)
    first, again = jade(*words), jade(*words)
    summary = json.loads(first.stdout)
    assert first.stdout.count("\n") == 1 and first.stderr == ""
    assert first.stdout == again.stdout
    assert (summary["scenario"], summary["policy"], summary["split"], summary["episodes"]) == (
        "cooperative",
        "random",
        "dev",
        12,
    )
    assert set(summary["metrics"]["f1"]) == {"mean", "low", "high"}


def test_eval_prints_tables() -> None:
    result = jade("eval", "random", "cooperative", "--mode", "text", *SMALL)
    assert result.exit_code == 0
    assert "random on cooperative, dev, 20 questions" in result.stdout
    assert "support_recall" in result.stdout and "compare_yesno" in result.stdout


def test_eval_takes_a_scripted_recipe_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nsummary: mine\nlearner: scripted\nscript: random\n")
    result = jade("eval", str(file), "cooperative", "--episodes", "5", "--json", *SMALL)
    assert json.loads(result.stdout)["episodes"] == 5


def test_eval_writes_a_line_a_question(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    result = jade("eval", "random", "cooperative", "--episodes", "5", "--rows", str(rows), *SMALL)
    assert result.exit_code == 0, result.stderr
    found = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    assert len(found) == 5 and {"question_id", "f1", "net", "return", "answer"} <= set(found[0])


def test_an_evaluation_without_a_retriever_says_why_and_is_none(tmp_path: Path) -> None:
    down = ("retriever.kind=remote", "retriever.urls=[http://127.0.0.1:9]", "retriever.retries=0")
    rows = tmp_path / "rows.jsonl"
    words = ("eval", "random", "cooperative", "--episodes", "3", "--rows", str(rows), *SMALL, *down)
    result = jade(*words, "workflows=[[R,AG],[R,DS,AG]]")
    assert result.exit_code == 1 and "3 of 3 episodes were cut short: http://127.0.0.1:9" in result.stderr
    assert all("127.0.0.1:9" in json.loads(line)["reason"] for line in rows.read_text().splitlines())
    assert jade(*words, "workflows=[[AG]]").exit_code == 0


def test_a_baseline_is_not_chosen_by_a_retriever_that_is_down() -> None:
    down = ("retriever.kind=remote", "retriever.urls=[http://127.0.0.1:9]", "retriever.retries=0")
    result = jade("eval", "heuristic", "cooperative", "--episodes", "3", *SMALL, *down)
    assert result.exit_code == 2 and "the best fixed workflow cannot be chosen on train" in result.stderr


@pytest.mark.parametrize(
    ("split", "near"),
    [
        ("devv", "dev"),
        ("testt", "test"),
        ("trian", "train"),
        ("Dev", "dev"),
        ("dve", "dev"),
        ("validation", "dev"),
        ("testing", "test"),
    ],
)
def test_a_slip_in_the_name_of_a_split_is_no_new_world(split: str, near: str) -> None:
    result = jade("eval", "random", "cooperative", "--split", split, "--episodes", "2", *SMALL)
    assert result.exit_code == 2 and f"no split '{split}'; did you mean '{near}'?" in result.stderr
    assert jade("eval", "random", "cooperative", "--split", "holdout", "--episodes", "2", *SMALL).exit_code == 0


def test_tables_show_every_number_whole_on_a_narrow_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = jade(
        "eval", "red=random,blue=heuristic", "duel", "--episodes", "6", "data.passages=300", "data.dev=12"
    ).stdout
    assert "…" not in shown and "payoff" in shown


def test_of_a_single_question_no_interval_is_told() -> None:
    found = json.loads(jade("eval", "random", "cooperative", "--episodes", "1", "--json", *SMALL).stdout)
    assert found["metrics"]["f1"]["low"] is None and found["metrics"]["f1"]["mean"] is not None


def test_a_question_of_another_split_is_told_by_its_split() -> None:
    result = jade("play", "cooperative", "--question", "train_3", *SMALL)
    assert result.exit_code == 2 and "split 'dev' has no question 'train_3', but 'train' has" in result.stderr


def test_the_ceiling_is_called_a_lower_bound() -> None:
    assert "a lower bound of the best" in jade("eval", "ceiling", "cooperative", "--episodes", "3", *SMALL).stdout
    assert "lower bound" not in jade("eval", "random", "cooperative", "--episodes", "3", *SMALL).stdout


def test_a_language_model_may_be_judged_at_another_temperature_and_with_documents_left_out() -> None:
    model = ["eval", "language_model:jade-tiny", "small_world", "--episodes", "6", "--json"]
    greedy, cold, hot = (
        json.loads(jade(*model, *more).stdout)["metrics"]
        for more in ((), ("--sampled", "--temperature", "0.01"), ("--sampled", "--temperature", "4"))
    )
    assert greedy == cold != hot
    long = jade(*model, "retriever.top_k=60")
    assert long.exit_code == 2 and "jade eval --truncate" in long.stderr
    cut = jade(*model, "--truncate", "retriever.top_k=60")
    assert cut.exit_code == 0 and "prompts lost documents" in cut.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--temperature", "0.5"), "goes with --sampled"), (("--sampled", "--temperature", "0.5"), "nobody here is one")],
)
def test_a_manner_that_nobody_has_is_refused(more: tuple[str, ...], said: str) -> None:
    refused = jade("eval", "random", "small_world", "--episodes", "2", *more)
    assert refused.exit_code == 2 and said in refused.stderr
