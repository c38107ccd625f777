"""The pool that a learner trains on: it keeps some train questions apart, and can play its episodes again from their actions.

Knows nothing of networks or of what is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jade_env.envs.pool import Pool
from jade_env.envs.source import open_source
from jade_env.envs.table import Dealer
from jade_env.envs.turn import Action
from jade_env.errors import ConfigError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.scenario import Scenario

SPLIT = "train"
HELD_OUT_SEED = 20_601
"""The order of the train split whose first questions are the ones kept apart: the same for every run."""
AGAIN = "its retrieval failed before the training was gone on with"


class TrainingPool(Pool):
    """A pool over the train split without its held-out questions.

    The held-out ones are what `evaluate(policy, scenario, "train", held_out, seed=HELD_OUT_SEED)` plays.

    Args:
        scenario: what is played.
        n: episodes in play at once.
        seed: seed of the order of questions.
        held_out: how many questions are kept apart.
        data: the data location for scenarios with files; else JADE_DATA.
    """

    def __init__(
        self, scenario: Scenario, n: int, seed: int = 0, held_out: int = 0, data: str | Path | None = None
    ) -> None:
        super().__init__(scenario, n, 1, seed, SPLIT, data)
        if held_out:
            questions = self._table.questions
            kept = np.sort(np.random.default_rng([HELD_OUT_SEED, 0]).permutation(len(questions))[held_out:])
            self._table.questions = [questions[int(place)] for place in kept]
            self._table.dealer = Dealer(self._table.questions, seed, sides=len(self.sides))
            self.reset()

    def replay(self, episodes: Sequence[tuple[int, Sequence[Action], Mapping[int, int]]], side: int = 0) -> None:
        """Put episodes of given numbers into the slots, with their rivals, and play the games' actions.

        Args:
            episodes: number and actions of each game, each action played on the first of `turns_by_game(side)`; and which sides
                were cut short by an outside cause, behind how many of them.
            side: whose episodes they are.

        Raises:
            ConfigError: there is not one episode a game, or an action ends an episode: the actions are of another game.
            RetrievalError: the retriever fails now.
        """
        if len(episodes) * len(self.sides) != self._n:
            raise ConfigError(f"{len(episodes)} episodes cannot be played again in {self._n} slots")
        dealer = self._table.dealer
        dealt: list[Episode] = []
        for number, _, _ in episodes:
            dealer.next_index = number - side
            dealt += [dealer.deal(self.sides) for _ in self.sides]
        self._open = {}
        self._seat(dealt)
        dealer.next_index = len(self.sides) - side + max(number for number, _, _ in episodes)
        finished = self._settle(range(self._n))
        for move in range(max(len(actions) for _, actions, _ in episodes)):
            self._cut_again(episodes, move)
            due = zip(self.turns_by_game(side), episodes, strict=True)
            finished += self.step({turns[0].id: actions[move] for turns, (_, actions, _) in due if move < len(actions)})
        self._cut_again(episodes, None)
        if cut := [episode.truncated for episode in finished if episode.truncated]:
            raise RetrievalError(f"the episodes in play cannot be played again: {cut[0]}")
        if finished:
            raise ConfigError("the episodes in play ended when played again: the questions or the rules have changed")

    def _cut_again(self, episodes: Sequence[tuple[int, Sequence[Action], Mapping[int, int]]], move: int | None) -> None:
        """Cut short what was so before a move; behind the last one where None."""
        for game, (_, actions, cuts) in enumerate(episodes):
            for one, at in cuts.items():
                slot = game * len(self.sides) + one
                if at == (len(actions) if move is None else move) and not self._slots[slot].finished:
                    self._slots[slot].truncate(AGAIN)
                    self._list_open(slot)


def held_out_count(scenario: Scenario, share: float, data: str | Path | None = None) -> int:
    """How many train questions a share is: none for 0, else at least one and never all.

    Raises:
        ConfigError: a single question cannot be shared out.
    """
    if not share:
        return 0
    questions = len(open_source(scenario, data).questions(SPLIT))
    if questions < 2:
        raise ConfigError(
            f"{scenario.name} has {questions} train questions, of which none can be held out: set held_out=0"
        )
    return min(questions - 1, max(1, round(share * questions)))
