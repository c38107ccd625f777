"""`jade serve` as a real process: both protocols, what it refuses and how it says so, batches, tokens, workers, its end."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from jade_env.cli_serve import open_served
from jade_env.envs.pool import Pool
from jade_env.errors import ConfigError, DataError, RetrievalError
from jade_env.questions.datasets import document_record
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.types import Hit
from jade_env.scenario import load_scenario

Served = Any


@pytest.fixture(scope="module")
def local(corpus_file: Path) -> BM25Retriever:
    return BM25Retriever.cached(corpus_file)


@pytest.fixture(scope="module")
def queries(local: BM25Retriever) -> list[str]:
    return [" ".join(document.text.split()[:6]) for document in local.documents[:40]]


def test_search_r1_clients_are_answered_field_for_field(served: Served, local: BM25Retriever) -> None:
    text = local.documents[0].text
    (hits,) = local.search([text], 3)
    asked = {"queries": [text], "topk": 3, "return_scores": True}
    with_scores = [[{"document": document_record(hit.document), "score": hit.score} for hit in hits]]
    assert served.post("/retrieve", asked)[:2] == (200, {"result": with_scores})
    bare = [[document_record(hit.document) for hit in hits]]
    assert served.post("/retrieve", {**asked, "return_scores": False})[1] == {"result": bare}
    assert served.post("/retrieve", {"queries": [text], "topk": 3, "of_another_client": 1})[1] == {"result": bare}
    for default in ({"queries": [text]}, {"queries": [text], "topk": None, "return_scores": None}):
        assert len(served.post("/retrieve", default)[1]["result"][0]) == 5
    assert served.post("/retrieve", {"queries": []})[1] == {"result": []}


def test_jade_clients_are_answered_field_for_field(served: Served, local: BM25Retriever) -> None:
    text = local.documents[1].text
    texts = [f"{hit.document.title}\n{hit.document.text}" for hit in local.search([text], 4)[0]]
    status, answer, _ = served.post("/search", {"questions": [text, "zzz"], "N": 4})
    assert (status, answer) == (
        200,
        [{"question": text, "top_k_docs": texts}, {"question": "zzz", "top_k_docs": []}],
    )


def test_our_client_gets_from_it_what_the_retriever_finds(
    served: Served, local: BM25Retriever, queries: list[str]
) -> None:
    search_r1 = RemoteRetriever([served.url], batch=7)
    assert search_r1.search(queries, 5) == local.search(queries, 5)
    found = RemoteRetriever([served.url], protocol="jade").search(queries, 5)
    for mine, theirs in zip(found, local.search(queries, 5), strict=True):
        assert [(h.document.title, h.document.text) for h in mine] == [
            (h.document.title, h.document.text) for h in theirs
        ]
        assert [hit.score for hit in mine] == [1 / rank for rank in range(1, len(mine) + 1)]


def test_health_tells_what_is_served(served: Served, local: BM25Retriever) -> None:
    health = served.health()
    assert (health["identity"], health["documents"], health["queue"]) == (local.identity, len(local.documents), 0)
    assert health["uptime"] > 0 and health["status"] == "ok"
    assert local.identity in served.line and f"{len(local.documents)} documents" in served.line


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 422, "not JSON"),
        (b"[" * 50_000, 422, "not JSON"),
        (b"\xff\xfe", 422, "not JSON"),
        ([], 422, "not an object"),
        ({}, 422, "queries: None is not a list of strings"),
        ({"queries": "one"}, 422, "queries: 'one' is not a list of strings"),
        ({"queries": [1]}, 422, "not a list of strings"),
        ({"queries": ["a"], "topk": 0}, 422, "topk: 0 is not a whole number from 1 to 20"),
        ({"queries": ["a"], "topk": 21}, 422, "from 1 to 20"),
        ({"queries": ["a"], "topk": True}, 422, "topk: True"),
        ({"queries": ["a"], "topk": "3"}, 422, "topk: '3'"),
        ({"queries": ["a"], "return_scores": "yes"}, 422, "return_scores"),
        ({"queries": ["a"] * 2000}, 422, "2000 at once, and 1024 may be"),
        ({"queries": ["a" * 200_000]}, 413, "larger than 0.1 MB"),
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(served: Served, body: Any, status: int, sentence: str) -> None:
    got, answer, _ = served.post("/retrieve", body)
    assert got == status and sentence in answer["detail"]
    assert served.post("/retrieve", {"queries": ["still here"]})[0] == 200


def test_a_body_that_does_not_say_its_size_is_measured(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /retrieve HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                connection.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        except OSError:
            pass
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_queries_nobody_can_answer_well_are_answered(served: Served) -> None:
    status, answer, _ = served.post("/retrieve", {"queries": ["", "the of and", "\u0000", "x" * 50_000, "?!"]})
    assert (status, answer) == (200, {"result": [[], [], [], [], []]})
    assert served.post("/retrieve", b'{"queries": ["\\ud800"]}')[0] == 200


def test_concurrent_requests_are_searched_together_and_each_gets_its_own(
    served: Served, local: BM25Retriever, queries: list[str]
) -> None:
    client = RemoteRetriever([served.url], batch=1, concurrency=16)
    before = served.health()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: client.search(queries, 3), range(4)))
    assert found == [local.search(queries, 3)] * 4
    after = served.health()
    asked, batches = after["queries"] - before["queries"], after["batches"] - before["batches"]
    assert asked == 4 * len(queries) and batches < asked  # how many meet in one batch is up to the machine


SLOW = """
import sys, time
from functools import partial
from jade_env.retrieval.serve import serve
from jade_env.retrieval.server import Limits
from jade_env.retrieval.types import Document, Hit
from jade_env.errors import RetrievalError

class Slow:
    identity = "slow"
    documents = 1
    def search(self, queries, top_k):
        time.sleep(0.4)
        if "fail" in queries:
            raise RetrievalError("the disk is gone")
        return [[Hit(Document(q, "", "text of " + q), 1.0)] for q in queries]

if __name__ == "__main__":
    serve(Slow, port=0, workers=int(sys.argv[1]), limits=Limits(max_batch=1, max_queue=2), token=sys.argv[2] or None)
"""


@pytest.fixture
def slow(tmp_path: Path) -> Any:
    """Starts a server that takes 0.3 s a request, has room for two that wait, and ends it."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    running: list[subprocess.Popen[str]] = []

    def start(workers: int = 1, token: str = "") -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, str(script), str(workers), token], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(workers)]
        return process, lines[-1].split(" at ")[1].split()[0]

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


def ask(url: str, query: str, results: list[Any], **headers: str) -> threading.Thread:
    def run() -> None:
        try:
            answer = httpx.post(f"{url}/retrieve", json={"queries": [query]}, headers=headers, timeout=20)
            results.append((query, answer.status_code, answer.json(), dict(answer.headers)))
        except Exception as error:
            results.append((query, 0, repr(error), {}))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_full_queue_asks_for_patience_and_a_failing_retriever_is_told(slow: Callable[..., Any]) -> None:
    _, url = slow()
    results: list[Any] = []
    threads = []
    for number in range(6):
        threads.append(ask(url, str(number), results))
        time.sleep(0.03)
    for thread in threads:
        thread.join()
    statuses = {query: status for query, status, _, _ in results}
    assert set(statuses.values()) == {200, 429} and statuses["0"] == 200
    refused = next(result for result in results if result[1] == 429)
    assert refused[3]["retry-after"] == "1" and "2 queries are waiting, and 2 may" in refused[2]["detail"]
    ask(url, "fail", results).join()
    assert results[-1][1:3] == (503, {"detail": "the disk is gone"})
    with pytest.raises(RetrievalError, match="status 503.*the disk is gone"):
        RemoteRetriever([url], retries=0).search(["fail"], 1)
    patient = RemoteRetriever([url], batch=1, concurrency=6, retries=8)
    assert [hits[0].document.id for hits in patient.search(list("abcdef"), 1)] == list("abcdef")


def test_sigterm_lets_what_is_under_way_finish(slow: Callable[..., Any]) -> None:
    process, url = slow()
    results: list[Any] = []
    threads = [ask(url, "one", results), ask(url, "two", results)]
    time.sleep(0.15)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert sorted(result[:2] for result in results) == [("one", 200), ("two", 200)]
    assert process.wait(timeout=20) == 0


def test_several_workers_serve_one_address_and_end_together(slow: Callable[..., Any]) -> None:
    process, url = slow(workers=2)
    results: list[Any] = []
    for thread in [ask(url, str(number), results) for number in range(2)]:
        thread.join()
    assert [result[1] for result in results] == [200, 200]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_a_token_is_asked_for_when_there_is_one(slow: Callable[..., Any]) -> None:
    _, url = slow(token="s3cret")
    results: list[Any] = []
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer s3cret"}):
        ask(url, "one", results, **headers).join()
    assert [result[1] for result in results] == [401, 401, 200]
    assert "bearer token" in results[0][2]["detail"]
    assert RemoteRetriever([url], token="s3cret").search(["one"], 1)[0][0].document.id == "one"
    with pytest.raises(RetrievalError, match="401"):
        RemoteRetriever([url], token="other").search(["one"], 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["never.jsonl"], "never.jsonl"),
        (["nowhere"], "nowhere"),
        (["small_world", "--top-k", "200"], "--top-k 200 is more than --max-top-k 100"),
        (["small_world", "--token-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(arguments: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "jade_env.cli", "serve", *arguments, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "program", "extra"),
    [
        ("fastapi", "import jade_env.retrieval.serve", "serve"),
        ("uvicorn", "import jade_env.retrieval.serve", "serve"),
        ("httpx", "from jade_env.retrieval.remote import RemoteRetriever as R; R(['http://x'])", "remote"),
        ("tenacity", "from jade_env.retrieval.remote import RemoteRetriever as R; R(['http://x'])", "remote"),
    ],
)
def test_a_missing_package_names_its_extra(package: str, program: str, extra: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; {program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"{package} is not installed: pip install 'jade-env[{extra}]'" in done.stderr


def test_a_port_that_is_taken_is_one_sentence(served: Served, corpus_file: Path) -> None:
    port = served.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "jade_env.cli", "serve", str(corpus_file), "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and f"cannot listen on 127.0.0.1, port {port}: " in done.stderr
    assert json.dumps(served.health())


def test_scores_are_those_of_the_retriever(served: Served, local: BM25Retriever) -> None:
    text = local.documents[2].text
    hits: list[Hit] = RemoteRetriever([served.url]).search([text], 3)[0]
    assert [hit.score for hit in hits] == [hit.score for hit in local.search([text], 3)[0]]


def test_a_scenario_is_played_alike_over_its_own_retriever_and_over_a_server_of_it(serve: Callable[..., Any]) -> None:
    from jade_env.learning.evaluation import evaluate
    from jade_env.policy import make_policy
    from jade_env.scenario import load_scenario

    small = {"data.passages": 300, "data.dev": 25}
    server = serve("cooperative", *(f"{key}={value}" for key, value in small.items()), "--split", "dev")
    remote = {"kind": "remote", "urls": [server.url], "top_k": 3}
    games = [load_scenario("cooperative", small), load_scenario("cooperative", {**small, "retriever": remote})]
    assert games[0].retriever.top_k == 3
    here, there = (evaluate(make_policy("random", game), game, "dev", seed=2) for game in games)
    assert here == there and any(row.retrievals for row in here)


def test_a_server_of_another_world_is_refused_and_one_of_the_right_world_is_not(serve: Callable[..., Served]) -> None:
    small = {"data.passages": 300, "data.train": 20, "data.dev": 20}
    words = [f"{key}={value}" for key, value in small.items()]
    url = serve("cooperative", "--split", "dev", *words).url
    scenario = load_scenario("cooperative", {**small, "retriever": {"kind": "remote", "urls": [url]}})
    pools = {split: Pool(scenario, 4, split=split) for split in ("train", "dev")}
    said = "<workflow>R,AG</workflow>"
    assert (
        not pools["dev"].step({turn.id: said for turn in pools["dev"].turns()})
        and pools["dev"].turns()[0].view.documents
    )
    with pytest.raises(ConfigError, match="does not search the world of the split 'train'"):
        pools["train"].step({turn.id: said for turn in pools["train"].turns()})


def test_a_packed_corpus_is_named_and_a_file_does_not_hide_a_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small_world").touch()
    assert open_served("small_world", ("data.passages=200",)).search(["who"], 1)
    Path("corpus.jsonl.gz").write_bytes(gzip.compress(b'{"id": "1", "contents": "a"}'))
    with pytest.raises(DataError, match="is packed by gzip"):
        open_served("corpus.jsonl.gz")
