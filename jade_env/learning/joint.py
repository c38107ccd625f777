"""`train_language`: one language model learns the roles of a team with PPO (the JADE paper, algorithm 2), in a run folder.

A step plays the episodes of some questions to their ends, turns them into experience, and updates on all of it; between steps
nothing is in flight, so a run that was stopped, however, goes on exactly. Knows the order of events; what each is, is elsewhere.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from jade_env import streams
from jade_env.envs.pool import Pool
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Rules
from jade_env.game.outputs import KINDS
from jade_env.language_recipe import OWN, PpoRecipe, refuse_fp16, refuse_uneven
from jade_env.learning import checkpoint, health, ppo, ranks
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.economy import LOADING, PLAY, says_what_to_lower
from jade_env.learning.evaluation import chosen_by, evaluate, is_better, means_of
from jade_env.learning.experience import Experience
from jade_env.learning.language_team import backbone_named, learned_of, manner_of, other, places_of, specs_of, team_of
from jade_env.learning.learner import Learner, under
from jade_env.learning.rollout import Rollout, collect, together
from jade_env.learning.run_folder import Follower, RunFolder, config_of, partners_of
from jade_env.learning.session import (
    Progress,
    RunSummary,
    finished,
    finishing,
    reproducible,
    terminate_as_interrupt,
    undisturbed,
    uninterrupted,
)
from jade_env.learning.shares import shares
from jade_env.policy.backbone import pick_device
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.mixed import MixedPolicy
from jade_env.recipe import load_recipe
from jade_env.retrieval.remote_watch import Watch
from jade_env.scenario import Scenario, as_scenario

DEV = "dev"
REPEAT = 10
"""Steps without a warning after which it is news again."""
Notice = Callable[[str], None]


def train_language(
    scenario: str | Path | Scenario,
    recipe: str | Path | PpoRecipe,
    out: str | Path,
    seed: int = 0,
    *,
    resume: bool = False,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> RunSummary:
    """Train a recipe on a scenario.

    Under one seed, machine, number of threads and processes weights are the same to the last bit, stopped and resumed or not.

    Args:
        scenario: a shipped name, a path, or a loaded scenario; in text mode, whatever it says itself.
        recipe: the same for a recipe.
        out: the run folder: empty or not there, unless the run in it is resumed.
        seed: of the order of questions and of every draw.
        resume: goes on where the run in `out` stopped; only `steps` may have changed.
        data: the data location for scenarios with files; else JADE_DATA.
        overrides: dotted keys of the recipe, where that is a name or a path.
        processes: so many play and learn a share of every step each, on a core or a GPU of their own. What they train is what one
            would, but for rounding; a run may be gone on with by another number of them.
        progress: called with (episodes played, episodes in all).
        notice: called with a sentence when a collapse shows, or an agent has no words for what it has to write.

    Raises:
        ConfigError: the scenario or recipe is not valid, or not the one that the run to resume was begun with, or a prompt is
            too long.
        DataError: the questions cannot be read, or the folder is not empty, holds nothing to resume, or cannot be written.
        JadeError: the training diverged or ran out of memory; the last good checkpoint stays.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; the last checkpoint is what to resume from, and the message says so.
    """
    plan = load_recipe(recipe, overrides) if isinstance(recipe, str | Path) else recipe
    if not isinstance(plan, PpoRecipe):
        raise ConfigError(
            f"recipe {plan.name}: its learner is {plan.learner}; here language models learn, by recipes such as jade_joint"
        )
    refuse_fp16(plan)
    _refuse_uneven(plan, processes)
    game = as_scenario(scenario).model_copy(update={"mode": "text", "prompt": plan.prompt})
    job = {"scenario": game.resolved(), "recipe": plan.resolved(), "out": str(out), "seed": seed}
    job["data"] = None if data is None else str(data)
    with reproducible(plan.threads), terminate_as_interrupt(), ranks.helpers(processes, job):
        return _Joint(game, plan, Path(out), seed, resume, data, progress, notice).run()


def help_training(game: Scenario, plan: PpoRecipe, out: str, seed: int, data: str | None) -> None:
    """Play and learn a share of a training that another process has begun, to its end."""
    with reproducible(plan.threads):
        _Joint(game, plan, Path(out), seed, True, data, None, None).follow()


def _refuse_uneven(plan: PpoRecipe, processes: int) -> None:
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ConfigError(f"processes: expected a whole number from 1 on, found {processes!r}")
    refuse_uneven(plan, processes)
    if processes > 1 and pick_device(plan.device) != "cpu":
        there = torch.cuda.device_count()
        if plan.device not in ("auto", "cuda") or processes > there:
            raise ConfigError(
                f"processes: {processes} need a GPU each, of which there are {there} here, and device: auto or cuda (found "
                f"{plan.device}); or device: cpu"
            )


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
        names, roles = Rules.names(game), Rules.of(game).agents
        self.specs = specs_of(game, plan)
        self.learned = learned_of(game, plan)
        self.episodes = plan.episodes * len(Rules.sides(game))
        self.dev = min(plan.eval_episodes, len(open_source(game, data).questions(DEV)))
        torch.manual_seed(streams.bits("joint", seed) >> 1)
        self.learners: dict[str, Learner] = {}
        for spec in dict.fromkeys(self.specs[agent] for agent in names if backbone_named(self.specs[agent], plan)):
            own = {agent for agent in names if self.specs[agent] == spec}
            if own.intersection(self.learned) or spec == OWN:
                recipe = plan.model_copy(update={"backbone": backbone_named(spec, plan)})
                with says_what_to_lower(LOADING):
                    self.learners[spec] = Learner(recipe, roles, own <= set(self.learned))
        config = config_of(game, plan.resolved(), seed, data, roles, self.learned)
        config["backbones"] = places_of(plan, self.specs.values())
        config["partners"] = partners_of(self.specs.values())
        self.folder = Follower(out) if ranks.rank() else RunFolder(out, config, resume)
        models = {spec: (learner.player, learner.frozen) for spec, learner in self.learners.items()}
        with says_what_to_lower(LOADING):
            self.players = team_of(game, plan, self.learned, models, data, seed)
        self.own = self.episodes // ranks.size()
        """Episodes of a step that this process plays."""
        self.pool = Pool(game, self.own, (plan.plans, plan.executions), seed, "train", data, overlap=True)
        self.watch = Watch(self.pool.retriever)
        self.best: dict[str, float] = {}
        self.steps, self.seconds, self.since = 0, 0.0, time.monotonic()
        self.said: dict[str, int] = {}
        """What was warned of, and at which step last."""
        self.whole = True
        """Whether all weights are those of the end of a step."""
        self._start()

    def _start(self) -> None:
        """Begin at the newest checkpoint, or at the beginning; the first process before those that help it."""
        if ranks.rank():
            ranks.gathered(None)
        saved = checkpoint.saved_timesteps(self.folder.path)
        if saved:
            self._restore(checkpoint.load(self.folder.path, saved[-1]))
        else:
            self.folder.rewind(0)
            checkpoint.save(self.folder.path, self._capture())
        if not ranks.rank():
            ranks.gathered(None)
        self.measured = ranks.gathered(bool(self.folder.records))[0]
        """Whether the dev split was played before the first step."""
        self.pool.seek(self._first())

    def _first(self) -> int:
        """The first episode of the step that this process plays."""
        return self.steps * self.episodes + ranks.rank() * self.own

    # ---- the course of a run ----------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        total, path = self.plan.steps, self.folder.path
        try:
            self._train()
            return self._finish()
        except JadeError:
            if self.whole:
                self._keep()
            raise
        except KeyboardInterrupt:
            if self.whole:
                self._keep()
            at = checkpoint.saved_timesteps(path)[-1]
            where = f"in step {self.steps + 1} of {total}" if self.steps < total else f"after the last of {total} steps"
            raise KeyboardInterrupt(f"stopped {where}; {path} can be gone on with from step {at} by --resume") from None
        finally:
            self.folder.close()

    def follow(self) -> None:
        """Train to the end beside the process that writes the run."""
        self._train()

    def _train(self) -> None:
        if not self.measured:
            self._say_who_lacks_words()
            self.folder.log({"timesteps": 0, DEV: self._evaluate()})
        while self.steps < self.plan.steps:
            self._step()

    def _step(self) -> None:
        """Play, update, write down how it went, and at times evaluate and save."""
        step = self.steps
        torch.manual_seed(streams.bits("step", self.seed, step) >> 1)
        began = time.monotonic()
        if ranks.size() > 1:  # what its pool would deal next is another process's
            self.pool.seek(self._first())
        with says_what_to_lower(PLAY):
            rollout = collect(self.pool, self.players, self._first(), self.own, self._tick(step))
        if ranks.size() > 1:
            rollout = together(ranks.gathered(rollout))
        if not any(episode.payoffs for episode in rollout.episodes):
            raise JadeError(
                f"every episode of step {step + 1} was cut short, so there is nothing to learn from: "
                f"{rollout.episodes[0].truncated}; --resume goes on with that step"
            )
        with finishing(self.notice):
            self.whole = False
            self._take_in(rollout, step, began)
            self.whole = True

    def _take_in(self, rollout: Rollout, step: int, began: float) -> None:
        """Learn from what was played; the first process writes it down."""
        played = time.monotonic()
        experience = Experience()
        experience.add(rollout.episodes, step, rollout.samples)
        figures = self._learn(experience, step)
        times = {"seconds_playing": played - began, "seconds_learning": time.monotonic() - played}
        self.steps = step + 1
        cut = sum(ranks.gathered(self._cut_prompts()))
        looks = ranks.gathered(self.watch.look())
        due = self.steps >= self.plan.steps or self.steps % self.plan.eval_every == 0
        dev = self._evaluate() if due else None
        if not ranks.rank():
            figures["retrieval"] = self.watch.figures(looks)
            self._write_down(rollout, figures, cut, dev, times)

    def _write_down(
        self,
        rollout: Rollout,
        figures: dict[str, Any],
        cut: int,
        dev: dict[str, float] | None,
        times: Mapping[str, float],
    ) -> None:
        """The record of a step, what it warns of, and a checkpoint where one is due."""
        plan = self.plan
        record: dict[str, Any] = {"timesteps": self.steps, "played": health.episode_figures(rollout.episodes)}
        record["played"]["truncated_prompts"] = cut
        record |= {"roles": health.role_figures(rollout, figures), "learner": figures["learner"]}
        first = next((own["roles"] for own in self.folder.records if own["timesteps"] == 1), None)
        chosen = health.planned(rollout.episodes, self.learned)
        said = health.warnings(
            record, self.learned, len(self.game.workflows), plan.questions * plan.plans, first, chosen
        )
        for sentence in said:
            if (
                self.steps - self.said.get(_gist(sentence), -math.inf) > REPEAT
            ):  # what goes on is not said at every step
                self.notice(f"step {self.steps}: {sentence}")
            self.said[_gist(sentence)] = self.steps
        better = False
        if dev is not None:
            record[DEV] = dev
            by = chosen_by(self.game, self.learned, self.best)
            better = is_better(dev, self.best, by)
            if dev["failed"]:
                self.notice(
                    f"step {self.steps}: {dev['failed']:.1%} of the dev questions were cut short, so it is not chosen by them"
                )
            self.best = {"timesteps": self.steps, **dev} if better else self.best
        record |= {"seconds": round(self._elapsed(), 3), **{name: round(value, 3) for name, value in times.items()}}
        record["retrieval"] = figures["retrieval"]
        self.folder.log(record)
        if better or self.steps >= plan.steps or self.steps % plan.checkpoint_every == 0:
            self._save(rollout, better)

    def _learn(self, experience: Experience, step: int) -> dict[str, Any]:
        """Give credit and update; the figures of both."""
        plan = self.plan
        for learner in self.learners.values():
            learner.release()
        values = self._values(experience)
        found = shares(experience, plan, self.learned, step / plan.steps, values)
        figures: dict[str, Any] = {}
        updated: dict[str, float] = {}
        if values is not None:
            told = health.critic_figures(experience, found, self._kinds())
            updated |= {name: value for name, value in told.items() if "/" in name}
            figures |= {name: value for name, value in told.items() if "/" not in name}
        for spec, learner in self.learners.items():
            own = [share for share in found if self.specs[experience[share.place].agent] == spec]
            rng = streams.generator("update", self.seed, step, *([] if spec == OWN else [spec]))
            try:
                made = learner.learn(own, step, rng)
            except ppo.Diverged as error:
                good = checkpoint.saved_timesteps(self.folder.path)
                raise JadeError(
                    f"step {self.steps + 1}: {error}; the last good checkpoint is that of step {good[-1]} in {self.folder.path}"
                ) from None
            updated |= {name: value for name, value in made.items() if "/" in name}
            plain = {name: value for name, value in made.items() if "/" not in name}
            figures |= plain if spec == next(iter(self.learners)) else {spec: plain}
        return {"learner": figures, "roles": updated}

    def _values(self, experience: Experience) -> list[Any] | None:
        """What the critics say of every turn that has tokens, each of its own agents'; None where nobody asks.

        Of the turns of models that do not learn no critic says anything: None stands for them.
        """
        sampled = [row for row in experience if row.sample is not None]
        found: list[Any] = [None] * len(sampled)
        for spec, learner in self.learners.items():
            places = [place for place, row in enumerate(sampled) if self.specs[row.agent] == spec]
            samples = [sample for place in places if (sample := sampled[place].sample) is not None]
            values = learner.values(samples, [sampled[place].role for place in places])
            if values is None:
                return None
            for place, value in zip(places, values, strict=True):
                found[place] = value
        return found

    def _say_who_lacks_words(self) -> None:
        """A notice for every agent that has to write a tag which its model's tokens cannot say: it will never be valid."""
        for agent, answers_to in Rules.names(self.game).items():
            player = self.players[agent]
            if not isinstance(player, LanguageModelPolicy):
                continue
            kind = next(self.game.cards[name].writes for name in answers_to if name in self.game.cards)
            mute = [f"<{tag}>" for tag in KINDS[kind].tags if not player.backbone.can_write(f"<{tag}>")]
            if mute:
                self.notice(
                    f"{agent} has to write {' and '.join(mute)}, for which {player.backbone.name} has no words: begin from a model "
                    "that has them, such as what `jade warm-start` makes of jade_tiny on this scenario, overrides included"
                )

    def _cut_prompts(self) -> int:
        """Prompts that lost documents since the last step."""
        cut = 0
        for player in {id(p): p for p in self.players.values() if isinstance(p, LanguageModelPolicy)}.values():
            cut, player.truncated = cut + player.truncated, 0
        return cut

    def _kinds(self) -> Mapping[int, str]:
        """The kind of each question in play, by its number in the seeded order."""
        group = self.episodes // self.plan.questions
        dealer = self.pool.dealer
        first = self.steps * self.plan.questions
        return {number: dealer.question(number * group).kind for number in range(first, first + self.plan.questions)}

    # ---- measuring --------------------------------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, float]:
        """Greedy play on the dev split, by whoever plays each role in the training."""
        greedy = manner_of(self.plan, True)
        models = {id(p): p for p in self.players.values() if isinstance(p, LanguageModelPolicy)}
        policies = {place: LanguageModelPolicy(p.backbone, greedy, bare=p.bare) for place, p in models.items()}
        team = MixedPolicy({agent: policies.get(id(player), player) for agent, player in self.players.items()})
        first, end = ranks.bounds(self.dev)
        with says_what_to_lower(PLAY):
            own = evaluate(team, self.game, DEV, end - first, data=self.data, first=first) if end > first else []
        self.watch.look()  # what it has asked is not the next step's
        return means_of([row for rows in ranks.gathered(own) for row in rows], self.game, self.learned)

    def _finish(self) -> RunSummary:
        for number, learner in enumerate(self.learners.values()):
            ending = f"-{number}" if number else ""
            if self.plan.lora is None:
                learner.backbone.save(self.folder.path / f"backbone{ending}")
            else:
                learner.backbone.save_adapters(self.folder.path / f"adapter{ending}")
        more = {"episodes": self.steps * self.episodes, "best": self.best}
        return finished(self.folder, self.game.name, self.plan.name, self.steps, self._elapsed(), "steps", **more)

    def _tick(self, step: int) -> Progress | None:
        report = self.progress
        if report is None:
            return None
        each, total, processes = self.episodes, self.episodes * self.plan.steps, ranks.size()
        return lambda done, _: report(step * each + done * processes, total)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    # ---- stopping and going on --------------------------------------------------------------------------------------

    def _capture(self) -> Checkpoint:
        policy: dict[str, torch.Tensor] = {}
        learner: dict[str, torch.Tensor] = {}
        for number, each in enumerate(self.learners.values()):
            policy |= {f"{other(number)}{name}": tensor for name, tensor in each.backbone.learned().items()}
            learner |= {f"{other(number)}{name}": tensor for name, tensor in each.tensors().items()}
        return Checkpoint(self.steps, policy, learner, {"seconds": self._elapsed(), "best": self.best})

    def _restore(self, moment: Checkpoint) -> None:
        self.steps = moment.timesteps
        self.folder.rewind(moment.timesteps)
        self.best, self.seconds = dict(moment.state["best"]), float(moment.state["seconds"])
        if self.best and not ranks.rank():  # a run killed between a checkpoint and its mark names an older one
            checkpoint.mark_best(self.folder.path, int(self.best["timesteps"]), self.best)
        for number, learner in enumerate(self.learners.values()):
            learner.restore(*(under(tensors, other(number)) for tensors in (moment.policy, moment.learner)))

    def _keep(self) -> None:
        """Leave a checkpoint of the last step, if it has none."""
        path = self.folder.path
        if self.steps not in checkpoint.saved_timesteps(path):
            with undisturbed():
                checkpoint.save(path, self._capture())
                checkpoint.prune(path, self.plan.keep)

    def _save(self, rollout: Rollout, better: bool) -> None:
        path = self.folder.path
        with uninterrupted():
            checkpoint.save(path, self._capture())
            if better:
                checkpoint.mark_best(path, self.steps, self.best)
            checkpoint.prune(path, self.plan.keep)
            if self.plan.traces:
                self.folder.write_traces(self.steps, rollout.episodes[-self.plan.traces :])


def _gist(sentence: str) -> str:
    """A warning without its figures."""
    return re.sub(r"[0-9.]+%?", "", sentence)
