"""`warm_start`: a backbone learns from a teacher what roles write, so that reinforcement learning has something to begin with.

Executors imitate the grounded teacher; the planner learns to write every legal workflow as often as any other, and no strategy.
A fresh jade-tiny first practises copying strings of random words: it is what all roles are made of.
Knows lessons and tensors; knows no reward.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from jade_env import streams
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Rules
from jade_env.language_recipe import WarmStartRecipe, refuse_fp16
from jade_env.learning import checkpoint
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.economy import PLAY, recomputing, says_what_to_lower
from jade_env.learning.evaluation import evaluate, means
from jade_env.learning.joint import DEV, Notice
from jade_env.learning.lessons import Lesson, chapter
from jade_env.learning.optimizer import adamw, muon
from jade_env.learning.run_folder import RunFolder, config_of
from jade_env.learning.session import (
    Progress,
    RunSummary,
    finished,
    reproducible,
    terminate_as_interrupt,
    uninterrupted,
)
from jade_env.policy.backbone import Backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.tiny import begin
from jade_env.scenario import Scenario

Ids = tuple[list[int], list[int]]
"""A prompt and what follows it."""
COPIED = 24
"""Fewer words than this are in a string to practise on, and at least 4."""


def warm_start(
    scenario: Scenario,
    recipe: WarmStartRecipe,
    out: str | Path,
    seed: int = 0,
    *,
    resume: bool = False,
    data: str | Path | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> RunSummary:
    """Train a backbone on a teacher's turns; `OUT/backbone` is a Hugging Face folder to go on from.

    Under one seed, machine and number of threads the weights are the same to the last bit, stopped and resumed or not.

    Args:
        scenario: what the teacher plays; in text mode, whatever it says itself.
        recipe: how. With the backbone `fresh` a jade-tiny is made from the seed; else the one named learns on.
        out: the run folder: empty or not there, unless the run in it is resumed.
        seed: of the weights, the worlds and every draw.
        resume: goes on where the run in `out` stopped; only `steps` may have changed.
        data: the data location for scenarios with files; else JADE_DATA.
        progress: called with (steps done, steps in all).
        notice: called with a sentence where lessons are too long to be read, and left out.

    Raises:
        ConfigError: the scenario has nothing to teach, the recipe trains in fp16, or the run to resume was begun with another
            configuration.
        DataError: the questions cannot be read, or the folder is not empty, holds nothing to resume, or cannot be written.
        JadeError: the training diverged.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; the message says from which step the run can be gone on with.
    """
    refuse_fp16(recipe)
    game = scenario.model_copy(update={"mode": "text", "prompt": recipe.prompt})
    with reproducible(recipe.threads), terminate_as_interrupt():
        return _WarmStart(game, recipe, Path(out), seed, resume, data, progress, notice).run()


class _WarmStart:
    """One run in progress."""

    def __init__(
        self,
        game: Scenario,
        plan: WarmStartRecipe,
        out: Path,
        seed: int,
        resume: bool,
        data: str | Path | None,
        progress: Progress | None,
        notice: Notice | None,
    ) -> None:
        self.game, self.plan, self.seed, self.data, self.progress = game, plan, seed, data, progress
        self.notice = notice or (lambda sentence: None)
        self.dev = min(plan.eval_episodes, len(open_source(game, data).questions(DEV)))
        first = chapter(game, 0, 8, seed, data)
        if not first:
            raise ConfigError(f"{game.name}: its teacher has nothing to teach")
        self.backbone = begin(
            plan.backbone,
            seed,
            kinds=game.kinds,
            dtype=plan.dtype,
            device=plan.device,
            gradient_checkpointing=plan.gradient_checkpointing,
        )
        agents = Rules.of(game).agents
        self.folder = RunFolder(out, config_of(game, plan.resolved(), seed, data, agents, agents), resume)
        self.optimizers = _optimizers(self.backbone, plan)
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.steps, self.seconds, self.since = 0, 0.0, time.monotonic()
        self.losses: list[float] = []  # of the steps since the last record
        self.left_out = 0.0
        saved = checkpoint.saved_timesteps(self.folder.path)
        if saved:
            self._restore(checkpoint.load(self.folder.path, saved[-1]))
        else:
            self.folder.rewind(0)
            self._save()

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        plan, losses = self.plan, self.losses
        batches = self._batches(self.steps)
        try:
            while self.steps < plan.steps:
                losses.append(self._step(next(batches)))
                self.steps += 1
                over = self.steps == plan.steps
                if over or self.steps % plan.eval_every == 0:
                    with says_what_to_lower(PLAY):
                        dev = means(evaluate(self._policy(), self.game, DEV, self.dev, data=self.data))
                    record = {"timesteps": self.steps, "loss": float(np.mean(losses)), "left_out": self.left_out}
                    self.folder.log({**record, DEV: dev})
                    losses.clear()
                if over or self.steps % plan.checkpoint_every == 0:
                    self._save()
                if self.progress:
                    self.progress(self.steps, plan.steps)
            return self._finish()
        except KeyboardInterrupt:
            at = checkpoint.saved_timesteps(self.folder.path)[-1]
            raise KeyboardInterrupt(
                f"stopped after {self.steps} of {plan.steps} steps; "
                f"{self.folder.path} can be gone on with from step {at} by --resume"
            ) from None
        finally:
            self.folder.close()

    def _policy(self) -> LanguageModelPolicy:
        plan = self.plan
        manner = Manner(prompt=plan.prompt, greedy=True, max_prompt=plan.max_prompt, overlong=plan.overlong)
        return LanguageModelPolicy(self.backbone, manner)

    def _step(self, lessons: Sequence[Ids]) -> float:
        plan = self.plan
        factor = plan.rate(self.steps)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, value in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = value * factor
        weight = 0.0 if self.steps < plan.practice else plan.prompt_weight
        with says_what_to_lower(), recomputing(self.backbone):
            loss = supervised(self.backbone, lessons, weight, plan.token_budget)
        weights = [p for p in self.backbone.causal.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(weights, plan.max_grad_norm))
        if not math.isfinite(loss) or not math.isfinite(norm):
            good = checkpoint.saved_timesteps(self.folder.path)[-1]
            raise JadeError(
                f"step {self.steps + 1}: the loss is {loss}; the last good checkpoint is that of step {good} in "
                f"{self.folder.path}; lower learning_rate"
            )
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def _batches(self, first: int) -> Iterator[list[Ids]]:
        """The batch of every step from `first` on: practice, then chapter after chapter, each shuffled."""
        plan, done = self.plan, 0
        while done < plan.practice:
            if done >= first:
                yield practice(self.backbone, plan.batch_size, streams.generator("practice", self.seed, done))
            done += 1
        number = 0
        while True:
            ids = self._encoded(chapter(self.game, number, plan.chapter, self.seed, self.data))
            order = streams.generator("lessons", self.seed, number).permutation(len(ids))
            size = min(plan.batch_size, len(ids))
            for start in range(0, len(ids) - size + 1, size):
                if done >= first:
                    yield [ids[place] for place in order[start : start + size]]
                done += 1
            number += 1

    def _encoded(self, lessons: Sequence[Lesson]) -> list[Ids]:
        prompts = self.backbone.encode_batch([lesson.messages for lesson in lessons])
        context = self.backbone.context
        room = self.plan.max_prompt or context
        pairs = [(p, self.backbone.encode_output(o.output)) for p, o in zip(prompts, lessons, strict=True)]
        kept = [(p, o) for p, o in pairs if len(p) <= room and len(p) + len(o) <= context]
        if not kept:
            raise ConfigError(
                f"all lessons of {self.game.name} are longer than {min(room, context)} tokens: raise max_prompt, lower "
                "retriever.top_k, take prompt=brief, or begin from a model with a longer context"
            )
        if len(kept) < len(pairs) and not self.left_out:
            self.notice(
                f"{len(pairs) - len(kept)} of {len(pairs)} lessons are longer than {min(room, context)} tokens, and left out; "
                "`left_out` in metrics.jsonl goes on counting"
            )
        self.left_out = 1.0 - len(kept) / len(pairs)
        return kept

    def _finish(self) -> RunSummary:
        self.backbone.save(self.folder.path / "backbone")
        seconds = self.seconds + time.monotonic() - self.since
        return finished(self.folder, self.game.name, self.plan.name, self.steps, seconds, "steps")

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= {f"{number}.{name}": t for name, t in checkpoint.optimizer_tensors(optimizer).items()}
        state = {"seconds": self.seconds + time.monotonic() - self.since, "losses": self.losses}
        with uninterrupted():
            checkpoint.save(self.folder.path, Checkpoint(self.steps, self.backbone.learned(), tensors, state))
            checkpoint.prune(self.folder.path, self.plan.keep)

    def _restore(self, moment: Checkpoint) -> None:
        self.folder.rewind(moment.timesteps)
        self.steps, self.seconds = moment.timesteps, float(moment.state["seconds"])
        self.losses = [float(loss) for loss in moment.state.get("losses", ())]
        self.backbone.load_learned(moment.policy)
        for number, optimizer in enumerate(self.optimizers):
            own = {name.partition(".")[2]: t for name, t in moment.learner.items() if name.startswith(f"{number}.")}
            checkpoint.restore_optimizer(optimizer, own)


def supervised(backbone: Backbone, lessons: Sequence[Ids], prompt_weight: float, token_budget: int = 4096) -> float:
    """Accumulate the gradient of the weighted mean cross-entropy of a batch, and return it.

    Args:
        backbone: whose gradients are added to.
        lessons: prompts and outputs.
        prompt_weight: of a prompt's tokens, against 1 for an output's.
        token_budget: tokens in one pass, padding counted; does not change the result.
    """
    rows = sorted(lessons, key=lambda pair: len(pair[0]) + len(pair[1]))
    total = sum(prompt_weight * (len(p) - 1) + len(o) for p, o in rows)
    loss = 0.0
    while rows:
        width = len(rows[-1][0]) + len(rows[-1][1])
        count = max(1, token_budget // width)
        rows, some = rows[:-count], rows[-count:]
        ids, weights = _padded(some, width, prompt_weight, backbone)
        hidden = backbone.hidden(ids, use_cache=False)[:, :-1]
        aimed = weights[:, 1:] > 0
        each = cross_entropy(backbone.logits(hidden[aimed]), ids[:, 1:][aimed], reduction="none")
        part = (each * weights[:, 1:][aimed]).sum() / total
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    return loss


def _padded(rows: Sequence[Ids], width: int, prompt_weight: float, backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Ids [B, T] and the weight [B, T] of predicting each of them."""
    ids = np.full((len(rows), width), backbone.pad_id, np.int64)
    weights = np.zeros((len(rows), width), np.float32)
    for i, (prompt, output) in enumerate(rows):
        end = len(prompt) + len(output)
        ids[i, :end] = prompt + output
        weights[i, 1 : len(prompt)], weights[i, len(prompt) : end] = prompt_weight, 1.0
    return torch.as_tensor(ids, device=backbone.device), torch.as_tensor(weights, device=backbone.device)


def practice(backbone: Backbone, count: int, rng: np.random.Generator) -> list[Ids]:
    """Strings of random words of random lengths, each to be copied."""
    known = backbone.tokenizer.get_vocab()
    words = np.array(sorted(i for word, i in known.items() if len(word) > 2 and word.isalpha()))
    go = int(backbone.encode([{"role": "user", "content": ""}])[-1])
    drawn = [rng.choice(words, rng.integers(4, COPIED), replace=False).tolist() for _ in range(count)]
    return [([*some, go], some) for some in drawn]


def _optimizers(backbone: Backbone, plan: WarmStartRecipe) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices if it is wanted, AdamW for the rest."""
    hidden = [
        p
        for name, p in backbone.causal.named_parameters()
        if p.ndim == 2 and "embed" not in name and "head" not in name
    ]
    chosen = {id(p) for p in hidden} if plan.muon else set()
    rest = [p for p in backbone.causal.parameters() if id(p) not in chosen]
    adam = adamw(rest, plan.learning_rate, plan.weight_decay, betas=(0.9, 0.98))
    return [adam, muon(hidden, plan.muon)] if plan.muon else [adam]
