"""The parameter-sharing VecEnv and CandidatePolicy, with the real libraries around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy as maskable_evaluate_policy
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

import jade_env
from jade_env.envs.pool import Pool
from jade_env.errors import ConfigError, RetrievalError
from jade_env.learning.candidate_net import ILLEGAL, CandidateNet, Layout
from jade_env.learning.candidate_policy import CandidatePolicy
from jade_env.learning.sb3 import TurnVecEnv, make_vec_env
from jade_env.learning.training_pool import HELD_OUT_SEED, TrainingPool, held_out_count
from jade_env.policy import make_policy

SMALL = {"data.passages": 300, "data.train": 300, "data.dev": 40}


def vec_env(n: int = 8, **kwargs) -> TurnVecEnv:
    return make_vec_env("cooperative", n, overrides=SMALL, **kwargs)


def legal(env: VecEnv, rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in get_action_masks(env)])


def model_for(env: VecEnv, layout: tuple[int, int, int], **kwargs) -> MaskablePPO:
    settings = {"n_steps": 16, "batch_size": 64, "n_epochs": 1, "seed": 0, "device": "cpu"} | kwargs
    policy_kwargs = {"layout": layout, "network": (16,)} | settings.pop("policy_kwargs", {})
    return MaskablePPO(CandidatePolicy, env, policy_kwargs=policy_kwargs, **settings)


# ---- the VecEnv -----------------------------------------------------------------------------------------------------


def test_rewards_of_an_episode_add_up_to_its_net_score_and_r_global_counts_once():
    env, rng, seen = vec_env(), np.random.default_rng(0), 0
    env.reset()
    earned, length = np.zeros(8), np.zeros(8, int)
    for _ in range(150):
        _, rewards, dones, infos = env.step(legal(env, rng))
        earned += rewards
        length += 1
        assert (rewards[~dones] == 0).all()
        for place in np.flatnonzero(dones):
            info = infos[place]
            assert earned[place] == pytest.approx(info["net"], abs=1e-6)
            assert info["episode"]["r"] == pytest.approx(info["net"])
            assert info["episode"]["l"] == length[place] == info["turns"]
            assert info["TimeLimit.truncated"] is False
            assert info["terminal_observation"].shape == env.observation_space.shape
            earned[place], length[place], seen = 0.0, 0, seen + 1
    assert seen > 50


def test_a_malformed_row_costs_its_penalty_at_once():
    env, rng = vec_env(4), np.random.default_rng(0)
    env.reset()
    actions = legal(env, rng)
    actions[1] = 0  # the no-op on one's own turn
    _, rewards, dones, _ = env.step(actions)
    assert not dones[1]
    assert rewards[1] == -1.0


def test_rows_are_the_turns_of_the_aec_environment_in_its_order():
    rule = lambda mask, count: int(np.flatnonzero(mask)[count % mask.sum()])  # noqa: E731
    rows, env = [], vec_env(1, seed=3)
    obs = env.reset()
    for count in range(60):
        mask = env.action_masks()[0]
        rows.append((obs[0], mask))
        obs = env.step(np.array([rule(mask, count)]))[0]
    aec, count = jade_env.raw_env("cooperative", overrides=SMALL), 0
    aec.reset(seed=3)
    while count < 60:
        if not aec.agents:
            aec.reset()
        seen, _, ended, _, _ = aec.last()
        if ended:
            aec.step(None)
            continue
        assert np.array_equal(seen["observation"], rows[count][0])
        assert np.array_equal(seen["action_mask"].astype(bool), rows[count][1])
        aec.step(rule(rows[count][1], count))
        count += 1


def test_the_same_seed_gives_the_same_rows_and_is_used_at_the_first_reset_only():
    first, second = vec_env(seed=5), vec_env(seed=6)
    second.seed(5)
    a, b = first.reset(), second.reset()
    assert np.array_equal(a, b)
    again = second.reset()  # goes on in the order of questions
    assert not np.array_equal(b, again)
    second.seed(5)
    assert np.array_equal(second.reset(), a)


def test_unknown_options_warn_and_do_not_raise():
    env = vec_env(2)
    env.set_options({"gravity": 9.81})
    with pytest.warns(UserWarning, match="gravity"):
        env.reset()
    env.reset()


def test_no_action_but_candidates_is_legal_and_masks_have_the_shape_the_library_expects():
    env = vec_env(4)
    env.reset()
    assert is_masking_supported(env)
    masks = env.env_method("action_masks")
    assert isinstance(masks, list) and len(masks) == 4 and masks[0].dtype == bool
    assert not any(mask[0] for mask in masks)
    assert len(env.env_method("action_masks", indices=[2])) == 1
    assert len(env.get_attr("action_masks")) == 4
    with pytest.raises(AttributeError):
        env.get_attr("no_such_thing")
    assert not env.has_attr("no_such_thing")
    assert env.env_is_wrapped(VecMonitor) == [False] * 4


def test_only_the_agents_that_learn_have_rows_and_partners_play_the_rest():
    env = vec_env(8, agents=["planner", "answer_generator"], partners="random")
    rng = np.random.default_rng(0)
    obs = env.reset()
    team = env.encoder.agents
    acting, finished = set(), 0
    for _ in range(60):
        acting |= {team[int(np.argmax(row[-len(team) :]))] for row in obs}
        obs, _, dones, infos = env.step(legal(env, rng))
        finished += sum(infos[i]["turns"] > infos[i]["episode"]["l"] for i in np.flatnonzero(dones))
    assert acting == {"planner", "answer_generator"}
    assert finished > 5


def test_learning_agents_must_be_in_the_team_and_others_need_partners():
    with pytest.raises(ConfigError, match="did you mean 'planner'"):
        vec_env(2, agents=["planer"])
    pool = jade_env.make_pool("cooperative", 2, overrides=SMALL)
    with pytest.raises(ConfigError, match="no partners"):
        TurnVecEnv(pool, ["planner"])


def test_agents_that_never_have_a_turn_are_an_error_and_not_a_hang():
    class AlwaysAnswer:
        def act(self, turns):
            return [1 for _ in turns]  # the planner's first workflow: AG

    env = vec_env(1, agents=["serial_decomposer"], partners=AlwaysAnswer())
    with pytest.raises(ConfigError, match="serial_decomposer: no turn"):
        env.reset()


def test_a_retriever_that_fails_truncates_without_reward_and_the_value_stands_in():
    env = vec_env(16)
    obs = env.reset()

    class Down:
        def search(self, queries, top_k):
            raise RetrievalError("the retriever is down")

    env.pool._table.retriever = Down()
    planner_picks_retrieval = np.array([1 + env.pool.rules.workflows.index(("R", "AG"))] * 16)
    _, rewards, dones, infos = env.step(planner_picks_retrieval)
    assert dones.all()
    assert (rewards == 0).all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert np.array_equal(infos[3]["terminal_observation"], obs[3])


def test_a_pool_that_retrieves_in_the_background_is_refused_and_one_that_does_not_is_taken():
    remote = {**SMALL, "retriever": {"kind": "remote", "urls": ["http://127.0.0.1:9"], "retries": 0}}
    with pytest.raises(ConfigError, match="make it with overlap=False"):
        TurnVecEnv(jade_env.make_pool("cooperative", 2, overrides=remote, overlap=True))
    env = TurnVecEnv(jade_env.make_pool("cooperative", 2, overrides=remote))
    env.reset()
    _, _, dones, infos = env.step(np.array([1 + env.pool.rules.workflows.index(("R", "AG"))] * 2))
    assert dones.all() and all(info["TimeLimit.truncated"] for info in infos)
    here = TurnVecEnv(jade_env.make_pool("cooperative", 2, overrides=SMALL, overlap=True))  # an index answers at once
    assert here.reset().shape == (2, here.encoder.size)


def test_episodes_in_play_are_restored_by_playing_them_again():
    scenario = jade_env.load_scenario("cooperative", SMALL)
    ours = TurnVecEnv(TrainingPool(scenario, 8, 2, held_out=30))
    rng = np.random.default_rng(0)
    ours.reset()
    for _ in range(45):
        ours.step(legal(ours, rng))
    snapshot = ours.snapshot()
    theirs = TurnVecEnv(TrainingPool(scenario, 8, 2, held_out=30))
    assert np.array_equal(theirs.restore(snapshot), ours._obs)
    for _ in range(45):
        actions = legal(ours, rng)
        for one, other in zip(ours.step(actions)[:3], theirs.step(actions)[:3], strict=True):
            assert np.array_equal(one, other)


def test_held_out_questions_are_never_dealt_and_are_those_that_evaluation_plays():
    scenario = jade_env.load_scenario("cooperative", SMALL)
    count = held_out_count(scenario, 0.2)
    pool = TrainingPool(scenario, 4, 0, count)
    evaluated = Pool(scenario, count, 1, HELD_OUT_SEED, "train")
    kept_apart = {episode.question.id for episode in evaluated.episodes}
    assert len(kept_apart) == count == 60
    assert {q.id for q in pool.questions} == {q.id for q in evaluated.questions} - kept_apart


# ---- with the libraries around it -----------------------------------------------------------------------------------


def test_it_trains_under_monitor_and_normalize_with_the_evaluation_callback(tmp_path: Path):
    inner = vec_env(8)
    env = VecNormalize(VecMonitor(inner, info_keywords=("f1", "net")), norm_obs=False, gamma=1.0)
    test = VecNormalize(VecMonitor(vec_env(4, split="dev")), norm_obs=False, training=False, gamma=1.0)
    callback = MaskableEvalCallback(test, eval_freq=16, n_eval_episodes=8, log_path=str(tmp_path), verbose=0)
    model = model_for(env, inner.layout)
    model.learn(16 * 8 * 2, callback=callback)
    assert callback.last_mean_reward > -1.0
    assert {"f1", "net", "r", "l"} <= set(model.ep_info_buffer[0])


def test_both_evaluate_policy_functions_agree_on_a_greedy_policy():
    env = vec_env(4, split="dev")
    model = model_for(env, env.layout)
    env.seed(1)
    masked, _ = maskable_evaluate_policy(model, VecMonitor(env), 12, deterministic=True)
    env.seed(1)
    plain, _ = evaluate_policy(model, VecMonitor(env), 12, deterministic=True)  # the network itself never picks a no-op
    assert masked == pytest.approx(plain)


@pytest.mark.parametrize("per_role", [False, True])
def test_a_saved_model_is_loaded_and_plays_the_same(tmp_path: Path, per_role: bool):
    env = vec_env(8)
    model = model_for(env, env.layout, policy_kwargs={"per_role": per_role})
    model.learn(16 * 8)
    model.save(tmp_path / "model.zip")
    again = MaskablePPO.load(tmp_path / "model.zip", env=env)
    obs, masks = env.reset(), env.action_masks()
    ours, _ = model.predict(obs, deterministic=True, action_masks=masks)
    theirs, _ = again.predict(obs, deterministic=True, action_masks=masks)
    assert np.array_equal(ours, theirs)
    model.policy.save(tmp_path / "policy.pt")
    assert CandidatePolicy.load(tmp_path / "policy.pt").net.layout == model.policy.net.layout


# ---- the network ----------------------------------------------------------------------------------------------------

LAYOUT = Layout(width=5, turn_width=3, roles=2)


def observations(actions: int, counts: list[int], seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    obs = torch.zeros(len(counts), actions * 5 + 5)
    for row, count in zip(obs, counts, strict=True):
        row[5 : 5 + 5 * count] = torch.rand(5 * count, generator=rng) + 0.1
        row[-5:-2] = torch.rand(3, generator=rng)
    obs[:, -2] = 1.0
    return obs


@pytest.mark.parametrize("per_role", [False, True])
def test_scores_move_with_their_candidates_and_do_not_depend_on_k(per_role: bool):
    net = CandidateNet(LAYOUT, (8, 8), per_role)
    obs = observations(7, [4, 6])
    logits, values = net(obs)
    swapped = obs.clone()
    swapped[:, 5:10], swapped[:, 15:20] = obs[:, 15:20], obs[:, 5:10]
    moved, same_values = net(swapped)
    assert torch.allclose(moved[:, [1, 3]], logits[:, [3, 1]])
    assert torch.allclose(values, same_values, atol=1e-6)
    wider = torch.cat((obs[:, :35], torch.zeros(2, 10), obs[:, 35:]), 1)
    assert torch.allclose(net(wider)[0][:, :7], logits)
    assert torch.allclose(net(wider)[1], values, atol=1e-6)


@pytest.mark.parametrize("per_role", [False, True])
def test_what_is_no_candidate_cannot_be_chosen(per_role: bool):
    logits, _ = CandidateNet(LAYOUT, (8,), per_role)(observations(7, [4, 6, 0]))
    assert (logits[0, 5:] == ILLEGAL).all() and (logits[:, 0] == ILLEGAL).all()
    assert torch.isfinite(logits[0, 1:5]).all() and (logits[0, 1:5] > ILLEGAL).all()


def test_per_role_networks_learn_only_from_their_own_role():
    net = CandidateNet(LAYOUT, (8,), per_role=True)
    obs = observations(7, [4, 6])
    logits, values = net(obs)
    (logits[:, 1].sum() + values.sum()).backward()
    gradients = [
        any(p.grad is not None and p.grad.abs().sum() > 0 for p in player.parameters()) for player in net.players
    ]
    assert gradients == [True, False]


def test_a_layout_that_does_not_fit_the_spaces_is_refused():
    env = vec_env(2)
    with pytest.raises(ConfigError, match="the observation has"):
        model_for(env, (3, 2, 1))


def test_partners_may_be_any_policy():
    scenario = jade_env.load_scenario("cooperative", SMALL)
    env = vec_env(2, agents=["planner"], partners=make_policy("random", scenario))
    env.reset()
    assert env.step(np.array([1, 2]))[0].shape == (2, *env.observation_space.shape)
