"""Clients of a retrieval server, in a process of their own: `python benchmarks/retrieval_load.py URL QUERIES.json --clients 32`.

Each client is a thread with one connection that asks one query at a time. With `--rate R` requests begin R times a second in all,
and latency counts from when each was due, so that a server that falls behind cannot hide it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("queries", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--top-k", type=int, default=5)
    args = parser.parse_args()
    host, port = urlsplit(args.url).hostname, urlsplit(args.url).port
    bodies = [
        json.dumps({"queries": [query], "topk": args.top_k, "return_scores": True}).encode()
        for query in json.loads(args.queries.read_text(encoding="utf-8"))
    ]
    latencies: list[list[float]] = [[] for _ in range(args.clients)]
    errors, answered = [0] * args.clients, [0] * args.clients
    begin = time.perf_counter() + 0.5
    warm, end = begin + 1.0, begin + 1.0 + args.seconds
    cpu = [0.0, 0.0]

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(str(host), port, timeout=60)
        place, due = number, begin + (number / args.rate if args.rate else 0.0)
        while True:
            now = time.perf_counter()
            if args.rate and now < due:
                time.sleep(due - now)
            started = due if args.rate else time.perf_counter()
            if started >= end:
                return
            connection.request("POST", "/retrieve", bodies[place % len(bodies)])
            answer = connection.getresponse()
            found = answer.read()
            if answer.status != 200 or not found.startswith(b'{"result"'):
                errors[number] += 1
            elif started >= warm:
                latencies[number].append(time.perf_counter() - started)
            answered[number] += 1
            place += args.clients
            due += args.clients / args.rate if args.rate else 0.0

    threads = [threading.Thread(target=client, args=(number,)) for number in range(args.clients)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, warm - time.perf_counter()))
    cpu[0] = time.process_time()
    time.sleep(max(0.0, end - time.perf_counter()))
    cpu[1] = time.process_time()
    for thread in threads:
        thread.join()
    times = sorted(value for values in latencies for value in values)
    print(
        json.dumps(
            {
                "queries_a_second": len(times) / args.seconds,
                "client_cpu": (cpu[1] - cpu[0]) / args.seconds,
                "answered": sum(answered),
                "errors": sum(errors),
                **{f"p{p}": 1000 * times[min(len(times) - 1, len(times) * p // 100)] for p in (50, 95, 99) if times},
            }
        )
    )


if __name__ == "__main__":
    main()
