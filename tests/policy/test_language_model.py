"""How a language model is asked to play, role by role: temperatures and prompt budgets by agent."""

from __future__ import annotations

import copy
import pickle

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import jade_env
from jade_env.envs.turn import Turn, Written
from jade_env.errors import ConfigError
from jade_env.learning.evaluation import evaluate
from jade_env.policy import make_policy
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.sampling import Sample

SMALL = {"data.passages": 300, "data.train": 60}
EPISODES = 48


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("jade-tiny", device="cpu")


def turns_after(*plan: str, scenario: str = "small_world") -> list[Turn]:
    """The open turns of many episodes: the planners', or those that follow a plan of theirs."""
    pool = jade_env.make_pool(scenario, EPISODES, seed=2, mode="text", overrides=SMALL)
    for workflow in plan:
        pool.step({turn.id: f"<workflow>{workflow}</workflow>" for turn in pool.turns()})
    return list(pool.turns())


@pytest.fixture(scope="module")
def plans() -> list[Turn]:
    return turns_after()


@pytest.fixture(scope="module")
def reading() -> list[Turn]:
    """Turns of executors that read documents or split a question."""
    return turns_after("R,DS,AG")[: EPISODES // 2] + turns_after("R,AG")[EPISODES // 2 :] + turns_after("QDS")[:8]


def test_a_hot_planner_tries_more_workflows_while_executors_write_token_for_token_the_same(
    tiny: Backbone, plans: list[Turn], reading: list[Turn]
) -> None:
    def played(planner: float) -> tuple[list[Sample], list[Sample]]:
        manner = Manner("brief", temperature={"default": 0.9, "planner": planner}, constrained=("planner",), slots=16)
        policy = LanguageModelPolicy(tiny, manner)
        samples = policy.generator.run(policy.requests([*plans, *reading]))
        return samples[: len(plans)], samples[len(plans) :]

    (cold, executed), (hot, again) = played(0.1), played(4.0)
    few, many = ({sample.text for sample in samples} for samples in (cold, hot))
    assert len(few) + 2 <= len(many) <= len(plans[0].game.rules.workflows)
    assert [sample.output for sample in executed] == [sample.output for sample in again]
    assert len({sample.output for sample in executed}) > len(executed) // 4
    assert {sample.temperature for sample in hot} == {4.0} and {sample.temperature for sample in again} == {0.9}


def test_a_table_is_read_by_agent_then_role_then_team_then_default() -> None:
    turns = {turn.agent: turn for turn in turns_after(scenario="duel")} | {
        turn.agent: turn for turn in turns_after("R,DS,AG", scenario="duel")
    }
    table = {"default": 0.5, "red": 0.6, "planner": 0.7, "red_planner": 0.8}
    manner = Manner(temperature=table, max_prompt={"blue_planner": 90, "document_selector": 80})
    assert {agent: manner.temperature_of(turn) for agent, turn in turns.items()} == {
        "red_planner": 0.8,
        "blue_planner": 0.7,
        "red_document_selector": 0.6,
        "blue_document_selector": 0.5,
    }
    assert {agent: manner.longest_prompt(turn) for agent, turn in turns.items()} == {
        "red_planner": None,
        "blue_planner": 90,
        "red_document_selector": 80,
        "blue_document_selector": 80,
    }
    assert Manner(temperature={"red": 2.0}).temperature_of(turns["blue_planner"]) == 1.0


def test_a_prompt_beyond_its_own_roles_budget_is_refused_and_others_are_not(
    tiny: Backbone, plans: list[Turn], reading: list[Turn]
) -> None:
    policy = LanguageModelPolicy(tiny, Manner("brief", max_prompt={"document_selector": 90}))
    answering = [turn for turn in reading if turn.role == "answer_generator"]
    longest = max(len(request.prompt) for request in policy.requests([*plans, *answering]))
    assert longest > 90
    with pytest.raises(ConfigError, match=r"document_selector, question \w+: the prompt has \d+ tokens and 90 fit"):
        policy.requests(reading)


def test_only_the_role_with_a_budget_loses_documents(tiny: Backbone, plans: list[Turn], reading: list[Turn]) -> None:
    turns = [*plans, *reading]
    whole = LanguageModelPolicy(tiny, Manner("brief")).requests(turns)
    policy = LanguageModelPolicy(
        tiny, Manner("brief", max_prompt={"default": 400, "document_selector": 90}, overlong="truncate")
    )
    cut = 0
    for turn, before, after in zip(turns, whole, policy.requests(turns), strict=True):
        if turn.role == "document_selector":
            assert len(after.prompt) <= 90
            cut += after.prompt != before.prompt
        else:
            assert after.prompt == before.prompt
    assert cut == policy.truncated > 0


def test_a_solvers_searches_and_an_adversarys_passages_are_cut_until_the_prompt_fits(tiny: Backbone) -> None:
    pool = jade_env.make_pool("monolithic", 4, seed=2, mode="text", overrides=SMALL)
    for query in ("mayor of the capital", "author of the book"):
        pool.step({turn.id: f"<search>{query}</search>" for turn in pool.turns()})
    solvers = pool.turns()
    pool = jade_env.make_pool("adversarial_retrieval", 4, seed=2, mode="text", overrides=SMALL)
    pool.step({turn.id: "<workflow>R,AG</workflow>" for turn in pool.turns()})
    adversaries = pool.turns()
    assert {turn.role for turn in [*solvers, *adversaries]} == {"solver", "adversary"}
    for turns in (solvers, adversaries):
        longest = min(len(request.prompt) for request in LanguageModelPolicy(tiny, Manner("brief")).requests(turns))
        for budget in (longest - 1, longest // 2):
            policy = LanguageModelPolicy(tiny, Manner("brief", max_prompt=budget, overlong="truncate"))
            assert max(len(request.prompt) for request in policy.requests(turns)) <= budget
            assert policy.truncated == len(turns)


def test_a_selector_is_held_to_the_documents_that_it_reads(tiny: Backbone, reading: list[Turn]) -> None:
    selecting = [turn for turn in reading if turn.role == "document_selector"]
    manner = Manner("brief", constrained=("document_selector",), max_prompt=50, overlong="truncate")
    for turn, request in zip(selecting, LanguageModelPolicy(tiny, manner).requests(selecting), strict=True):
        shown = sum(f"Document{i} (" in tiny.decode(list(request.prompt)) for i in range(9))
        assert request.grammar is not None and shown < len(turn.view.documents)
        outputs = [tuple(tiny.encode_output(turn.format(tuple(range(count))))) for count in (shown, shown + 1)]
        assert [request.grammar.walk(output) is None for output in outputs] == [False, True]


def test_what_a_model_writes_is_charged_by_the_token_and_what_others_write_by_the_word(
    tiny: Backbone, reading: list[Turn]
) -> None:
    policy = LanguageModelPolicy(tiny, Manner("brief"))
    samples = policy.generator.run(policy.requests(reading))
    played = [turn.output(action) for turn, action in zip(reading, policy.act(reading), strict=True)]
    assert [output.tokens for output in played] == [len(sample.output) for sample in samples]
    plain = [turn.output(str(output.text)) for turn, output in zip(reading, played, strict=True)]
    assert [output.text for output in plain] == [output.text for output in played]
    words = [len(output.text.split()) for output in played]
    assert [output.tokens for output in plain] == words != [output.tokens for output in played]
    assert type(played[0].text) is str
    written = Written("<answer>42</answer>", 7)
    for copied in (copy.deepcopy(written), pickle.loads(pickle.dumps(written))):
        assert (copied, copied.tokens) == ("<answer>42</answer>", 7)


def test_a_model_is_a_policy_by_name_alone_and_in_a_team(tiny: Backbone) -> None:
    game = jade_env.load_scenario("small_world", SMALL | {"data.dev": 8})
    expected = evaluate(LanguageModelPolicy(tiny, Manner("brief", greedy=True)), game, "dev")
    assert evaluate(make_policy("language_model:jade-tiny", game), game, "dev") == expected
    team = make_policy("planner=heuristic,default=language_model:jade-tiny", game)
    assert {row.workflow for row in evaluate(team, game, "dev")} != {row.workflow for row in expected}


@pytest.mark.parametrize(
    ("place", "says"), [("", "needs a model: jade-tiny, a folder"), ("tests/policy", "tests/policy cannot be loaded")]
)
def test_a_model_that_is_none_is_refused(place: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_policy(f"language_model:{place}", "small_world")


def test_halves_of_characters_in_a_document_do_not_stop_a_model() -> None:
    backbone = load_backbone("jade-tiny")
    said = [
        [{"role": "system", "content": "s"}, {"role": "user", "content": f"Where is {name} born?"}]
        for name in ("\ud800", "?")
    ]
    one, other = backbone.encode_batch(said)
    assert one == other and backbone.encode_output("\ud800") == backbone.encode_output("?")
