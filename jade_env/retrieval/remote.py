"""A retriever that asks servers over HTTP: failover, retries, limits, and no document that was not checked.

    RemoteRetriever(["http://127.0.0.1:8000"], protocol="search_r1").search(["who founded Oslo?"], 5)

A batch of queries is answered rightly and whole, or `RetrievalError` says which server sent what. Knows no cache and no game.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jade_env.clients import Failure, may_pass, retry_after
from jade_env.errors import ConfigError, MissingExtra, RetrievalError
from jade_env.retrieval.remote_endpoints import Endpoints
from jade_env.retrieval.remote_protocols import INDEX_HEADER, PATHS, Protocol, read_answer, request_body
from jade_env.retrieval.remote_stats import LatencyClock, RemoteStats
from jade_env.retrieval.types import Hit, check_queries

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

LONGEST_PAUSE = 10.0
"""Seconds between two tries, whatever a server's Retry-After asks for."""


class RemoteRetriever:
    """Answers queries by asking any of several servers of the same index.

    Servers are asked in turn; one that fails rests and is tried again later. What fails is asked again of the next server at
    once, or after a pause that grows (with jitter, or as Retry-After says) where all of them are failing. A server that names
    its index in the header `jade-index` must name the one that answered first. The environment's proxies are not used.

    Args:
        urls: base URLs, such as `http://127.0.0.1:8000`.
        protocol: `search_r1` (`POST /retrieve`) or `jade` (`POST /search`).
        timeout: seconds for a connection, for a silence, and for a whole answer.
        retries: tries after the first one, of each batch.
        concurrency: requests under way at once.
        batch: queries in one request.
        max_response_mb: megabytes of an answer; a larger one is a failure.
        token: sent as a bearer token.

    Raises:
        ConfigError: an argument is not valid.
        MissingExtra: httpx or tenacity is not installed.
    """

    remote = True
    """Answers come from elsewhere: whoever waits for them has time for other work."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        protocol: Protocol = "search_r1",
        timeout: float = 10.0,
        retries: int = 3,
        concurrency: int = 8,
        batch: int = 64,
        max_response_mb: float = 64,
        token: str | None = None,
    ) -> None:
        if protocol not in PATHS:
            raise ConfigError(f"remote retriever: protocol {protocol!r} is not one of {', '.join(PATHS)}")
        if not (timeout > 0 and retries >= 0 and concurrency > 0 and batch > 0 and max_response_mb > 0):
            raise ConfigError("remote retriever: all limits must be above 0, and retries at least 0")
        self.urls = tuple(dict.fromkeys(_checked(url) for url in ([urls] if isinstance(urls, str) else urls)))
        if not self.urls:
            raise ConfigError("remote retriever: no url is given; name at least one, such as http://127.0.0.1:8000")
        self.protocol, self._timeout, self._retries, self._batch = protocol, timeout, retries, batch
        self._max_bytes = int(max_response_mb * 1_000_000)
        self._headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._client = _client(timeout, concurrency)
        self._requests = ThreadPoolExecutor(concurrency, thread_name_prefix="retrieval-request")
        self._endpoints, self._clock = Endpoints(self.urls), LatencyClock()
        self._lock, self._index = threading.Lock(), ""
        self._counts = dict.fromkeys(("queries", "retries", "lost"), 0)

    @property
    def identity(self) -> str:
        """Protocol and servers: what they hold they do not all say."""
        return f"remote({self.protocol}):{','.join(self.urls)}"

    @property
    def stats(self) -> RemoteStats:
        """What was asked so far, and what came of it."""
        endpoints = self._endpoints.stats
        with self._lock:
            counts = dict(self._counts)
        requests, failures = sum(e.requests for e in endpoints), sum(e.failures for e in endpoints)
        return RemoteStats(
            requests=requests, failures=failures, endpoints=endpoints, latency=self._clock.latency, **counts
        )

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Ask for all queries, in batches, several at once; safe to call from several threads.

        Raises:
            ConfigError: `top_k` is below 1, or `queries` is one bare string.
            RetrievalError: a batch stayed without a right answer after all retries; the sentence says what came last.
        """
        check_queries("remote retriever", queries, top_k)
        # half a surrogate pair is no text that can be sent or found
        texts = [query.encode("utf-8", "replace").decode() for query in queries]
        over = threading.Event()  # set when the batches that are left are wanted no more
        batches: list[Future[list[list[Hit]]]] = [
            self._requests.submit(self._answer, texts[start : start + self._batch], top_k, over)
            for start in range(0, len(texts), self._batch)
        ]
        try:
            return [hits for batch in batches for hits in batch.result()]
        except BaseException:
            over.set()
            for batch in batches:
                batch.cancel()
            raise

    def close(self) -> None:
        """Close all connections; the retriever cannot be asked after."""
        self._requests.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    # ---- one batch --------------------------------------------------------------------------------------------------

    def _answer(self, queries: list[str], top_k: int, over: threading.Event) -> list[list[Hit]]:
        """Ask until a server answers, the failure is none that passes, or the tries are used up."""
        import tenacity

        body = request_body(self.protocol, queries, top_k)
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failure) and error.passing),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(1 + self._retries), tenacity.stop_when_event_set(over)),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(over),
            before_sleep=lambda _: self._count("retries"),
            reraise=True,
        )
        try:
            found = tries(self._ask, body, queries, top_k)
        except Failure as error:
            self._count("lost")
            again = error.passing and self._retries and not over.is_set()
            tried = f" (tried {1 + self._retries} times)" if again else ""
            raise RetrievalError(f"{error}{tried}") from None
        self._count("queries", len(queries))
        return found

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next try: none where a server is awake, unless one has asked for patience."""
        error = state.outcome.exception() if state.outcome else None
        if self._endpoints.any_awake:
            return 0.0
        grown = min(LONGEST_PAUSE, 0.25 * 2.0**state.attempt_number)
        jittered = grown * random.uniform(0.5, 1.0)
        asked = error.pause if isinstance(error, Failure) else 0.0
        return min(LONGEST_PAUSE, max(jittered, asked))

    def _ask(self, body: bytes, queries: list[str], top_k: int) -> list[list[Hit]]:
        """One request to one server."""
        url, began = self._endpoints.take(), time.perf_counter()
        try:
            content, index = self._post(url, body)
            try:
                found = read_answer(self.protocol, content, queries, top_k)
            except ValueError as error:
                raise Failure(f"{url}: {error}") from None
            self._same_index(url, index)
        except BaseException:
            self._endpoints.failed(url)
            raise
        self._endpoints.worked(url)
        self._clock.add(time.perf_counter() - began)
        return found

    def _post(self, url: str, body: bytes) -> tuple[bytes, str]:
        """Send a body and return what came with status 200, and the index it came from."""
        import httpx

        deadline = time.monotonic() + self._timeout
        try:
            with self._client.stream("POST", url + PATHS[self.protocol], content=body, headers=self._headers) as answer:
                content = self._read(url, answer, deadline)
        except httpx.TimeoutException:
            raise Failure(f"{url}: no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(f"{url}: {str(error) or type(error).__name__}") from None
        status = answer.status_code
        if status == 200:
            return content, answer.headers.get(INDEX_HEADER, "")
        said = content[:200].decode("utf-8", "replace")
        pause = retry_after(answer.headers.get("retry-after"))
        raise Failure(f"{url}: status {status}: {said!r}", pause, may_pass(status))

    def _read(self, url: str, answer: httpx.Response, deadline: float) -> bytes:
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise Failure(f"{url}: a compressed answer, which was not asked for")
        content = bytearray()
        for piece in answer.iter_raw():
            content += piece
            if len(content) > self._max_bytes:
                raise Failure(f"{url}: an answer of more than {self._max_bytes / 1e6:g} MB (max_response_mb)")
            if time.monotonic() > deadline:
                raise Failure(f"{url}: no whole answer within {self._timeout:g} s")
        return bytes(content)

    def _same_index(self, url: str, index: str) -> None:
        """Refuse the answer of a server that holds another index than the one that answered first."""
        with self._lock:
            self._index = self._index or index
            if index and index != self._index:
                raise Failure(f"{url}: it serves the index {index[:80]!r}, but answers began with {self._index[:80]!r}")

    def _count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._counts[name] += number


def _checked(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"remote retriever: {url[:80]!r} is not a base URL such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise ConfigError(f"remote retriever: the URL of {parts.hostname} holds a password; give a token instead")
    return url.strip().rstrip("/")


def _client(timeout: float, concurrency: int) -> Any:
    try:
        import httpx
        import tenacity  # noqa: F401 - needed at the first request; better missed now
    except ImportError as error:
        raise MissingExtra(error.name or "httpx", "remote") from None
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    return httpx.Client(timeout=timeout, limits=limits, trust_env=False)
