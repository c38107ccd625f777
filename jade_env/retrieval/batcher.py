"""Turns requests that arrive together into one search: what a server does with many clients. Knows no HTTP and no index.

A batch is what has gathered while the last one was searched; only where nothing was under way does the first request wait, a
few milliseconds, for company.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from jade_env.errors import RetrievalError
from jade_env.retrieval.types import Hit, Retriever


class QueueFull(RetrievalError):
    """More queries wait than there is room for."""


@dataclass(slots=True, eq=False)
class _Request:
    queries: Sequence[str]
    top_k: int
    answer: asyncio.Future[list[list[Hit]]]
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Answers requests by searching in batches, in a thread of its own, one batch at a time.

    Args:
        retriever: searches. A request's queries are searched together with those of others that want as many documents.
        window: seconds that a request may wait for company.
        max_batch: queries in one search; a request with more is searched alone. 1 searches each request alone.
        max_queue: queries that may wait; further ones are refused.
    """

    def __init__(self, retriever: Retriever, window: float, max_batch: int, max_queue: int) -> None:
        self._retriever, self._window, self._max_batch, self._max_queue = retriever, window, max_batch, max_queue
        self._waiting: deque[_Request] = deque()
        self._queued = 0
        self._arrival = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        """Searches so far."""
        self.queries = 0
        """Queries searched so far."""

    @property
    def queued(self) -> int:
        """Queries that wait."""
        return self._queued

    def start(self) -> None:
        """Begin to answer; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop answering; whoever still waits is refused."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for request in self._waiting:
            request.answer.cancel()
        self._thread.shutdown()

    async def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """The hits of each query, once their batch has been searched.

        Raises:
            QueueFull: too many queries wait already.
            RetrievalError: the retriever cannot answer.
        """
        if self._queued and self._queued + len(queries) > self._max_queue:
            raise QueueFull(f"{self._queued} queries are waiting, and {self._max_queue} may")
        request = _Request(queries, top_k, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._queued += len(queries)
        self._arrival.set()
        if self._queued >= self._max_batch:
            self._full.set()
        return await request.answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            idle = not self._waiting
            await self._arrival.wait()
            if idle and self._window and not self._full.is_set():
                await self._company()
            batch = self._next_batch()
            if not batch:
                continue
            queries = [query for request in batch for query in request.queries]
            try:
                found = await loop.run_in_executor(self._thread, self._retriever.search, queries, batch[0].top_k)
                if len(found) != len(queries):
                    raise RetrievalError(f"the retriever gave {len(found)} answers to {len(queries)} queries")
            except Exception as error:
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
                continue
            self.batches += 1
            self.queries += len(queries)
            answers = iter(found)
            for request in batch:
                answer = [next(answers) for _ in request.queries]
                if not request.answer.done():
                    request.answer.set_result(answer)

    async def _company(self) -> None:
        """Wait for the rest of the window, or until a batch is full."""
        left = self._waiting[0].arrived + self._window - time.monotonic()
        if left > 0:
            try:
                await asyncio.wait_for(self._full.wait(), left)
            except TimeoutError:
                return

    def _next_batch(self) -> list[_Request]:
        """Take the oldest requests that want as many documents as the first one, as many as fit."""
        batch: list[_Request] = []
        passed: list[_Request] = []
        size = 0
        while self._waiting and size < self._max_batch:
            request = self._waiting.popleft()
            if request.answer.done():  # its client has gone
                self._queued -= len(request.queries)
            elif batch and request.top_k != batch[0].top_k:
                passed.append(request)
            elif batch and size + len(request.queries) > self._max_batch:
                passed.append(request)
                break
            else:
                batch.append(request)
                size += len(request.queries)
        self._waiting.extendleft(reversed(passed))
        self._queued -= size
        if not self._waiting:
            self._arrival.clear()
        if self._queued < self._max_batch:
            self._full.clear()
        return batch
