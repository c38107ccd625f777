"""A model behind a server: right texts in the right order or an error that names the endpoint, and a key that never leaks."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("httpx")
pytest.importorskip("tenacity")

from jade_env import cli
from jade_env.chat_recipe import RemoteChatRecipe
from jade_env.envs.pool import make_pool
from jade_env.envs.turn import Turn
from jade_env.errors import ConfigError, PolicyError
from jade_env.learning.evaluation import evaluate
from jade_env.policy import MixedPolicy, Policy, make_policy
from jade_env.policy.remote_chat import RemoteChatPolicy, _within
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario, load_scenario

KEY = "sk-test-0123456789abcdef"
SMALL = {"data.passages": 200, "data.train": 20, "data.dev": 20}
LASTING = {
    "error": "status 500: 'out of memory'",
    "busy": "status 429: .*slow down",
    "broken_json": r"no choices\[0\].message.content in it",
    "no_choices": "provider is down",
    "parts": r"no choices\[0\].message.content in it",
    "nested": r"no choices\[0\].message.content in it",
    "hang_up": "disconnected",
    "cut": "closed|peer",
    "slow": "no whole answer within 0.5 s",
    "drip": "no whole answer within 0.5 s",
    "zipped": "compressed",
}


class Server:
    """The chat server as a process."""

    def __init__(self, folder: Path) -> None:
        place = folder / "port"
        script = Path(__file__).with_name("chat_server.py")
        self.process = subprocess.Popen([sys.executable, str(script), str(place)])
        deadline = time.monotonic() + 20
        while not place.exists():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        self.root = f"http://127.0.0.1:{place.read_text()}"

    def plan(self, *faults: str, forever: str | None = None, key: str | None = None, shuffle: bool = False) -> None:
        plan = {"faults": faults, "forever": forever, "key": key, "shuffle": shuffle}
        urllib.request.urlopen(f"{self.root}/plan", json.dumps(plan).encode()).read()

    @property
    def log(self) -> dict[str, Any]:
        return json.loads(urllib.request.urlopen(f"{self.root}/log").read())

    def settings(self, **changes: Any) -> dict[str, Any]:
        quick = {"timeout": 10, "longest_pause": 0.05, "max_response_mb": 1}
        return {"learner": "remote_chat", "base_url": f"{self.root}/v1", "model": "tester"} | quick | changes

    def policy(self, seed: int = 0, **changes: Any) -> RemoteChatPolicy:
        return RemoteChatPolicy(RemoteChatRecipe(**self.settings(**changes)), seed)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    running.plan()
    return running


@pytest.fixture(scope="module")
def game() -> Scenario:
    return load_scenario("small_world", SMALL)


@pytest.fixture(scope="module")
def turns(game: Scenario) -> list[Turn]:
    return make_pool(game, 10, split="dev").turns()


def test_a_request_holds_prompt_limits_and_a_seed_of_its_own(server: Server, turns: list[Turn]) -> None:
    policy = server.policy(stop=["</workflow>"], temperature=0.7, extra_body={"top_k": 5})
    assert isinstance(policy, Policy)
    texts = policy.act(turns)
    asked = [request["body"] for request in server.log["requests"]]
    assert {request["path"] for request in server.log["requests"]} == {"/v1/chat/completions"}
    of = {body["messages"][1]["content"]: body for body in asked}
    for turn, text in zip(turns, texts, strict=True):
        body = of[turn.messages_in("full")[1]["content"]]
        assert body["messages"] == turn.messages_in("full") != turn.messages  # whatever the scenario shows others
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("tester", 0.7, turn.card.max_tokens)
        assert (body["stop"], body["top_k"]) == (["</workflow>"], 5)
        assert text == ("<workflow>R,AG</workflow>", "<workflow>R,DS,AG</workflow>")[body["seed"] % 2]
    assert len({body["seed"] for body in asked}) == len(turns)
    assert all(0 <= body["seed"] < 2**31 for body in asked)


def test_what_a_server_calls_things_is_settable(server: Server, turns: list[Turn]) -> None:
    server.policy(limit_field="max_completion_tokens", max_tokens=900, temperature=None).act(turns[:1])
    body = server.log["requests"][0]["body"]
    assert body["max_completion_tokens"] == 900
    assert not {"max_tokens", "temperature", "stop"} & set(body)


def test_texts_do_not_depend_on_the_batch_or_on_who_answers_first(server: Server, turns: list[Turn]) -> None:
    apart = [server.policy().act([turn])[0] for turn in turns]
    server.plan(shuffle=True)
    assert server.policy(concurrency=10).act(turns) == apart
    server.plan("error", "busy", "hang_up", "cut")
    assert server.policy(longest_pause=0.2).act(turns[::-1]) == apart[::-1]
    assert server.policy().act([]) == []


def test_seeds_of_requests_follow_the_policys_seed(server: Server, turns: list[Turn]) -> None:
    for seed in (1, 1, 2):
        server.policy(seed).act(turns[:1])
    one, again, other = (request["body"]["seed"] for request in server.log["requests"])
    assert one == again != other


def test_no_more_requests_than_allowed_are_under_way_and_connections_are_kept(
    server: Server, turns: list[Turn]
) -> None:
    server.plan(shuffle=True)
    policy = server.policy(concurrency=3)
    policy.act(turns)
    policy.act(turns)
    log = server.log
    assert log["most_together"] == 3 and len(log["requests"]) == 20
    assert log["connections"] <= 4  # three of ours, and the one that asks


@pytest.mark.parametrize("fault", LASTING)
def test_a_failure_that_lasts_names_endpoint_and_fault_and_is_never_an_empty_answer(
    server: Server, turns: list[Turn], fault: str
) -> None:
    server.plan(forever=fault)
    policy = server.policy(retries=1, timeout=0.5 if fault in ("slow", "drip") else 10)
    with pytest.raises(PolicyError, match=LASTING[fault]) as failed:
        policy.act(turns[:1])
    assert f"planner: {server.root}/v1/chat/completions: " in str(failed.value)
    assert str(failed.value).endswith("(tried 2 times)")
    spent = policy.ledger.total
    assert (spent.requests, spent.failures, spent.completion_tokens) == (2, 2, 0)


@pytest.mark.parametrize(
    ("fault", "says"),
    [("refused", "status 404: .*no model tester"), ("moved", "status 307"), ("huge", "more than 1 MB")],
)
def test_a_failure_that_cannot_pass_is_not_tried_again(
    server: Server, turns: list[Turn], fault: str, says: str
) -> None:
    server.plan(forever=fault)
    with pytest.raises(PolicyError, match=says):
        server.policy(retries=5).act(turns[:1])
    assert len(server.log["requests"]) == 1


def test_nobody_at_the_address_is_said(turns: list[Turn]) -> None:
    settings = RemoteChatRecipe(base_url="http://127.0.0.1:9/v1", model="x", retries=1, longest_pause=0.01)
    with pytest.raises(PolicyError, match=r"127.0.0.1:9/v1/chat/completions: .*connect.* \(tried 2 times\)"):
        RemoteChatPolicy(settings).act(turns[:1])


@pytest.mark.parametrize(
    ("fault", "longest", "least", "most"),
    [("busy", 9.0, 1.0, 5.0), ("very_busy", 0.3, 0.3, 5.0), ("busy_until", 9.0, 0.9, 6.0)],
)
def test_retry_after_is_honoured_within_a_bound(
    server: Server, turns: list[Turn], fault: str, longest: float, least: float, most: float
) -> None:
    server.plan(fault)
    began = time.monotonic()
    server.policy(longest_pause=longest).act(turns[:1])
    assert least <= time.monotonic() - began < most


def test_one_request_that_fails_ends_the_others(server: Server, turns: list[Turn]) -> None:
    server.plan("refused", forever="slow")
    began = time.monotonic()
    with pytest.raises(PolicyError, match="status 404"):
        server.policy(timeout=30).act(turns)
    assert time.monotonic() - began < 5


def test_the_ledger_counts_requests_and_tokens_by_agent_and_prints_as_a_table(server: Server, game: Scenario) -> None:
    server.plan("error", "null")
    policy = server.policy(longest_pause=0.01)
    evaluate(policy, game, episodes=4)
    log = server.log["requests"]
    assert policy.ledger.total.requests == len(log)
    assert policy.ledger.total.failures == 1
    assert (policy.ledger.total.empty, policy.ledger.total.cut) == (1, 1)
    words = sum(len(m["content"].split()) for request in log[2:] for m in request["body"]["messages"])
    assert policy.ledger.total.prompt_tokens == words
    assert set(policy.ledger.by_agent) >= {"planner", "answer_generator"}
    lines = str(policy.ledger).splitlines()
    assert lines[0] == f"tester at {server.root}/v1"
    assert lines[1].split() == ["requests", "failures", "prompt", "tokens", "completion", "tokens", "empty", "cut"]
    assert lines[-1].split()[:2] == ["total", str(len(log))]


def test_half_characters_neither_stop_a_request_nor_come_back(server: Server, turns: list[Turn]) -> None:
    server.plan("surrogate")
    assert server.policy().act(turns[:1]) == ["<answer>?</answer>"]


def test_a_server_that_ignores_the_limit_does_not_fill_other_prompts() -> None:
    assert _within("<answer>Oslo</answer>", 3) == "<answer>Oslo</answer>"
    assert _within("a b  c d", 3) == "a b  c"
    assert len(_within("x" * 800_000, 64)) == 64 * 32


def test_thoughts_before_an_answer_are_no_part_of_it(server: Server, turns: list[Turn]) -> None:
    server.plan("thinks")
    assert server.policy().act(turns[:1]) == ["<answer>yes <think></answer>"]


# ---- the key --------------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_is_sent(
    server: Server, turns: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan(key=KEY)
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert len(server.policy(api_key_env="MY_KEY").act(turns)) == len(turns)
    assert {request["key"] for request in server.log["requests"]} == {f"Bearer {KEY}"}


def test_a_wrong_or_missing_key_is_said_without_showing_it(
    server: Server, turns: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan(key="another")
    with pytest.raises(PolicyError, match="status 401.*variable OPENAI_API_KEY, which is not set"):
        server.policy().act(turns[:1])
    assert server.log["requests"][0]["key"] is None
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(PolicyError, match=r"wrong key in Bearer \*\*\*.*its value was sent") as failed:
        server.policy().act(turns[:1])
    assert KEY not in str(failed.value)


def test_the_key_is_in_no_log_error_or_printed_object(
    server: Server, turns: list[Turn], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.plan("none", "error", "refused")
    policy = server.policy()
    with caplog.at_level(logging.DEBUG):
        policy.act(turns[:1])
        with pytest.raises(PolicyError) as failed:
            policy.act(turns[1:2])
    assert server.log["requests"][0]["key"] == f"Bearer {KEY}" and "127.0.0.1" in caplog.text
    links: list[BaseException | None] = [failed.value, failed.value.__cause__, failed.value.__context__]
    shown = [caplog.text, repr(policy), str(policy.ledger), *(repr(link) for link in links)]
    assert not any(KEY in text for text in shown)


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters") as refused:
        server.policy()
    assert KEY not in str(refused.value)


# ---- settings -------------------------------------------------------------------------------------------------------


def test_every_knob_is_documented() -> None:
    undocumented = {key for key, field in RemoteChatRecipe.model_fields.items() if not field.description}
    assert undocumented == {"name", "learner"}


def test_the_shipped_example_is_a_recipe_for_a_server_on_this_machine() -> None:
    recipe = load_recipe("remote_chat")
    assert isinstance(recipe, RemoteChatRecipe) and recipe.base_url.startswith("http://127.0.0.1")
    assert isinstance(make_policy("remote_chat", "small_world"), RemoteChatPolicy)
    assert isinstance(make_policy("remote_chat:remote_chat", "small_world"), RemoteChatPolicy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"api_key": KEY}, "api_key: unknown key; did you mean 'api_key_env'"),
        ({"api_key_env": KEY}, "expected the name of an environment variable"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "it holds a password"),
        ({"base_url": "host:8000"}, "is not a base URL"),
        ({"base_url": "http://host/v1/chat/completions"}, "leave out /chat/completions"),
        ({"extra_body": {"seed": 1}}, "seed is not for here"),
        ({"concurrency": 0}, "concurrency: input should be greater than 0"),
        ({"temperatur": 1}, "did you mean 'temperature'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused_and_a_key_among_them_not_repeated(
    changes: dict[str, Any], says: str
) -> None:
    tree = {"learner": "remote_chat", "base_url": "http://127.0.0.1:1/v1", "model": "x"} | changes
    with pytest.raises(ConfigError) as refused:
        make_policy(tree, "small_world")
    assert says in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_recipe_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="sb3_shared: learner: sb3 is no server's model"):
        make_policy("remote_chat:sb3_shared", "small_world")


# ---- on the command line ----------------------------------------------------------------------------------------------


def jade(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def written(server: Server, folder: Path, **changes: Any) -> Path:
    file = folder / "my.yaml"
    file.write_text(json.dumps(server.settings(**changes)))  # JSON is YAML
    return file


WORLD = ("small_world", *(f"{key}={value}" for key, value in SMALL.items()))


def test_eval_plays_a_server_and_says_what_it_cost(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(server, tmp_path)
    server.plan(key=KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    done = jade("eval", f"remote_chat:{file}", *WORLD, "--episodes", "5", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["episodes"] == 5
    assert "planner" in done.stderr and "prompt tokens" in done.stderr
    team = jade("eval", f"planner={file},default=random", *WORLD, "--episodes", "5")
    assert team.exit_code == 0 and "f1" in team.stdout, team.output
    assert "planner" in team.stderr and "answer_generator" not in team.stderr
    assert KEY not in done.output + team.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.yaml"]


def test_a_server_that_is_down_is_one_sentence_and_exit_code_2(server: Server, tmp_path: Path) -> None:
    server.plan(forever="error")
    done = jade("eval", f"remote_chat:{written(server, tmp_path, retries=1)}", *WORLD, "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("jade: planner: http://127.0.0.1") and done.stderr.count("\n") == 1


def test_training_a_servers_model_is_refused_with_what_to_do() -> None:
    done = jade("train", "small_world", "--policy", "remote_chat")
    assert done.exit_code == 2
    assert "plays and does not learn here: try jade eval remote_chat:remote_chat small_world" in done.stderr


def test_ctrl_c_ends_requests_under_way_at_once(server: Server, tmp_path: Path) -> None:
    server.plan(forever="slow")
    file = written(server, tmp_path, timeout=60)
    command = [sys.executable, "-m", "jade_env.cli", "eval", f"remote_chat:{file}", *WORLD]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not server.log["requests"]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 6
    assert (process.returncode, errors.strip()) == (130, "jade: stopped")


def test_a_team_of_texts_and_numbers_plays_one_game(server: Server, game: Scenario) -> None:
    members = {"planner": server.settings(), "answer_generator": server.settings(), "default": "random"}
    team = make_policy(members, game.model_copy(update={"mode": "discrete"}))
    assert isinstance(team, MixedPolicy)
    rows = evaluate(team, game, episodes=5)
    assert len(rows) == 5 and all(not row.failed for row in rows)
    assert {row.workflow for row in rows} <= {"R,AG", "R,DS,AG"}
    assert team.member("planner") is team.member("answer_generator") is not team.member("document_selector")
