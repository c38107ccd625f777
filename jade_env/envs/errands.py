"""Retrieval that goes on while other episodes play: a pool's queries under way in threads, and the slots that sleep meanwhile.

Documents are handed to their episodes only when the pool asks, in its own thread. Knows slots and a table; knows no turn and no
policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from jade_env.envs.table import Table
from jade_env.errors import RetrievalError
from jade_env.game.episode import Episode, Retrieval
from jade_env.retrieval import Hit

THREADS = 16
"""Batches under way at once; each waits in a thread of its own."""


@dataclass(frozen=True, slots=True)
class _Errand:
    slots: tuple[int, ...]
    waiting: list[tuple[Episode, Retrieval]]
    answer: Future[list[list[Hit]]]


class Errands:
    """The queries of sleeping slots, a batch an errand."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="retrieval")
        self._errands: list[_Errand] = []
        self.asleep: set[int] = set()
        """Slots whose episodes wait for documents."""

    def send(self, episodes: Mapping[int, Episode]) -> None:
        """Ask for all that the episodes of some slots wait for, and let those slots sleep."""
        waiting = self._table.pending(episodes.values())
        self._errands.append(_Errand(tuple(episodes), waiting, self._threads.submit(self._table.search, list(waiting))))
        self.asleep.update(episodes)

    def arrived(self, block: bool) -> list[int]:
        """Hand over the documents that have come, and return the slots that wake; a failure is handed over likewise.

        Args:
            block: wait until something has come, where nothing has and something is under way.

        Raises:
            RetrievalError: the retriever has failed, and the scenario says that this stops the run.
        """
        if not self._errands:
            return []
        if block:
            wait([errand.answer for errand in self._errands], return_when=FIRST_COMPLETED)
        come = [errand for errand in self._errands if errand.answer.done()]
        self._errands = [errand for errand in self._errands if errand not in come]
        for errand in come:
            self.asleep.difference_update(errand.slots)
            try:
                found = errand.answer.result()
            except RetrievalError as error:
                self._table.fail(errand.waiting, error)
            else:
                self._table.supply(errand.waiting, found)
        return sorted(slot for errand in come for slot in errand.slots)

    def drop(self) -> None:
        """Forget everything: the episodes are gone. What is under way comes to nothing."""
        for errand in self._errands:
            errand.answer.cancel()
        self._errands = []
        self.asleep.clear()


def sleepers(table: Table, slots: Sequence[int], episodes: Sequence[Episode]) -> dict[int, Episode]:
    """The slots that must wait for a retriever which is elsewhere: some of their queries are not remembered here."""
    remembers = getattr(table.retriever, "remembers", lambda query, top_k: False)
    return {
        slot: episodes[slot]
        for slot in slots
        if any(not remembers(request.query, table.depth) for request in episodes[slot].pending_queries)
    }
