"""The two protocols that retrieval servers speak, as bytes to send and bytes to check.

Search-R1's `POST /retrieve` and JADE's `POST /search`. What a server sends is not trusted: an answer is whole and right, or a
`ValueError` says what is wrong with it. Knows no network.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal

from jade_env.retrieval.types import Document, Hit

Protocol = Literal["search_r1", "jade"]
PATHS: dict[Protocol, str] = {"search_r1": "/retrieve", "jade": "/search"}
INDEX_HEADER = "jade-index"
"""Response header in which our server says which index answered, so that a client never mixes two."""


def request_body(protocol: Protocol, queries: Sequence[str], top_k: int) -> bytes:
    """The body that asks for `top_k` documents a query."""
    asked: dict[str, Any]
    if protocol == "search_r1":
        asked = {"queries": list(queries), "topk": top_k, "return_scores": True}
    else:
        asked = {"questions": list(queries), "N": top_k}
    return json.dumps(asked).encode()


def read_answer(protocol: Protocol, body: bytes, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
    """The hits that a body says, one list a query.

    JADE's own protocol sends neither ids nor scores: an id is then a hash of the text, and a score 1/rank.

    Raises:
        ValueError: the body is not JSON, or not the answer to these queries.
    """
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError(f"JSON nested too deeply: {_start(body)}") from None
    except ValueError as error:
        raise ValueError(f"broken JSON ({error}): {_start(body)}") from None
    lists = _search_r1(answer) if protocol == "search_r1" else _jade(answer, queries)
    if len(lists) != len(queries):
        raise ValueError(f"{len(lists)} lists of documents to {len(queries)} queries")
    for place, hits in enumerate(lists):
        if len(hits) > top_k:
            raise ValueError(f"{len(hits)} documents to query {place}, which asked for {top_k}")
        if protocol == "search_r1" and len({hit.document.id for hit in hits}) < len(hits):
            raise ValueError(f"a document twice in the answer to query {place}")
    return lists


def _search_r1(answer: object) -> list[list[Hit]]:
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, list):
        raise ValueError(f'no "result" list: {_start(answer)}')
    lists = []
    for place, found in enumerate(result):
        if not isinstance(found, list):
            raise ValueError(f"the answer to query {place} is not a list: {_start(found)}")
        lists.append([_scored(item) for item in found])
    return lists


def _scored(item: object) -> Hit:
    from jade_env.questions.datasets import document_from

    record, score = (item.get("document"), item.get("score")) if isinstance(item, dict) else (None, None)
    if not isinstance(record, dict):
        raise ValueError(f'a hit without a "document": {_start(item)}')
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
        raise ValueError(f"a score that is not a number: {_start(score)}")
    try:
        return Hit(document_from(record), float(score))
    except ValueError as error:
        raise ValueError(f"a document that is none ({error}): {_start(record)}") from None


def _jade(answer: object, queries: Sequence[str]) -> list[list[Hit]]:
    if not isinstance(answer, list):
        raise ValueError(f"not a list of answers: {_start(answer)}")
    lists = []
    for place, item in enumerate(answer):
        texts = item.get("top_k_docs") if isinstance(item, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f'the answer to query {place} has no "top_k_docs" list of texts: {_start(item)}')
        question = item.get("question", queries[place] if place < len(queries) else "")
        if place < len(queries) and question != queries[place]:
            raise ValueError(f"answer {place} is to another question: {_start(question)}")
        lists.append([Hit(_document(text), 1.0 / rank) for rank, text in enumerate(texts, 1)])
    return lists


def _document(text: str) -> Document:
    title, newline, rest = text.partition("\n")
    name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return Document(name, title, rest) if newline else Document(name, "", text)


def _start(value: object) -> str:
    """The beginning of what came, as it may stand in a sentence."""
    shown = value[:80].decode("utf-8", "replace") if isinstance(value, bytes) else str(value)[:80]
    return repr(shown)
