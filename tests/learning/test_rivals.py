"""Learning against others: a side of a duel, an adversary, private costs, past selves, a language model on both sides."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jade_env
from jade_env.envs.table import Table
from jade_env.errors import ConfigError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.learning import checkpoint
from jade_env.learning.evaluation import EpisodeRow, chosen_by, evaluate, means_of
from jade_env.learning.experience import ADVERSARY, Experience
from jade_env.learning.joint import train_language
from jade_env.learning.past_selves import PastSelves
from jade_env.learning.player import network_of
from jade_env.learning.sb3 import TurnVecEnv, make_vec_env
from jade_env.learning.shares import shares
from jade_env.learning.trainer import train
from jade_env.learning.training_pool import TrainingPool
from jade_env.policy import MixedPolicy, make_policy
from jade_env.policy.sampling import Sample
from jade_env.policy.tiny import make_tiny
from jade_env.recipe import load_recipe

SMALL = {"data.passages": 300, "data.train": 200, "data.dev": 12, "data.test": 12}
SHORT = {"total_timesteps": 512, "n_envs": 8, "n_steps": 32, "batch_size": 64, "eval_every": 256, "eval_episodes": 8}


def scenario(name: str, **more: Any) -> Any:
    return jade_env.load_scenario(name, {**SMALL, **more})


def test_a_duellist_s_rows_earn_its_own_score_minus_its_rival_s() -> None:
    env = make_vec_env(scenario("duel"), 6, agents=["blue"], partners="random", seed=1)
    env.reset()
    rng, ended = np.random.default_rng(0), 0
    for _ in range(120):
        actions = [rng.choice(np.flatnonzero(mask)) for mask in env.action_masks()]
        assert all(slot.turn.agent.startswith("blue_") for slot in env._slots)
        slots = list(env._slots)
        _, rewards, dones, _ = env.step(np.array(actions))
        for slot, reward, done in zip(slots, rewards, dones, strict=True):
            if done:
                assert reward == pytest.approx(slot.episode.payoffs["blue_planner"])
                ended += 1
            else:
                assert reward == 0.0
    assert ended > 20


@pytest.mark.parametrize(
    ("name", "agents", "message"),
    [
        (
            "duel",
            ["planner"],
            "blue_planner, red_planner play against each other: choose those of one side, such as train=\\[red\\]",
        ),
        ("adversarial_retrieval", ["adversary", "planner"], "play against each other"),
        ("private_costs", ["planner", "answer_generator"], "rewards are private, so one agent learns at a time"),
        ("duel", ["green"], "'green' is not in the team"),
    ],
)
def test_agents_with_different_rewards_do_not_share_a_learner(name: str, agents: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vec_env(scenario(name), 4, agents=agents)


def test_an_agent_with_private_costs_is_charged_for_its_own_turns_only() -> None:
    env = make_vec_env(
        scenario("private_costs", **{"reward.turn_cost": 0.5}), 4, agents=["planner"], partners="teacher"
    )
    env.reset()
    for _ in range(40):
        slots = list(env._slots)
        _, rewards, dones, _ = env.step(np.ones(4, np.int64))  # AG, always
        for slot, reward, done in zip(slots, rewards, dones, strict=True):
            if done and slot.episode.result is not None:
                result = slot.episode.result
                own = [turn.output for turn in slot.episode.trace.played if turn.agent == "planner"]
                assert sum(output.tokens for output in own) == len(own), "the one word that it takes to say AG"
                assert reward == pytest.approx(result.outcome - result.cost - (0.5 + 0.001) * len(own))


def test_an_adversary_learns_to_hurt_a_team_that_reads_well(tmp_path: Path) -> None:
    game = scenario("adversarial_retrieval", **{"workflows": [["R", "AG"]], "data.mixture": {"single": 1.0}})
    recipe = load_recipe("attacker", {**SHORT, "total_timesteps": 4096, "partners": "heuristic"})
    run = train(game, recipe, tmp_path / "run").folder
    from jade_env.learning.evaluation import evaluate

    def f1(adversary: Any) -> float:
        policy = make_policy({"team": "heuristic", "adversary": adversary}, game)
        return float(np.mean([row.f1 for row in evaluate(policy, game, "train", 100)]))

    alone, random, hurt = f1("idle"), f1("random"), f1(str(run))
    assert alone > 0.6 and hurt < alone - 0.25 and hurt < random


def test_self_play_meets_its_past_selves_and_goes_on_exactly(tmp_path: Path) -> None:
    game, knobs = scenario("duel"), {**SHORT, "freeze_every": 256, "checkpoint_every": 256}

    recipe = load_recipe("self_play", {**knobs, "total_timesteps": 768})

    def stop(done: int, total: int) -> None:
        if done > 600:
            raise KeyboardInterrupt

    unbroken = train(game, recipe, tmp_path / "unbroken").folder
    with pytest.raises(KeyboardInterrupt, match="can be gone on with"):
        train(game, recipe, tmp_path / "broken", progress=stop)
    broken = train(game, recipe, tmp_path / "broken", resume=True).folder
    for name, tensor in checkpoint.load_weights(unbroken, 768).items():
        assert np.array_equal(tensor.numpy(), checkpoint.load_weights(broken, 768)[name].numpy()), name
    frozen = [sorted(file.name for file in (folder / "past").iterdir()) for folder in (unbroken, broken)]
    assert frozen[0] == frozen[1] == [f"{n:09d}.safetensors" for n in (0, 256, 512, 768)]
    records = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    wins = [record["wins"] for record in records if "wins" in record][-1]
    assert list(wins) == ["0", "256", "512"] and all(0 <= share <= 1 for share in wins.values())
    policy = make_policy(f"red={unbroken},blue=random", game)
    assert isinstance(policy, MixedPolicy)


def test_a_game_has_one_opponent_from_beginning_to_end(tmp_path: Path) -> None:
    class Known:
        """Says which games it has played."""

        def __init__(self, name: int) -> None:
            self.name = name

        def act(self, turns: Any) -> list[int]:
            for turn in turns:
                met.setdefault(turn.episode // 2, []).append(self.name)
            return [1] * len(turns)

    game, met = scenario("duel"), dict[int, list[int]]()
    pool = jade_env.make_pool(game, 16, seed=0)
    recipe = load_recipe("self_play", SHORT).resolved()
    agents = pool.agents
    past = PastSelves(tmp_path, recipe, agents, 1, -1)
    net = network_of(recipe, len(agents))
    for step in range(60):
        if step % 15 == 0:
            past.freeze(step, net, pool.dealer.next_index // 2 if step else 0)
            past.selves[step] = Known(step)  # type: ignore[assignment]
        turns = pool.turns()
        pool.step({turn.id: action for turn, action in zip(turns, past.act(turns), strict=True)})
    assert all(len(set(selves)) == 1 for selves in met.values())
    assert {selves[0] for selves in met.values()} == {0, 15, 30, 45}
    again = PastSelves(tmp_path, recipe, agents, 1, 45)
    again.selves = {name: Known(name) for name in again.selves}  # type: ignore[misc]
    before = {number: selves[0] for number, selves in met.items()}
    met.clear()
    again.act(pool.turns())
    assert all(before.get(number, selves[0]) == selves[0] for number, selves in met.items()) and met


def test_past_selves_play_duels_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="past selves play duels, and cooperative is none"):
        train(scenario("cooperative"), load_recipe("self_play", SHORT), tmp_path / "run")
    with pytest.raises(ConfigError, match="partners: 'pats' is not one of random, heuristic"):
        load_recipe("self_play", {"partners": "pats"})


def test_a_run_goes_on_from_another_s_network_of_the_same_shape(tmp_path: Path) -> None:
    first = train(scenario("cooperative"), load_recipe("sb3_shared", SHORT), tmp_path / "first").folder
    again = train(
        scenario("cooperative"), load_recipe("sb3_shared", {**SHORT, "start": str(first)}), tmp_path / "again"
    ).folder
    begun, best = checkpoint.load_weights(again, 0), checkpoint.best_timesteps(first)
    assert best is not None
    for name, tensor in checkpoint.load_weights(first, best).items():
        assert np.array_equal(tensor.numpy(), begun[name].numpy())
    with pytest.raises(ConfigError, match="has another shape"):
        train(scenario("static"), load_recipe("sb3_shared", {**SHORT, "start": str(first)}), tmp_path / "static")


def test_experience_knows_who_shares_a_reward() -> None:
    for name, teams in (
        ("duel", {"red", "blue"}),
        ("adversarial_retrieval", {"team", ADVERSARY}),
        ("private_costs", None),
        ("cooperative", {"team"}),
    ):
        pool = jade_env.make_pool(scenario(name), 8, (2, 2), seed=0, mode="discrete")
        policy, done = make_policy("random", pool.scenario), []
        while len(done) < 16:
            turns = pool.turns()
            done += pool.step(dict(zip([t.id for t in turns], policy.act(turns), strict=True)))
        experience = Experience()
        experience.add(done)
        rows = list(experience)
        assert {row.team for row in rows} == (teams or {row.agent for row in rows})
        for sequence in {(row.episode, row.team) for row in rows}:
            own = [row for row in rows if (row.episode, row.team) == sequence]
            assert [row.last for row in own] == [False] * (len(own) - 1) + [True]
            paid = next(e for e in done if e.index == sequence[0]).payoffs[own[0].agent]
            assert sum(row.reward for row in own) == pytest.approx(paid + sum(row.penalty for row in own))
        plans = {
            row.plan: {(r.question, r.value) for r in rows if r.plan == row.plan and r.planning_root} for row in rows
        }
        assert all(len(written) <= 1 for written in plans.values()), "executions of a plan share it"


def test_a_language_model_plays_and_learns_both_sides_of_a_duel(tmp_path: Path) -> None:
    game = jade_env.load_scenario("small_world", {"data.passages": 200, "data.train": 20, "data.dev": 4})
    game = type(game).model_validate(
        game.model_dump() | {"teams": ["red", "blue"], "reward": game.reward.model_dump() | {"sharing": "zero_sum"}}
    )
    knobs = {"steps": 1, "questions": 2, "plans": 2, "executions": 2, "eval_episodes": 2, "minibatches": 1, "epochs": 1}
    run = train_language(game, load_recipe("jade_joint", knobs), tmp_path / "run")
    record = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()][-1]
    assert record["played"]["episodes"] == 2 * 2 * 2 * 2
    assert {name.split("_")[0] for name in record["roles"]} >= {"red", "blue"}
    policy = make_policy(str(run.folder), game)
    assert policy.act(jade_env.make_pool(game, 2, seed=0, mode="text").turns())


def test_credit_compares_each_team_with_itself() -> None:
    pool = jade_env.make_pool(scenario("adversarial_retrieval"), 8, (2, 2), seed=0, mode="text")
    from jade_env.policy.sampling import Sample

    policy, done, samples = make_policy("random", pool.scenario), [], {}
    while len(done) < 16:
        turns = pool.turns()
        for turn in turns:
            samples[turn.id] = Sample((1,), (2,), np.zeros(1, np.float32), "x", True)
        done += pool.step(dict(zip([t.id for t in turns], policy.act(turns), strict=True)))
    experience = Experience()
    experience.add(done, 0, samples)
    recipe = load_recipe("jade_joint", {"plans": 2, "executions": 2, "normalize": "none", "credit": "leave_one_out"})
    agents = Experience.column(experience, "agent")
    assert len(agents)
    found = shares(experience, recipe, ["adversary", "answer_generator"], 0.0)
    rows = list(experience)
    for share in found:
        row = rows[share.place]
        same = {r.episode: r.outcome for r in rows if r.question == row.question and r.team == row.team}
        others = [value for episode, value in same.items() if episode != row.episode]
        expected = row.outcome - np.mean(others) + row.penalty if others else row.penalty
        if not row.planning_root:
            assert share.advantage[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("how", ["all", "per_part", "per_role"])
@pytest.mark.parametrize("name", ["adversarial_retrieval", "duel", "private_costs"])
def test_advantages_are_scaled_among_those_who_receive_the_same(name: str, how: str) -> None:
    pool = jade_env.make_pool(scenario(name), 48, (3, 2), seed=0)
    policy, done = make_policy("random", scenario(name)), list[Episode]()
    samples: dict[Any, Sample] = {}
    while len(done) < 192:
        turns = pool.turns()
        samples |= {turn.id: Sample((1,), (2,), np.zeros(1, np.float32), "x", True) for turn in turns}
        done += pool.step(dict(zip([turn.id for turn in turns], policy.act(turns), strict=True)))
    experience = Experience()
    experience.add(done, 0, samples)
    plan = load_recipe("jade_joint", {"normalize": how, "credit": "episode_gae", "critic": "head"})
    found = shares(experience, plan, pool.agents, 0.0, [0.0] * sum(row.sample is not None for row in experience))
    for team in {row.team for row in experience}:
        own = [share.advantage[0] for share in found if experience[share.place].team == team]
        assert np.sqrt(np.mean(np.square(own))) == pytest.approx(1.0, abs=0.05), team
        assert how == "per_role" or abs(np.mean(own)) < 0.05, team


@pytest.mark.parametrize(
    ("name", "learned", "by"),
    [
        ("adversarial_retrieval", ["adversary"], "reward"),
        ("adversarial_retrieval", ["planner", "answer_generator"], "reward"),
        ("adversarial_retrieval", ["planner", "adversary"], "net"),
        ("private_costs", ["planner"], "reward"),
        ("duel", ["blue_planner"], "reward"),
        ("duel", ["blue_planner", "red_planner"], "net"),
        ("cooperative", ["planner"], "net"),
    ],
)
def test_the_best_checkpoint_is_that_at_which_those_who_learn_receive_most(
    name: str, learned: list[str], by: str
) -> None:
    game = scenario(name)
    rows = evaluate(make_policy("random", game), game, episodes=12)
    assert chosen_by(game, learned, {}) == by and chosen_by(game, learned, {"net": 0.5}) == "net"
    figures = means_of(rows, game, learned)
    assert ("reward" in figures) == (name != "cooperative")
    if name == "duel":
        own = [row for row in rows if row.team == "blue" or len(learned) > 1]
        assert figures["episodes"] == len(own) and figures["reward"] == pytest.approx(np.mean([r.payoff for r in own]))
    elif name != "cooperative":
        theirs = [np.mean([row.payoffs[agent] for agent in learned]) for row in rows]
        assert figures["reward"] == pytest.approx(np.mean(theirs))


def test_sides_are_told_apart_whatever_they_are_called() -> None:
    game = scenario("duel", teams=["red", "ed"])
    rows = evaluate(make_policy("random", game), game, episodes=6)
    assert means_of(rows, game, ["red_planner"])["episodes"] == 6
    assert means_of(rows, game, ["red_planner"])["reward"] == -means_of(rows, game, ["ed_planner"])["reward"]


@pytest.mark.parametrize("agent", ["adversary", "planner"])
def test_a_language_model_keeps_the_checkpoint_that_is_best_for_those_who_learn(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is told of its evaluations: what the agent receives grows, and the net score falls."""
    make_tiny(0, width=32, layers=1, inner=32).save(tmp_path / "backbone")
    judged = 0

    def told(*args: Any, **options: Any) -> list[EpisodeRow]:
        nonlocal judged
        judged += 1
        rows = evaluate(*args, **options)
        return [replace(row, net=-0.1 * judged, payoffs={**row.payoffs, agent: 0.1 * judged}) for row in rows]

    monkeypatch.setattr("jade_env.learning.joint.evaluate", told)
    game = scenario("adversarial_retrieval" if agent == "adversary" else "private_costs")
    small = {"steps": 3, "questions": 1, "plans": 2, "executions": 1, "minibatches": 1, "eval_episodes": 4, "keep": 4}
    every = {"eval_every": 1, "checkpoint_every": 1, "overlong": "truncate", "backbone": str(tmp_path / "backbone")}
    plan = load_recipe("jade_joint", {**small, **every, "train": [agent]})
    train_language(game, plan, tmp_path / "run")
    assert checkpoint.best_timesteps(tmp_path / "run") == 3


def test_a_planner_that_learns_alone_learns_from_the_beginning(tmp_path: Path) -> None:
    game = scenario("cooperative", workflows=[["AG"], ["R", "AG"]])
    plan = load_recipe("sb3_shared", {**SHORT, "train": ["planner"], "partners": "random"})
    assert plan.explore_until > 0
    assert train(game, plan, tmp_path / "run").timesteps == 512


def test_a_game_of_which_one_side_was_cut_short_is_played_again_as_it_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    game, search, rng = scenario("duel"), Table.search, random.Random(0)

    def flaky(table: Table, waiting: Any) -> Any:
        if rng.random() < 0.15:
            raise RetrievalError("down")
        return search(table, waiting)

    def fresh() -> TurnVecEnv:
        reds = [agent for agent in TrainingPool(game, 2).agents if agent.startswith("red_")]
        return TurnVecEnv(TrainingPool(game, 32), reds, make_policy("random", game))

    def stand(env: TurnVecEnv) -> list[Any]:
        return [
            (e.index, bool(e.truncated), [(t.agent, t.output.value, t.output.valid) for t in e.trace.played])
            for e in env.pool.episodes
        ]

    env, draws, doomed = fresh(), np.random.default_rng(0), 0
    env.reset()
    while doomed < 3:
        monkeypatch.setattr(Table, "search", flaky)
        for _ in range(3):
            env.step(np.array([draws.choice(np.flatnonzero(mask)) for mask in env.action_masks()]))
        monkeypatch.setattr(Table, "search", search)
        doomed += any(slot.cuts and slot.actions for slot in env._slots)
        again = fresh()
        rows = again.restore(json.loads(json.dumps(env.snapshot())))
        assert stand(again) == stand(env) and again.snapshot() == env.snapshot()
        assert (rows == env._obs).all() and (again.action_masks() == env.action_masks()).all()
    monkeypatch.setattr(Table, "search", lambda table, waiting: flaky_always())
    with pytest.raises(RetrievalError, match="the episodes in play cannot be played again: .*down"):
        fresh().restore(env.snapshot())


def flaky_always() -> Any:
    raise RetrievalError("the server is down")


def test_a_run_does_not_go_on_beside_partners_that_play_otherwise_now(tmp_path: Path) -> None:
    game = scenario("cooperative")
    other = train(game, load_recipe("sb3_shared", {**SHORT, "total_timesteps": 512}), tmp_path / "other").folder
    knobs = {**SHORT, "train": ["planner"], "partners": str(other)}
    first = train(game, load_recipe("sb3_shared", {**knobs, "total_timesteps": 256}), tmp_path / "run").folder
    more = load_recipe("sb3_shared", {**knobs, "total_timesteps": 512})
    kept = {path: path.read_bytes() for path in (other / "checkpoints").glob("*/policy.safetensors")}
    for path in kept:
        path.write_bytes(kept[path][:-4] + b"\0\0\0\1")
    with pytest.raises(ConfigError, match=f"the run was begun beside checkpoint .*, of {other}, which plays by"):
        train(game, more, first, resume=True)
    config = json.loads((first / "config.json").read_text())  # as runs had it for a while
    config["partner"] = config.pop("partners")[str(other)]
    (first / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="the run was begun beside checkpoint"):
        train(game, more, first, resume=True)
    for path, content in kept.items():
        path.write_bytes(content)
    assert train(game, more, first, resume=True).timesteps == 512
