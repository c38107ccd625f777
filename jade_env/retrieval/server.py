"""A retriever served over HTTP, in Search-R1's protocol and in JADE's own, with concurrent requests searched in one batch.

    POST /retrieve {"queries": [str], "topk": int|null, "return_scores": bool}
        -> {"result": [[{"document": {"id", "contents"}, "score": float}]]}; without scores, bare documents
    POST /search {"questions": [str], "N": int|null} -> [{"question", "top_k_docs": ["title\\ntext"]}]
    GET /healthz -> identity, documents, uptime, queue

What cannot be served is refused with a status and a sentence: 401 no token, 413 body too large, 422 not a request, 429 (with
Retry-After) queue full, 503 the retriever cannot answer. Knows no index; `serve.py` opens one and runs this.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jade_env.errors import JadeError, MissingExtra
from jade_env.retrieval.batcher import Batcher, QueueFull
from jade_env.retrieval.remote_protocols import INDEX_HEADER
from jade_env.retrieval.types import Document, Retriever

try:
    from fastapi import FastAPI, Request, Response
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route
except ImportError as error:
    raise MissingExtra(error.name or "fastapi", "serve") from None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes upon itself.

    Attributes:
        top_k: documents a query where a request does not say.
        max_top_k: documents a query at most.
        max_queries: queries in one request at most.
        max_body: bytes of a request at most.
        window: seconds a request may wait for others to be searched with.
        max_batch: queries searched together.
        max_queue: queries that may wait.
    """

    top_k: int = 5
    max_top_k: int = 100
    max_queries: int = 1024
    max_body: int = 8_000_000
    window: float = 0.002
    max_batch: int = 64
    max_queue: int = 4096


class Refusal(Exception):
    """A request that is not served: a status, a sentence, and headers."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers


def make_app(
    open_retriever: Callable[[], Retriever],
    limits: Limits | None = None,
    token: str | None = None,
    on_ready: Callable[[str, int | None], None] | None = None,
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        open_retriever: gives what is served; called when the application starts, in the process that serves.
        limits: what is refused.
        token: bearer token that every search must carry.
        on_ready: called with the retriever's identity and its number of documents when it is open.
    """
    service = _Service(limits or Limits(), token)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.open(open_retriever())
        if on_ready:
            on_ready(service.identity, service.documents)
        yield
        await service.batcher.stop()

    app = FastAPI(title="jade-env retrieval", lifespan=lifespan, openapi_url=None)

    async def refused(_: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        return _json({"detail": str(refusal)}, refusal.status, refusal.headers)

    app.add_exception_handler(Refusal, refused)
    for path, answer in (("/retrieve", service.retrieve), ("/search", service.search)):
        app.router.routes.append(
            Route(path, answer, methods=["POST"])
        )  # a sixth faster than FastAPI's own: bodies are read by hand
    app.add_api_route("/healthz", service.health, methods=["GET"], response_model=None)
    return app


class _Service:
    """What the routes share."""

    def __init__(self, limits: Limits, token: str | None) -> None:
        self.limits, self._token, self._began = limits, token, time.monotonic()
        self.identity = ""
        self.documents: int | None = None
        self.batcher: Batcher

    def open(self, retriever: Retriever) -> None:
        """Begin to serve a retriever."""
        self.identity, self.documents = retriever.identity, count_of(retriever)
        limits = self.limits
        self.batcher = Batcher(retriever, limits.window, limits.max_batch, limits.max_queue)
        self.batcher.start()

    # ---- routes -----------------------------------------------------------------------------------------------------

    async def retrieve(self, request: Request) -> Response:
        """Search-R1's protocol."""
        asked = await self._asked(request)
        with_scores = asked.get("return_scores", False)
        if not isinstance(with_scores, bool | None):
            raise Refusal(422, f"return_scores: {_shown(with_scores)} is not true or false")
        queries, top_k = self._queries(asked, "queries"), self._top_k(asked, "topk")
        lists = await self._found(queries, top_k)
        if with_scores:
            result = [[{"document": _record(h.document), "score": float(h.score)} for h in hits] for hits in lists]
        else:
            result = [[_record(hit.document) for hit in hits] for hits in lists]
        return _json({"result": result}, 200, {INDEX_HEADER: self._index})

    async def search(self, request: Request) -> Response:
        """JADE's own protocol."""
        asked = await self._asked(request)
        questions, top_k = self._queries(asked, "questions"), self._top_k(asked, "N")
        lists = await self._found(questions, top_k)
        answer = [
            {"question": question, "top_k_docs": [hit.document.contents for hit in hits]}
            for question, hits in zip(questions, lists, strict=True)
        ]
        return _json(answer, 200, {INDEX_HEADER: self._index})

    async def health(self) -> Response:
        """What is served, and how much waits."""
        batcher, limits = self.batcher, self.limits
        return _json(
            {
                "status": "ok",
                "identity": self.identity,
                "documents": self.documents,
                "uptime": round(time.monotonic() - self._began, 3),
                "queue": batcher.queued,
                "max_queue": limits.max_queue,
                "queries": batcher.queries,
                "batches": batcher.batches,
                "process": os.getpid(),
            }
        )

    # ---- what they are made of --------------------------------------------------------------------------------------

    @property
    def _index(self) -> str:
        """The identity as a header may hold it."""
        return self.identity.encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")

    async def _found(self, queries: list[str], top_k: int) -> list[Any]:
        if not queries:
            return []
        try:
            return await self.batcher.search(queries, top_k)
        except QueueFull as error:
            raise Refusal(429, f"{error}; try again in a second", **{"retry-after": "1"}) from None
        except JadeError as error:
            raise Refusal(503, str(error)) from None

    async def _asked(self, request: Request) -> dict[str, Any]:
        """The body of a request that may be served, as an object."""
        if self._token is not None:
            given = request.headers.get("authorization", "")
            if not secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise Refusal(401, "a bearer token is needed: Authorization: Bearer TOKEN")
        length, most = request.headers.get("content-length", ""), self.limits.max_body
        too_large = Refusal(413, f"the body is larger than {most / 1e6:g} MB; ask for fewer queries at once")
        if length.isdigit() and int(length) > most:
            raise too_large
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise too_large
        except ClientDisconnect:
            raise Refusal(400, "the connection was closed before the body's end") from None
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise Refusal(422, "the body is not JSON") from None
        if not isinstance(asked, dict):
            raise Refusal(422, f"the body is {_shown(asked)}, not an object")
        return asked

    def _queries(self, asked: dict[str, Any], field: str) -> list[str]:
        queries, most = asked.get(field), self.limits.max_queries
        if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
            raise Refusal(422, f"{field}: {_shown(queries)} is not a list of strings")
        if len(queries) > most:
            raise Refusal(422, f"{field}: {len(queries)} at once, and {most} may be; send several requests")
        return queries

    def _top_k(self, asked: dict[str, Any], field: str) -> int:
        top_k, limits = asked.get(field), self.limits
        if top_k is None:
            return limits.top_k
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.max_top_k:
            raise Refusal(422, f"{field}: {_shown(top_k)} is not a whole number from 1 to {limits.max_top_k}")
        return top_k


def count_of(retriever: Retriever) -> int | None:
    """How many documents a retriever holds, where it says."""
    held = getattr(retriever, "documents", None)
    if held is None and (behind := getattr(retriever, "retriever", None)) is not None:
        return count_of(behind)
    try:
        return len(held)  # type: ignore[arg-type]
    except TypeError:
        return held if isinstance(held, int) else None


def _record(document: Document) -> dict[str, Any]:
    from jade_env.questions.datasets import document_record

    return document_record(document)


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, media_type="application/json")


def _shown(value: object) -> str:
    return repr(value)[:60]
