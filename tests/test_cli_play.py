"""`jade play`: an episode, step by step, in the terminal."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from jade_env import cli

SMALL = ("data.passages=300", "data.train=20", "data.dev=20")
RUNNER = CliRunner()


def jade(*words: str, stdin: str | None = None) -> Result:
    return RUNNER.invoke(cli.app, list(words), input=stdin)


def test_play_shows_the_whole_episode_to_someone_who_presses_enter() -> None:
    result = jade("play", "cooperative", "--policy", "random", *SMALL, stdin="\n" * 80)
    assert result.exit_code == 0, result.output
    assert "planner ──" in result.stdout and "gold" in result.stdout and "F1" in result.stdout


def test_play_asks_again_until_it_gets_a_candidates_number() -> None:
    words = ("play", "cooperative", "--policy", "random", "--as", "planner", "--question", "dev_3", *SMALL)
    result = jade(*words, stdin="0\n9\nsix\n1\n")
    assert result.exit_code == 0
    assert result.stdout.count("a number from 1 to 8, please") == 3
    assert "<workflow>AG</workflow>" in result.stdout


def test_play_hides_gold_until_the_end() -> None:
    result = jade("play", "cooperative", "--policy", "random", "--as", "planner", *SMALL, stdin="p\nq\n")
    assert result.exit_code == 0
    assert "left the game" in result.stdout
    assert "gold" not in result.stdout and "★" not in result.stdout


def test_play_in_text_mode_takes_what_is_written() -> None:
    words = ("play", "cooperative", "--policy", "random", "--as", "answer_generator", "--mode", "text")
    result = jade(*words, "workflows=[[R,AG]]", *SMALL, stdin="<answer>[bold]Oslo[/]</answer>\n")
    assert result.exit_code == 0
    assert "writes      <answer>[bold]Oslo[/]</answer>" in result.stdout
    assert "answer  [bold]Oslo[/]" in result.stdout


def test_play_says_what_a_malformed_output_costs() -> None:
    words = ("play", "cooperative", "--policy", "random", "--as", "answer_generator", "--mode", "text")
    result = jade(*words, "workflows=[[R,AG]]", *SMALL, stdin="Oslo\n")
    assert "it takes effect as its fallback and costs 1" in result.stdout


def test_play_leaves_cleanly_at_the_end_of_input() -> None:
    result = jade("play", "cooperative", "--policy", "random", "--as", "planner", *SMALL, stdin="")
    assert result.exit_code == 0
    assert "left the game" in result.stdout
