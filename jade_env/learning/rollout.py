"""Rollouts: the episodes of one training step, played by language models (and others), every sampled token kept.

All open turns of all episodes and roles are generated side by side; whoever finishes steps its game, and the turns that
open enter the batch. Where the pool retrieves in the background, generation goes on meanwhile. Knows pools and policies; knows no
reward, no credit and no update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jade_env.envs.pool import Pool
from jade_env.envs.turn import Turn, TurnId, Written
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Episode
from jade_env.game.outputs import Output
from jade_env.policy.base import Policy, actions_of
from jade_env.policy.generation import Generator
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.sampling import Sample

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rollout:
    """What was played.

    Attributes:
        episodes: in the order of their numbers.
        samples: the tokens of every turn, by turn id.
    """

    episodes: list[Episode]
    samples: dict[TurnId, Sample]


def together(parts: Sequence[Rollout]) -> Rollout:
    """What several have played, in the order of their numbers."""
    samples = {turn: sample for part in parts for turn, sample in part.samples.items()}
    return Rollout([episode for part in parts for episode in part.episodes], samples)


def collect(
    pool: Pool, players: Mapping[str, Policy], first: int, count: int, progress: Progress | None = None
) -> Rollout:
    """Play episodes `first` to `first + count - 1` of a pool to their ends, and leave it at the openings of the next ones.

    Args:
        pool: at the opening of those episodes, `count` of them in play.
        players: who plays each agent; one object may play several. Of those that are no language models nothing is kept.
        first: number of the first episode.
        count: how many.
        progress: called with (episodes done, episodes in all).

    Raises:
        ConfigError: nobody plays an agent, or a prompt is longer than its player can read.
        JadeError: episodes are left in which nobody has a turn.
    """
    if left := [agent for agent in pool.agents if agent not in players]:
        raise ConfigError(
            f"nobody plays {', '.join(left)}: players needs a policy for each of {', '.join(pool.agents)}"
        )
    generators = {id(p): p.generator for p in players.values() if isinstance(p, LanguageModelPolicy)}
    try:
        return _play(pool, players, generators, first, count, progress)
    finally:
        for generator in generators.values():
            generator.drop()


def _play(
    pool: Pool,
    players: Mapping[str, Policy],
    generators: Mapping[int, Generator],
    first: int,
    count: int,
    progress: Progress | None,
) -> Rollout:
    samples: dict[TurnId, Sample] = {}
    done: dict[int, Episode] = {}
    cut_short: list[Episode] = []  # of the next step, by a retriever that failed at their opening
    waiting: dict[tuple[int, tuple[int | str, ...]], Turn] = {}
    asked: set[TurnId] = set()
    while len(done) < count:
        fresh: dict[int, tuple[Policy, list[Turn]]] = {}
        open_turns = pool.turns(block=not any(generator.pending for generator in generators.values()))
        # By episode and not by slot: which slot an episode has got depends on how the step before ended, and on stops, and
        # another place in a batch is another last bit on some processors.
        for turn in sorted(open_turns, key=lambda turn: turn.episode):
            if turn.id not in asked and turn.episode < first + count:
                fresh.setdefault(id(players[turn.agent]), (players[turn.agent], []))[1].append(turn)
        outputs: dict[TurnId, Output] = {}
        for place, (player, turns) in fresh.items():
            asked.update(turn.id for turn in turns)
            if isinstance(player, LanguageModelPolicy):
                requests = player.requests(turns)
                player.generator.submit(requests)
                waiting |= {(place, request.key): turn for request, turn in zip(requests, turns, strict=True)}
            else:
                outputs |= {t.id: t.output(action) for t, action in zip(turns, actions_of(player, turns), strict=True)}
        for place, generator in generators.items() if not outputs else ():
            for request, sample in generator.advance() if generator.pending else ():
                turn = waiting.pop((place, request.key))
                if not turn.game.finished:  # it may have been cut short while this was written
                    samples[turn.id] = sample
                    outputs[turn.id] = turn.output(Written(sample.text, len(sample.output)))
        busy = bool(outputs) or any(generator.pending for generator in generators.values())
        if not busy and not pool.waiting:
            at = min((turn.episode for turn in open_turns), default=first)
            past = f"; the pool is at episode {at}, so give first={at}, or seek({first}) before" if at > first else ""
            raise JadeError(f"{count - len(done)} episodes cannot go on: nobody has a turn in them{past}")
        finished = pool.step(outputs) if outputs or not busy else []
        done |= {episode.index: episode for episode in finished if episode.index < first + count}
        cut_short += [episode for episode in finished if episode.index >= first + count]
        if progress:
            progress(len(done), count)
    pool.hold(cut_short)
    if pool.overlaps:
        for episode in done.values():
            _in_canonical_order(episode)
    return Rollout([done[number] for number in sorted(done)], samples)


def _in_canonical_order(episode: Episode) -> None:
    """Order a trace so that it does not tell when documents came: no turn stands before one that it waited for."""
    episode.trace.nodes.sort(key=lambda node: node.path)
    episode.trace.played.sort(key=lambda turn: (turn.clock, turn.path, turn.step))
