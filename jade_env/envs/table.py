"""What every view of the game shares: which question is dealt next, and batched retrieval for all episodes that wait.

Episode j plays question perm(seed, epoch)[j // group] with the random stream (seed, j). In a duel episodes 2j and 2j + 1 are the
two sides of game j.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np

from jade_env.config import nearest
from jade_env.envs.source import Source
from jade_env.errors import ConfigError, DataError, RetrievalError
from jade_env.game.episode import Episode, Retrieval, Rules
from jade_env.questions import Question
from jade_env.retrieval import Document, Hit, Retriever

Group = tuple[int, int]
"""How often a question is dealt: plans, and executions of each."""
KNOWN_OPTIONS = ("question_id", "split")
Waiting = list[tuple[Episode, Retrieval]]
"""Queries with the episodes that wait for them."""


class Dealer:
    """Deals questions in the seeded order, epoch after epoch."""

    def __init__(self, questions: Sequence[Question], seed: int, group: Group = (1, 1), sides: int = 1) -> None:
        self._questions, self._group, self._sides = questions, group, sides
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin the order of a seed at episode 0."""
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ConfigError(f"seed: {seed!r} is not a whole number from 0 on")
        self.seed = int(seed)
        self.next_index = 0
        self._epoch = -1
        self._order: np.ndarray = np.empty(0, dtype=np.int64)

    def question(self, index: int) -> Question:
        """The question that episode `index` plays."""
        epoch, place = divmod(index // (self._group[0] * self._group[1] * self._sides), len(self._questions))
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self._questions))
            self._epoch = epoch
        return self._questions[int(self._order[place])]

    def deal(self, sides: Sequence[Rules]) -> Episode:
        """Open the next episode, for the side whose it is."""
        index = self.next_index
        self.next_index += 1
        return Episode(self.question(index), sides[index % self._sides], index, self._group)


class Table:
    """One scenario's data laid out for play: a source, the split in use, a dealer and a retriever."""

    def __init__(self, source: Source, sides: Sequence[Rules], split: str, seed: int, group: Group = (1, 1)) -> None:
        self._source, self.sides, self._group = source, sides, group
        self._use(split, seed)

    def _use(self, split: str, seed: int) -> None:
        self.questions = self._source.questions(split)
        self.retriever: Retriever = self._source.retriever(split)
        self._expected = self._source.expected(split)
        self.split = split
        self.dealer = Dealer(self.questions, seed, self._group, len(self.sides))

    @property
    def common(self) -> tuple[Any, ...]:
        """What is only read: the data of the process."""
        return self._source, self.questions, self.retriever, self._expected

    def open(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> list[Episode]:
        """Open one episode a side: the next in the order, or of the question that `options` name.

        Args:
            seed: restarts the order of that seed.
            options: `question_id` plays that question, in the place of the next in the order; `split` changes the split from
                now on. Others are ignored with a warning.

        Raises:
            DataError: the split or the question does not exist.
        """
        if options is not None and not isinstance(options, Mapping):
            raise ConfigError(f"reset: options are keys with values, {{'question_id': ...}}, not {options!r}")
        for key in options or ():
            if key not in KNOWN_OPTIONS:
                warnings.warn(f"reset: option {key!r} is not one of {', '.join(KNOWN_OPTIONS)}; ignored", stacklevel=3)
        split, wanted = (options.get("split"), options.get("question_id")) if options else (None, None)
        if split is not None and split != self.split:
            self._use(str(split), self.dealer.seed)
        if seed is not None:
            self.dealer.restart(seed)
        question = None if wanted is None else self.find(str(wanted))
        dealt = [self.dealer.deal(self.sides) for _ in self.sides]
        return dealt if question is None else [Episode(question, each.rules, each.index) for each in dealt]

    def find(self, question_id: str) -> Question:
        """The question of an id in the split in use."""
        for question in self.questions:
            if question.id == question_id:
                return question
        for split in ("train", "dev", "test"):  # the question may be of another one
            with suppress(DataError):
                if split != self.split and any(
                    question.id == question_id for question in self._source.questions(split)
                ):
                    raise ConfigError(f"split {self.split!r} has no question {question_id!r}, but {split!r} has")
        hint = nearest(question_id, [question.id for question in self.questions])
        raise DataError(f"split {self.split!r} has no question {question_id!r}{hint}")

    def settle(self, episodes: Iterable[Episode]) -> None:
        """Answer every query that the episodes wait for, in one batch a round of waiting, in turn order.

        A retriever that fails truncates the episodes that waited for it, or stops the run where the scenario says so.
        """
        asking = [episode for episode in episodes if episode.pending_queries]
        while asking:
            waiting = self.pending(asking)
            try:
                found = self.search(waiting)
            except RetrievalError as error:
                self.fail(waiting, error)
            else:
                self.supply(waiting, found)
            asking = [episode for episode in asking if episode.pending_queries]

    @property
    def depth(self) -> int:
        """Documents that every query asks for."""
        return self.sides[0].depth

    @staticmethod
    def pending(episodes: Iterable[Episode]) -> Waiting:
        """Every query that the episodes wait for, in turn order."""
        return [(episode, request) for episode in episodes for request in episode.pending_queries]

    def search(self, waiting: Waiting) -> list[list[Hit]]:
        """What the retriever finds; changes no episode, so that it may run in a thread.

        Raises:
            RetrievalError: the retriever cannot answer.
            ConfigError: a server searches another world than the one that the questions are about, or a retriever of one's own does
                not answer each query with a list.
        """
        found = self.retriever.search([request.query for _, request in waiting], self.depth)
        if not isinstance(found, Sequence) or len(found) != len(waiting):
            lists = isinstance(found, Sequence)
            given = f"{len(found)} lists of hits" if lists else f"a {type(found).__name__}, no list"
            raise ConfigError(f"the retriever has answered {len(waiting)} queries with {given}: one each is wanted")
        expected = self._expected  # other threads may be here, too
        if expected is not None and any(found):
            self._refuse_foreign(found, frozenset(expected))
        return found

    def _refuse_foreign(self, found: Sequence[Sequence[Hit]], own: frozenset[Document]) -> None:
        """Look once whether what is found is of this split's world: each split is a world of its own."""
        if not any(hit.document in own for hits in found for hit in hits):
            raise ConfigError(
                f"the retriever's server does not search the world of the split {self.split!r}: serve that one "
                "(jade serve SCENARIO --split SPLIT, with the same overrides), or keep the retriever local"
            )
        self._expected = None

    @staticmethod
    def supply(waiting: Waiting, found: Sequence[Sequence[Hit]]) -> None:
        """Hand each query its documents, in turn order."""
        for (episode, request), hits in zip(waiting, found, strict=True):
            try:
                documents = [hit.document for hit in hits]
            except (AttributeError, TypeError):
                raise ConfigError(
                    f"the retriever has answered {request.query[:40]!r} with {hits!r:.80}: a list of "
                    "jade_env.retrieval.Hit(document, score) is wanted"
                ) from None
            episode.supply(request, documents)

    def fail(self, waiting: Waiting, error: RetrievalError) -> None:
        """The retriever cannot answer: the episodes that waited end as truncated.

        Raises:
            RetrievalError: the scenario says that a failure stops the run (`on_failure: raise`).
        """
        if self._source.on_failure == "raise":
            raise error
        for episode in dict.fromkeys(episode for episode, _ in waiting):
            episode.truncate(str(error))


def branch(player: Any, table: Table, memo: dict[int, Any], *common: Any) -> Any:
    """A copy of an environment or a pool, in the middle of a game or not, that goes on by itself: for search in the tree of a game.

    Args:
        player: the environment or pool, and `table` where it plays.
        memo: of `copy.deepcopy`.
        common: what else the two have in common beside the data, the retriever and the rules.
    """
    cards = player.scenario.cards.values()  # rules and open turns know a card by being the same
    for shared in (player.scenario, *cards, *table.sides, *table.common, *common):
        memo[id(shared)] = shared
    copy = object.__new__(type(player))
    memo[id(player)] = copy
    vars(copy).update({name: deepcopy(value, memo) for name, value in vars(player).items()})
    return copy
