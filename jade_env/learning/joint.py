"""`train_language`: one language model learns the roles of a team with PPO (the JADE paper, algorithm 2), in a run folder.

A step plays the episodes of some questions to their ends, turns them into experience, and updates on all of it; between steps
nothing is in flight, so a run that was stopped, however, goes on exactly. Knows the order of events; what each is, is elsewhere.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from jade_env import streams
from jade_env.envs.pool import Pool
from jade_env.envs.source import open_source
from jade_env.errors import JadeError
from jade_env.game.episode import Rules
from jade_env.language_recipe import GROUPED, PpoRecipe
from jade_env.learning import checkpoint, health, ppo
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.critic import values_of
from jade_env.learning.curves import learning_curve
from jade_env.learning.evaluation import EpisodeRow, evaluate
from jade_env.learning.experience import Experience
from jade_env.learning.language_team import backbone_of, manner_of, team_of
from jade_env.learning.optimizer import adamw
from jade_env.learning.rollout import Rollout, collect
from jade_env.learning.run_folder import PICTURE, RunFolder, versions
from jade_env.learning.session import Progress, RunSummary, reproducible, terminate_as_interrupt, uninterrupted
from jade_env.learning.shares import Share, shares
from jade_env.policy.backbone import Backbone
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.mixed import MixedPolicy
from jade_env.scenario import Scenario

DEV = "dev"
Notice = Callable[[str], None]


def train_language(
    scenario: Scenario,
    recipe: PpoRecipe,
    out: str | Path,
    seed: int = 0,
    *,
    resume: bool = False,
    data: str | Path | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> RunSummary:
    """Train a recipe on a scenario.

    Under one seed, machine and number of threads the weights are the same to the last bit, stopped and resumed or not.

    Args:
        scenario: what is played; in text mode, whatever it says itself.
        recipe: how.
        out: the run folder: empty or not there, unless the run in it is resumed.
        seed: of the order of questions and of every draw.
        resume: goes on where the run in `out` stopped; only `steps` may have changed.
        data: the data location for scenarios with files; else JADE_DATA.
        progress: called with (episodes played, episodes in all).
        notice: called with a sentence when a collapse shows.

    Raises:
        ConfigError: the scenario or recipe is not valid, or not the one that the run to resume was begun with, or a prompt is
            too long.
        DataError: the questions cannot be read, or the folder is not empty, holds nothing to resume, or cannot be written.
        JadeError: the training diverged or ran out of memory; the last good checkpoint stays.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; the last checkpoint is what to resume from, and the message says so.
    """
    game = scenario.model_copy(update={"mode": "text", "prompt": recipe.prompt})
    with reproducible(recipe.threads), terminate_as_interrupt():
        return _Joint(game, recipe, Path(out), seed, resume, data, progress, notice).run()


class _Joint:
    """One run in progress."""

    def __init__(
        self,
        game: Scenario,
        plan: PpoRecipe,
        out: Path,
        seed: int,
        resume: bool,
        data: str | Path | None,
        progress: Progress | None,
        notice: Notice | None,
    ) -> None:
        self.game, self.plan, self.seed, self.data = game, plan, seed, data
        self.progress, self.notice = progress, notice or (lambda sentence: None)
        team = Rules.of(game).agents
        planner = Rules.of(game).planner
        self.learned = tuple(a for a in plan.trained(team) if not (plan.fixed_plan and planner and a == planner.name))
        self.dev = min(plan.eval_episodes, len(open_source(game, data).questions(DEV)))
        torch.manual_seed(streams.bits("joint", seed) >> 1)
        self.backbone = backbone_of(plan, team)
        self.critic, self.reference = self._companions()
        self.folder = RunFolder(out, _config(game, plan, seed, data, team, self.learned), resume)
        player = LanguageModelPolicy(self.backbone, manner_of(plan))
        frozen = LanguageModelPolicy(self.reference, manner_of(plan)) if set(self.learned) < set(team) else player
        self.players = team_of(game, plan, self.learned, player, frozen)
        self.pool = Pool(game, plan.episodes, (plan.plans, plan.executions), seed, "train", data)
        if not plan.train_embeddings:
            self.backbone.causal.get_input_embeddings().requires_grad_(False)
        weights = [p for p in self.backbone.parameters() if p.requires_grad]
        self.optimizer = adamw(weights, plan.learning_rate, plan.weight_decay)
        self.critic_optimizer = self._critic_optimizer()
        self.best: dict[str, float] = {}
        self.steps, self.seconds, self.since = 0, 0.0, time.monotonic()
        self._start()

    def _companions(self) -> tuple[Backbone | None, Backbone]:
        """A critic of its own, if there is one, and the policy as it began: the same object where adapters do all the learning."""
        critic = copy.deepcopy(self.backbone) if self.plan.critic == "separate" else None
        holds = any(knob.start or knob.end for knob in self.plan.kl.values())
        partial = set(self.learned) < set(Rules.of(self.game).agents)
        if not partial and (self.plan.lora is not None or not holds):
            return critic, self.backbone
        reference = copy.deepcopy(self.backbone)
        for parameter in reference.parameters():
            parameter.requires_grad_(False)
        return critic, reference

    def _critic_optimizer(self) -> torch.optim.Optimizer | None:
        if self.critic is None:
            return None
        weights = [p for p in self.critic.parameters() if p.requires_grad]
        return adamw(weights, self.plan.critic_learning_rate, self.plan.weight_decay)

    def _start(self) -> None:
        """Begin at the newest checkpoint, or at the beginning."""
        saved = checkpoint.saved_timesteps(self.folder.path)
        if saved:
            self._restore(checkpoint.load(self.folder.path, saved[-1]))
        else:
            self.folder.rewind(0)
            checkpoint.save(self.folder.path, self._capture())
        self.pool.seek(self.steps * self.plan.episodes)

    # ---- the course of a run ----------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        total, path = self.plan.steps, self.folder.path
        try:
            if not self.steps:
                self.folder.log({"timesteps": 0, DEV: self._evaluate()})
            while self.steps < total:
                self._step()
            return self._finish()
        except KeyboardInterrupt:
            at = checkpoint.saved_timesteps(path)[-1]
            raise KeyboardInterrupt(
                f"stopped in step {self.steps + 1} of {total}; {path} can be gone on with from step {at} by --resume"
            ) from None
        finally:
            self.folder.close()

    def _step(self) -> None:
        """Play, update, write down how it went, and at times evaluate and save."""
        plan, step = self.plan, self.steps
        torch.manual_seed(streams.bits("step", self.seed, step) >> 1)
        began = time.monotonic()
        try:
            rollout = collect(self.pool, self.players, step * plan.episodes, plan.episodes, self._tick(step))
        except RuntimeError as error:
            if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
                raise
            raise JadeError(f"step {step + 1}: playing ran out of memory: lower slots, or max_prompt") from None
        played = time.monotonic()
        experience = Experience()
        experience.add(rollout.episodes, step, rollout.samples, (plan.plans, plan.executions))
        figures = self._learn(experience, step)
        times = {"seconds_playing": played - began, "seconds_learning": time.monotonic() - played}
        self.steps = step + 1
        over = self.steps >= plan.steps
        record: dict[str, Any] = {"timesteps": self.steps, "played": health.episode_figures(rollout.episodes)}
        record["played"]["truncated_prompts"] = self._cut_prompts()
        record |= {"roles": health.role_figures(rollout, figures), "learner": figures["learner"]}
        for sentence in health.warnings(record):
            self.notice(f"step {self.steps}: {sentence}")
        better = False
        if over or self.steps % plan.eval_every == 0:
            record[DEV] = self._evaluate()
            better = record[DEV]["net"] > self.best.get("net", -math.inf)
            self.best = {"timesteps": self.steps, **record[DEV]} if better else self.best
        record |= {"seconds": round(self._elapsed(), 3), **{name: round(value, 3) for name, value in times.items()}}
        self.folder.log(record)
        if over or better or self.steps % plan.checkpoint_every == 0:
            self._save(rollout, better)

    def _learn(self, experience: Experience, step: int) -> dict[str, Any]:
        """Give credit and update; the figures of both."""
        plan = self.plan
        if not len(experience):
            raise JadeError(
                "every episode of the step was cut short, as the retriever failed: there is nothing to learn from"
            )
        values = self._values(experience)
        found = shares(experience, plan, self.learned, step / plan.steps, values)
        factor = plan.rate(step)
        figures: dict[str, float] = {"learning_rate": plan.learning_rate * factor}
        rng = streams.generator("update", self.seed, step)
        if values is not None:
            figures |= health.critic_figures(experience, found, self._kinds())
        if self.critic is not None and self.critic_optimizer is not None:
            self._set_rate(self.critic_optimizer, plan.critic_learning_rate * min(1.0, (step + 1) / 5))
            figures |= self._train_critic(found, rng)
        if step < plan.critic_warmup:
            found = [_silenced(share) for share in found]
        self._set_rate(self.optimizer, plan.learning_rate * factor)
        updated: dict[str, float] = {}
        if any(share.weight for share in found) or plan.critic == "head":
            updated = self._update(found, rng)
        return {"learner": figures | {k: v for k, v in updated.items() if "/" not in k}, "roles": updated}

    def _update(self, found: Sequence[Share], rng: np.random.Generator) -> dict[str, float]:
        plan = self.plan
        rows = [_row(share, self.backbone) for share in found]
        settings = ppo.Settings(
            clip=plan.clip,
            value_clip=plan.value_clip or 0.0,
            vf_coef=plan.vf_coef if plan.critic == "head" else 0.0,
            value_at=_value_at(plan),
            frozen_values=plan.critic == "head",
            average=plan.average,
            epochs=plan.epochs,
            minibatches=plan.minibatches,
            token_budget=plan.token_budget,
            max_grad_norm=plan.max_grad_norm,
            target_kl=plan.target_kl or 0.0,
            temperature=plan.temperature,
        )
        try:
            figures = ppo.update(self.backbone, self.reference, self.optimizer, rows, settings, rng)
        except ppo.Diverged as error:
            good = checkpoint.saved_timesteps(self.folder.path)
            raise JadeError(
                f"step {self.steps + 1}: {error}; the last good checkpoint is that of step {good[-1]} in {self.folder.path}"
            ) from None
        for player in self.players.values():
            if isinstance(player, LanguageModelPolicy):
                player.generator.reset()
        return figures

    # ---- the critic -------------------------------------------------------------------------------------------------

    def _values(self, experience: Experience) -> list[Any] | None:
        """What the critic says of every turn that has tokens; None where nobody asks."""
        plan = self.plan
        if plan.credit in GROUPED:
            return None
        samples = [row.sample for row in experience if row.sample is not None]
        if _value_at(plan) == "prompt" and self.critic is None:
            return [sample.value for sample in samples]
        return values_of(self.critic or self.backbone, samples, _value_at(plan), plan.token_budget)

    def _train_critic(self, found: Sequence[Share], rng: np.random.Generator) -> dict[str, float]:
        """Passes of the critic alone over the step's turns: PPO's update without any policy in it."""
        plan = self.plan
        assert self.critic is not None and self.critic_optimizer is not None
        rows = [_row(_silenced(share), self.critic) for share in found]
        settings = ppo.Settings(
            value_clip=plan.value_clip or 0.0,
            vf_coef=1.0,
            value_at=_value_at(plan),
            frozen_values=True,
            epochs=plan.critic_epochs,
            minibatches=plan.minibatches,
            token_budget=plan.token_budget,
            max_grad_norm=plan.max_grad_norm,
        )
        figures = ppo.update(self.critic, None, self.critic_optimizer, rows, settings, rng)
        return {"critic_loss": figures["value_loss"], "critic_grad_norm": figures["grad_norm"]}

    def _cut_prompts(self) -> int:
        """Prompts that lost documents since the last step."""
        cut = 0
        for player in {id(p): p for p in self.players.values() if isinstance(p, LanguageModelPolicy)}.values():
            cut, player.truncated = cut + player.truncated, 0
        return cut

    def _kinds(self) -> Mapping[int, str]:
        """The kind of each question in play, by its number in the seeded order."""
        group = self.plan.plans * self.plan.executions
        dealer = self.pool.dealer
        first = self.steps * self.plan.questions
        return {number: dealer.question(number * group).kind for number in range(first, first + self.plan.questions)}

    # ---- measuring --------------------------------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, float]:
        """Greedy play on the dev split, by whoever plays each role in the training."""
        greedy = manner_of(self.plan, True)
        models = {id(p): p.backbone for p in self.players.values() if isinstance(p, LanguageModelPolicy)}
        policies = {place: LanguageModelPolicy(backbone, greedy) for place, backbone in models.items()}
        team = MixedPolicy({agent: policies.get(id(player), player) for agent, player in self.players.items()})
        return means(evaluate(team, self.game, DEV, self.dev, data=self.data))

    def _finish(self) -> RunSummary:
        folder = self.folder
        content = learning_curve(folder.records, f"{self.game.name}, {self.plan.name}", "step")
        picture = folder.write_picture(content)
        last: Mapping[str, Any] = next((record for record in reversed(folder.records) if DEV in record), {})
        best = checkpoint.best_timesteps(folder.path)
        if self.plan.lora is None:
            self.backbone.save(folder.path / "backbone")
        summary = RunSummary(
            folder.path,
            self.steps,
            round(self._elapsed(), 3),
            self.steps if best is None else best,
            last.get(DEV, {}),
            picture,
        )
        folder.finish(
            {
                "scenario": self.game.name,
                "recipe": self.plan.name,
                "timesteps": summary.timesteps,
                "episodes": self.steps * self.plan.episodes,
                "seconds": summary.seconds,
                "best_timesteps": summary.best_timesteps,
                "best": self.best,
                "dev": dict(summary.dev),
                "picture": PICTURE,
            }
        )
        return summary

    def _tick(self, step: int) -> Progress | None:
        report = self.progress
        if report is None:
            return None
        each, total = self.plan.episodes, self.plan.episodes * self.plan.steps
        return lambda done, _: report(step * each + done, total)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    @staticmethod
    def _set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = value

    # ---- stopping and going on --------------------------------------------------------------------------------------

    def _capture(self) -> Checkpoint:
        learner = checkpoint.optimizer_tensors(self.optimizer)
        if self.critic is not None and self.critic_optimizer is not None:
            learner |= {f"critic.{name}": t for name, t in self.critic.learned().items()}
            learner |= {f"critic_{name}": t for name, t in checkpoint.optimizer_tensors(self.critic_optimizer).items()}
        state = {"seconds": self._elapsed(), "best": self.best}
        return Checkpoint(self.steps, self.backbone.learned(), learner, state)

    def _restore(self, moment: Checkpoint) -> None:
        self.steps = moment.timesteps
        self.folder.rewind(moment.timesteps)
        self.best, self.seconds = dict(moment.state["best"]), float(moment.state["seconds"])
        self.backbone.load_learned(moment.policy)
        checkpoint.restore_optimizer(self.optimizer, moment.learner)
        if self.critic is not None and self.critic_optimizer is not None:
            self.critic.load_learned(_under(moment.learner, "critic."))
            checkpoint.restore_optimizer(
                self.critic_optimizer,
                {f"optimizer.{n}": t for n, t in _under(moment.learner, "critic_optimizer.").items()},
            )

    def _save(self, rollout: Rollout, better: bool) -> None:
        path = self.folder.path
        with uninterrupted():
            checkpoint.save(path, self._capture())
            if better:
                checkpoint.mark_best(path, self.steps, self.best)
            checkpoint.prune(path, self.plan.keep)
            if self.plan.traces:
                self.folder.write_traces(self.steps, rollout.episodes[-self.plan.traces :])


def _value_at(plan: PpoRecipe) -> Literal["prompt", "token"]:
    return "token" if plan.credit == "broadcast" else "prompt"


def _row(share: Share, backbone: Backbone) -> ppo.Row:
    return ppo.Row(
        sample=share.sample,
        agent=share.part,
        advantage_N=share.advantage,
        weight=share.weight,
        entropy=share.entropy,
        kl=share.kl,
        return_=share.return_,
        value=share.value,
        adapter=backbone.adapter_of(share.agent),
    )


def _silenced(share: Share) -> Share:
    """A turn that teaches values only."""
    return replace(share, weight=0.0, kl=0.0, entropy=0.0)


def _under(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _config(
    game: Scenario, plan: PpoRecipe, seed: int, data: str | Path | None, team: Sequence[str], learned: Sequence[str]
) -> dict[str, Any]:
    return {
        "scenario": game.model_dump(mode="json"),
        "recipe": plan.resolved(),
        "seed": seed,
        "data": None if data is None else str(data),
        "agents": list(team),
        "learned": list(learned),
        "versions": versions(),
    }


def means(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """The figures of an evaluation that a curve is drawn from."""
    names = ("f1", "em", "net", "rounds", "retrievals", "malformed")
    return {name: float(np.mean([getattr(row, name) for row in rows])) for name in names} | {
        "episodes": float(len(rows))
    }
