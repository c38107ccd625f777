"""`train`: a recipe learns to play a scenario with MaskablePPO, in a run folder that can be gone on with exactly.

Knows the order of events: collect, update, measure, evaluate, save. What each of them is, is elsewhere.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Episode, Rules
from jade_env.game.rewards import won
from jade_env.learning import checkpoint
from jade_env.learning.candidate_net import CandidateNet
from jade_env.learning.candidate_policy import CandidatePolicy
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.evaluation import chosen_by, evaluate, is_better, means_of
from jade_env.learning.past_selves import PastSelves
from jade_env.learning.player import NetworkPolicy, feature_names, network_weights
from jade_env.learning.run_folder import RunFolder, config_of, partners_of
from jade_env.learning.sb3 import TurnVecEnv, outcome, side_of
from jade_env.learning.session import Progress, RunSummary, finished, reproducible, terminate_as_interrupt, undisturbed
from jade_env.learning.training_pool import HELD_OUT_SEED, SPLIT, TrainingPool, held_out_count
from jade_env.policy import MixedPolicy, Policy, make_policy
from jade_env.recipe import PAST, Recipe, load_recipe
from jade_env.retrieval.remote_watch import Watch
from jade_env.scenario import Scenario, as_scenario

DEV = "dev"
TRACES = 3
PLANNING = ("workflow", "subquestions_serial", "subquestions_parallel")

__all__ = ["RunSummary", "train"]


def train(
    scenario: str | Path | Scenario,
    recipe: str | Path | Recipe,
    out: str | Path,
    seed: int = 0,
    *,
    resume: bool = False,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> RunSummary:
    """Train a recipe on a scenario.

    Under one seed, machine and number of threads the weights are the same to the last bit, stopped and resumed or not.

    Args:
        scenario: a shipped name, a path, or a loaded scenario.
        recipe: the same for a recipe.
        out: the run folder: empty or not there, unless the run in it is resumed.
        seed: of the networks, the order of questions, and every draw.
        resume: goes on where the run in `out` stopped; only `total_timesteps` may have changed.
        data: the data location for scenarios with files; else JADE_DATA.
        overrides: dotted keys of the recipe, where that is a name or a path.
        progress: called with (turns trained on, turns in all).
        notice: called with a sentence when an evaluation cannot judge.

    Raises:
        ConfigError: the scenario or the recipe is not valid, or not the one that the run to resume was begun with.
        DataError: the questions cannot be read, or the folder is not empty, holds nothing to resume, or cannot be written.
        JadeError: the training diverged; the last good checkpoint stays.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; a checkpoint to resume from has been saved, and the message says so.
    """
    game = as_scenario(scenario, "discrete")
    plan = load_recipe(recipe, overrides) if isinstance(recipe, str | Path) else recipe
    if not isinstance(plan, Recipe) or plan.learner != "sb3":
        raise ConfigError(
            f"recipe {plan.name}: its learner is {plan.learner}, and here networks of Stable-Baselines3 learn"
        )
    with reproducible(plan.threads), terminate_as_interrupt():
        return _Training(game, plan, Path(out), seed, resume, data, progress, notice).run()


class _Training:
    """One run in progress."""

    def __init__(
        self,
        game: Scenario,
        plan: Recipe,
        out: Path,
        seed: int,
        resume: bool,
        data: str | Path | None,
        progress: Progress | None,
        notice: Callable[[str], None] | None,
    ) -> None:
        self.game, self.plan, self.data, self.progress = game, plan, data, progress
        self.notice = notice or (lambda sentence: None)
        team, names = Rules.of(game).agents, Rules.names(game)
        learned = Rules.sides(game)[0].agents if plan.train == "all" else plan.trained(names)
        self.held_out = held_out_count(game, plan.held_out, data)
        self.dev = min(plan.eval_episodes, len(open_source(game, data).questions(DEV)))
        if plan.partners == PAST and not game.teams:
            raise ConfigError(f"recipe {plan.name}: partners: past selves play duels, and {game.name} is none")
        partners: Policy | None = None
        if set(learned) < set(names) and plan.partners != PAST:
            partners = make_policy(plan.partners, game, data=data, seed=seed)
        pool = TrainingPool(game, plan.n_envs * len(Rules.sides(game)), seed, self.held_out, data)
        side_of(pool, frozenset(learned))  # whether they can learn together, before a folder is made
        config = config_of(game, plan.resolved(), seed, data, team, learned, features=feature_names())
        config["partners"] = partners_of([plan.partners] if partners else [])
        self.folder = RunFolder(out, config, resume)
        self.past: PastSelves | None = None
        if plan.partners == PAST and game.teams:
            done = checkpoint.saved_timesteps(self.folder.path)
            partners = self.past = PastSelves(self.folder.path, plan.resolved(), team, seed, done[-1] if done else -1)
        self.window: list[Episode] = []
        self.watch = Watch(pool.retriever)
        self.env = TurnVecEnv(pool, learned, partners, self.window.append)
        self.model = _model(plan, self.env, seed)
        network: Policy = NetworkPolicy(self._net, team)
        self.policy = MixedPolicy({"default": partners} | dict.fromkeys(learned, network)) if partners else network
        self.learned = learned
        self.best: dict[str, float] = {}
        self.seconds, self.since = 0.0, time.monotonic()
        self._start(seed)

    @property
    def _net(self) -> CandidateNet:
        return cast(CandidateNet, self.model.policy.net)

    def _start(self, seed: int) -> None:
        """Begin at the newest checkpoint, or at the beginning."""
        model, total = self.model, self.plan.total_timesteps
        saved = checkpoint.saved_timesteps(self.folder.path)
        self.callback = model._init_callback(_Tick(self.progress, total))
        if saved:
            self._restore(checkpoint.load(self.folder.path, saved[-1]))
            model._setup_learn(0, self.callback, reset_num_timesteps=False)
        else:
            self.folder.rewind(0)
            if self.plan.start:
                self._net.load_state_dict(network_weights(self.plan.start, self._net))
            if self.past is not None:
                self.past.freeze(0, self._net, 0)
            model._setup_learn(total, self.callback)
        model._total_timesteps = total
        self.boundary = self._capture()
        if not saved:
            checkpoint.save(self.folder.path, self.boundary)

    # ---- the course of a run ----------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        total, path = self.plan.total_timesteps, self.folder.path
        try:
            if not self.folder.records:
                self.folder.log({"timesteps": 0, **self._evaluate()})
            while self.model.num_timesteps < total:
                self._iterate()
            return self._finish()
        except KeyboardInterrupt:
            with undisturbed():
                self._save()
            at = self.boundary.timesteps
            raise KeyboardInterrupt(
                f"stopped after {at} of {total} turns; {path} can be gone on with by --resume"
            ) from None
        finally:
            self.folder.close()

    def _iterate(self) -> None:
        """Collect a rollout, update on it, write down how it went, and at times evaluate and save."""
        model, plan, before = self.model, self.plan, self.model.num_timesteps
        self.window.clear()
        remaining = max(0.0, 1.0 - before / plan.total_timesteps)
        model._current_progress_remaining = remaining
        model.ent_coef = _between(plan.ent_coef, plan.ent_coef_end, remaining)
        planners = {rules.agent(rules.planner) for rules in Rules.sides(self.game) if rules.planner}
        alone = planners.issuperset(self.learned)  # who would learn nothing from plans that are drawn
        self.env.explore = not alone and 1.0 - remaining < plan.explore_until
        self._learn()
        now = model.num_timesteps
        over = now >= plan.total_timesteps
        record = {"timesteps": now} | _episode_figures(self.window) | self._learner_figures()
        retrieval = self.watch.figures()
        figures = self._evaluate() if over or _crossed(before, now, plan.eval_every) else {}
        better = self._is_better(figures, now)
        if self.past is not None and _crossed(before, now, plan.freeze_every):
            pool = self.env.pool
            self.past.freeze(now, self._net, pool.dealer.next_index // len(pool.sides))
        record["retrieval"] = retrieval
        self.folder.log(record | {"seconds": round(self._elapsed(), 3)} | figures)
        self.boundary = self._capture()
        if over or better or _crossed(before, now, plan.checkpoint_every):
            self._save()
        if better:
            checkpoint.mark_best(self.folder.path, now, self.best)
        checkpoint.prune(self.folder.path, self.plan.keep)

    def _learn(self) -> None:
        model = self.model
        try:
            model.collect_rollouts(self.env, self.callback, model.rollout_buffer, model.n_steps)
            model.train()
            failed = ""
        except (ValueError, RuntimeError) as error:  # torch refuses logits or probabilities that are not finite
            failed = str(error)
            if isinstance(error, RuntimeError) and "probability tensor" not in failed:
                raise
        finite = all(bool(torch.isfinite(p).all()) for p in model.policy.parameters())
        loss = model.logger.name_to_value.get("train/loss", 0.0)
        if failed and finite and "logits" not in failed and "probability" not in failed:
            raise JadeError(f"the training stopped: {failed}")
        if failed or not finite or not math.isfinite(loss):
            good = checkpoint.saved_timesteps(self.folder.path)
            raise JadeError(
                f"the training diverged after {self.boundary.timesteps} turns: the loss is not a number; the last good "
                f"checkpoint is that of {good[-1] if good else 0} turns in {self.folder.path}; try a lower learning_rate"
            )

    def _finish(self) -> RunSummary:
        turns, seconds = self.model.num_timesteps, self._elapsed()
        return finished(self.folder, self.game.name, self.plan.name, turns, seconds, best=self.best)

    # ---- measuring --------------------------------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, Any]:
        """Greedy play on the dev split, for the curve, and on the held-out train questions, for choosing."""
        figures: dict[str, Any] = {
            DEV: means_of(evaluate(self.policy, self.game, DEV, self.dev, data=self.data), self.game, self.learned)
        }
        if self.held_out:
            count = min(self.held_out, self.plan.eval_episodes)
            rows = evaluate(self.policy, self.game, SPLIT, count, HELD_OUT_SEED, data=self.data)
            figures["held_out"] = means_of(rows, self.game, self.learned)
        if self.past is not None:
            figures["wins"] = {str(then): self._wins(self.past.selves[then]) for then in self.past.selves}
        self.watch.look()  # what it has asked is not the next rollout's
        return figures

    def _wins(self, rival: Policy) -> float:
        """Share of dev questions on which the learner, playing greedily, receives more than a past self; a draw is half a win."""
        mine = dict.fromkeys(self.learned, cast(Policy, NetworkPolicy(self._net, Rules.of(self.game).agents)))
        rows = evaluate(MixedPolicy({"default": rival, **mine}), self.game, DEV, self.dev, data=self.data)
        team = next(rules.team for rules in Rules.sides(self.game) if self.learned[0] in rules.agents)
        own = [row.payoff for row in rows if row.team == team]
        return float(np.mean([won(payoff) for payoff in own]))

    def _is_better(self, figures: Mapping[str, Any], now: int) -> bool:
        found = figures.get("held_out")
        by = chosen_by(self.game, self.learned, self.best)
        if found and found["failed"]:
            self.notice(
                f"turn {now}: {found['failed']:.1%} of the questions that choose a checkpoint were cut short, so it is not chosen"
            )
        if not found or not is_better(found, self.best, by):
            return False
        self.best = {"timesteps": now, **found}
        return True

    def _learner_figures(self) -> dict[str, Any]:
        model = self.model
        found = dict(model.logger.name_to_value)
        model.logger.dump(model.num_timesteps)
        figures = {
            "entropy": -found["train/entropy_loss"],  # as weighted in the loss: the planner's counts ent_planning times
            "kl": found["train/approx_kl"],
            "clip_fraction": found["train/clip_fraction"],
            "explained_variance": found["train/explained_variance"],
            "policy_loss": found["train/policy_gradient_loss"],
            "value_loss": found["train/value_loss"],
            "learning_rate": found["train/learning_rate"],
            "ent_coef": model.ent_coef,
        }
        return {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    # ---- stopping and going on --------------------------------------------------------------------------------------

    def _capture(self) -> Checkpoint:
        """This moment, between two iterations, copied."""
        model = self.model
        assert model._last_episode_starts is not None
        moments = checkpoint.optimizer_tensors(model.policy.optimizer)
        return Checkpoint(
            model.num_timesteps,
            {name: tensor.detach().clone() for name, tensor in self._net.state_dict().items()},
            {name: tensor.clone() for name, tensor in moments.items()} | checkpoint.random_tensors(),
            {
                "episodes": self.env.snapshot(),
                "episode_starts": [bool(start) for start in model._last_episode_starts],
                "updates": model._n_updates,
                "seconds": self._elapsed(),
                "best": self.best,
            },
        )

    def _restore(self, moment: Checkpoint) -> None:
        model, state = self.model, moment.state
        self.folder.rewind(moment.timesteps)
        self.best, self.seconds = dict(state["best"]), float(state["seconds"])
        if self.best:
            checkpoint.mark_best(self.folder.path, int(self.best["timesteps"]), self.best)
        self._net.load_state_dict(dict(moment.policy))
        checkpoint.restore_optimizer(model.policy.optimizer, moment.learner)
        model._last_obs = self.env.restore(state["episodes"])
        model._last_episode_starts = np.array(state["episode_starts"], dtype=bool)
        model.num_timesteps, model._n_updates = moment.timesteps, int(state["updates"])
        checkpoint.restore_random(moment.learner)

    def _save(self) -> None:
        checkpoint.save(self.folder.path, self.boundary)
        if self.window:
            self.folder.write_traces(self.boundary.timesteps, self.window[-TRACES:])


class _Tick(BaseCallback):
    """Reports progress while a rollout is collected."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        super().__init__()
        self._report, self._total = progress, total

    def _on_step(self) -> bool:
        if self._report:
            self._report(min(self.num_timesteps, self._total), self._total)
        return True


def _model(plan: Recipe, env: TurnVecEnv, seed: int) -> MaskablePPO:
    random.seed(seed)
    model = MaskablePPO(
        CandidatePolicy,
        env,
        learning_rate=lambda remaining: _between(plan.learning_rate, plan.learning_rate_end, remaining),
        n_steps=plan.n_steps,
        batch_size=plan.batch_size,
        n_epochs=plan.n_epochs,
        gamma=plan.gamma,
        gae_lambda=plan.gae_lambda,
        clip_range=plan.clip_range,
        ent_coef=plan.ent_coef,
        vf_coef=plan.vf_coef,
        max_grad_norm=plan.max_grad_norm,
        target_kl=plan.target_kl,
        policy_kwargs={
            "layout": env.layout,
            "network": plan.network,
            "per_role": plan.sharing == "per_role",
            "entropy_weights": [plan.ent_planning if _plans(env, agent) else 1.0 for agent in env.encoder.agents],
            "optimizer_class": torch.optim.AdamW,
            "optimizer_kwargs": {"eps": 1e-5, "weight_decay": plan.weight_decay},
        },
        seed=seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _plans(env: TurnVecEnv, agent: str) -> bool:
    return env.pool.scenario.cards[agent].writes in PLANNING


def _episode_figures(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Means over the episodes that ended in an iteration; nulls where none did."""
    rows = [outcome(episode) for episode in episodes]
    played = Counter(turn.agent for episode in episodes for turn in episode.trace.played)
    broken = Counter(turn.agent for episode in episodes for turn in episode.trace.played if not turn.output.valid)
    penalties = [episode.penalties for episode in episodes]
    figures: dict[str, Any] = {"episodes": len(rows)}
    for name in ("net", "f1", "em", "rounds", "retrievals", "turns"):
        figures[name] = _mean([float(row[name]) for row in rows])
    figures["return"] = _mean([row["net"] + penalty for row, penalty in zip(rows, penalties, strict=True)])
    figures["failed"] = _mean([float(bool(episode.truncated)) for episode in episodes])
    figures["malformed"] = {agent: broken[agent] / count for agent, count in sorted(played.items())}
    shares = Counter(row["workflow"] for row in rows)
    figures["workflows"] = {name: count / len(rows) for name, count in sorted(shares.items())}
    return figures


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _between(start: float, end: float | None, remaining: float) -> float:
    return start if end is None else end + (start - end) * remaining


def _crossed(before: int, now: int, every: int) -> bool:
    return before // every < now // every
