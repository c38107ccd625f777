"""The remote retriever against a real server that fails in every way: right documents or an error, and counts that add up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jade_env.errors import ConfigError, RetrievalError
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.remote_endpoints import Endpoints
from jade_env.retrieval.remote_stats import LatencyClock
from jade_env.retrieval.types import Document, Hit, Retriever

Start = Callable[..., Any]
BROKEN = {
    "broken_json": "broken JSON",
    "html": "broken JSON .*Welcome to nginx",
    "nested": "nested too deeply|broken JSON",
    "too_few": "1 lists of documents to 2 queries",
    "too_many_documents": "3 documents to query 0, which asked for 2",
    "no_score": "score that is not a number",
    "nan": "score that is not a number",
    "no_text": "contents is not a string",
    "blank": "passage is blank",
    "no_id": '"id" is missing',
    "twice": "a document twice",
    "huge": r"more than 1 MB \(max_response_mb\)",
    "zipped": "compressed",
    "error": "status 500: 'the index is on fire'",
    "hang_up": "disconnected",
    "cut": "closed|peer",
    "drip": "no whole answer within 0.5 s",
    "slow": "no answer within 0.5 s",
}


def right(queries: Sequence[str], top_k: int) -> list[list[Hit]]:
    return [[Hit(Document(f"{q}#{r}", q, f"text {r}"), 1.0 / r) for r in range(1, top_k + 1)] for q in queries]


def adds_up(retriever: RemoteRetriever) -> None:
    stats = retriever.stats
    assert stats.requests == stats.latency.calls + stats.failures == sum(e.requests for e in stats.endpoints)
    assert stats.failures == stats.retries + stats.lost == sum(e.failures for e in stats.endpoints)


def quick(*urls: str, **settings: Any) -> RemoteRetriever:
    return RemoteRetriever(urls, **{"timeout": 0.5, "max_response_mb": 1, **settings})


def test_queries_are_answered_in_their_order_whatever_the_batches(faulty: Start) -> None:
    server = faulty()
    retriever = quick(server.url, batch=3, concurrency=4)
    queries = [f"query {i}" for i in range(20)]
    assert retriever.search(queries, 2) == right(queries, 2)
    assert retriever.search([], 2) == []
    assert isinstance(retriever, Retriever)
    stats = retriever.stats
    assert (stats.queries, stats.requests, stats.failures) == (20, 7, 0)
    assert server.counts["requests"] == 7 and server.counts["most_together"] <= 4
    adds_up(retriever)


def test_connections_are_used_again(faulty: Start) -> None:
    server = faulty()
    retriever = quick(server.url)
    for i in range(10):
        retriever.search([f"query {i}"], 1)
    assert server.counts["connections"] <= 3  # one of ours, and those that ask for the counts


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_that_lasts_is_an_error_that_names_server_and_fault(faulty: Start, fault: str) -> None:
    server = faulty()
    server.plan(forever=fault)
    retriever = quick(server.url, retries=0)
    with pytest.raises(RetrievalError, match=BROKEN[fault]) as raised:
        retriever.search(["a", "b"], 2)
    assert str(raised.value).startswith(server.url)
    assert (retriever.stats.lost, retriever.stats.queries) == (1, 0)
    adds_up(retriever)


def test_faults_that_pass_are_asked_again_until_the_right_answer_comes(faulty: Start) -> None:
    server = faulty()
    retriever = quick(server.url, retries=6)
    server.plan("error", "cut", "too_few", "broken_json")
    assert retriever.search(["a", "b"], 2) == right(["a", "b"], 2)
    assert (retriever.stats.retries, retriever.stats.failures, retriever.stats.lost) == (4, 4, 0)
    adds_up(retriever)


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks_within_a_bound(
    faulty: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = faulty()
    retriever = quick(server.url, retries=1)
    server.plan("busy")
    began = time.monotonic()
    assert retriever.search(["a"], 1) == right(["a"], 1)
    assert time.monotonic() - began >= 0.4
    monkeypatch.setattr("jade_env.retrieval.remote.LONGEST_PAUSE", 0.5)
    server.plan("very_busy")
    began = time.monotonic()
    assert retriever.search(["a"], 1) == right(["a"], 1)
    assert time.monotonic() - began < 5


def test_a_refusal_that_will_not_pass_is_not_repeated(faulty: Start) -> None:
    server = faulty()
    server.plan(forever="forbidden")
    retriever = quick(server.url, retries=5)
    with pytest.raises(RetrievalError, match="status 401: 'who are you\\?'$"):
        retriever.search(["a"], 1)
    assert retriever.stats.requests == 1
    adds_up(retriever)


def test_a_server_killed_in_the_middle_of_its_answer_gives_no_documents(faulty: Start) -> None:
    server, other = faulty(), faulty()
    server.plan("die")
    alone = quick(server.url, retries=1)
    with pytest.raises(RetrievalError, match="tried 2 times"):
        alone.search(["a"], 1)
    adds_up(alone)
    both = quick(server.url, other.url, retries=1)
    assert [both.search([q], 1) for q in "abcd"] == [right([q], 1) for q in "abcd"]
    adds_up(both)


def test_one_of_two_servers_down_for_a_while_under_load_loses_no_question(faulty: Start) -> None:
    first, second = faulty(), faulty()
    retriever = quick(first.url, second.url, concurrency=4, batch=4, retries=4, timeout=2.0)
    wrong: list[str] = []
    asked = [0] * 4
    over = threading.Event()

    def load(thread: int) -> None:
        while not over.is_set():
            queries = [f"{thread}-{asked[thread]}-{i}" for i in range(6)]
            try:
                if retriever.search(queries, 2) != right(queries, 2):
                    wrong.append(f"wrong documents for {queries[0]}")
            except RetrievalError as error:
                wrong.append(str(error))
            asked[thread] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    first.kill()
    time.sleep(3.0)
    down = retriever.stats
    first.start()
    deadline = time.monotonic() + 8
    while retriever.stats.endpoints[0].requests - retriever.stats.endpoints[0].failures <= (
        down.endpoints[0].requests - down.endpoints[0].failures + 5
    ):
        assert time.monotonic() < deadline, "the server that came back is not asked again"
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert retriever.stats.queries == 6 * sum(asked)
    assert retriever.stats.lost == 0 and down.endpoints[0].failures > 0
    assert down.endpoints[0].failures < 40  # it rests, and is not asked at every turn
    adds_up(retriever)


def test_servers_of_two_indexes_are_not_mixed(faulty: Start) -> None:
    first, second = faulty("index one"), faulty("index two")
    retriever = quick(first.url, second.url, retries=1)
    for query in "abcd":
        assert retriever.search([query], 1) == right([query], 1)
    assert second.counts["requests"] >= 1 and retriever.stats.endpoints[1].failures >= 1
    first.kill()
    with pytest.raises(RetrievalError, match="'index two', but answers began with 'index one'|refused"):
        retriever.search(["e"], 1)
    adds_up(retriever)


def test_text_that_cannot_be_sent_is_mended_and_long_queries_are_sent(faulty: Start) -> None:
    retriever = quick(faulty().url)
    strange = ["", "x" * 100_000, "\x00\n\"'", "\ud800 half a pair"]
    found = [hits[0].document.id for hits in retriever.search(strange, 1)]
    assert found == [f"{query}#1" for query in (*strange[:3], "? half a pair")]


def test_nothing_listens_is_an_error_within_the_retries() -> None:
    retriever = quick("http://127.0.0.1:9", retries=1)
    with pytest.raises(RetrievalError, match=r"^http://127.0.0.1:9: .*\(tried 2 times\)"):
        retriever.search(["a"], 1)
    adds_up(retriever)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"urls": []}, "no url is given"),
        ({"urls": ["ftp://x"]}, "not a base URL"),
        ({"urls": ["http://me:secret@x"]}, "holds a password"),
        ({"urls": ["http://x"], "protocol": "grpc"}, "not one of search_r1, jade"),
        ({"urls": ["http://x"], "timeout": 0}, "must be above 0"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        RemoteRetriever(arguments.pop("urls"), **arguments)
    assert "secret" not in str(raised.value)


def test_misuse_is_refused_and_the_token_is_told_nobody(faulty: Start) -> None:
    retriever = quick(faulty().url, token="s3cret")
    with pytest.raises(ConfigError, match="give a list"):
        retriever.search("a", 1)
    with pytest.raises(ConfigError, match="top_k is 0"):
        retriever.search(["a"], 0)
    assert "s3cret" not in retriever.identity + repr(retriever) + repr(retriever.stats)


def test_percentiles_are_right_to_a_fifth() -> None:
    clock = LatencyClock()
    for i in range(1, 101):
        clock.add(i / 1000)
    for share in (0.5, 0.95, 0.99):
        found = clock.latency.percentile(share)
        assert found is not None and share / 10 <= found <= share / 10 * 1.19
    assert LatencyClock().latency.percentile(0.5) is None
    earlier = clock.latency
    clock.add(1e9)
    assert clock.latency.since(earlier).calls == 1


def test_a_server_that_failed_rests_longer_each_time_and_is_back_in_turn_once_it_works() -> None:
    now = [0.0]
    endpoints = Endpoints(["a", "b"], clock=lambda: now[0])
    assert [endpoints.take() for _ in range(4)] == ["a", "b", "a", "b"]
    endpoints.failed("a")
    assert [endpoints.take() for _ in range(2)] == ["b", "b"]
    now[0] = 0.6
    assert "a" in [endpoints.take() for _ in range(2)]
    endpoints.failed("a")
    now[0] = 1.2
    assert [endpoints.take() for _ in range(2)] == ["b", "b"]
    endpoints.failed("b")
    assert not endpoints.any_awake and endpoints.take() == "a"
    endpoints.worked("a")
    assert endpoints.any_awake and [endpoints.take() for _ in range(2)] == ["a", "a"]
