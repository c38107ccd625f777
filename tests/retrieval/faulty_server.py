"""A retrieval server that fails as it is told: `python faulty_server.py PORT_FILE [--jade-index NAME]`, a real process on loopback.

Every document it sends names the query it answers, so that a wrong one is seen. The faults to come are a list that the first
requests use up, set by `POST /plan {"faults": [...], "forever": str|null}`; `GET /counts` says what was asked.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PLAN: dict[str, Any] = {"faults": [], "forever": None, "delay": 0.0}
COUNTS = {"requests": 0, "queries": 0, "connections": 0, "together": 0, "most_together": 0}
LOCK = threading.Lock()


def right_answer(queries: list[str], top_k: int) -> dict[str, Any]:
    return {
        "result": [
            [
                {"document": {"id": f"{query}#{rank}", "contents": f'"{query}"\ntext {rank}'}, "score": 1.0 / rank}
                for rank in range(1, top_k + 1)
            ]
            for query in queries
        ]
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index_name = ""

    def setup(self) -> None:
        super().setup()
        with LOCK:
            COUNTS["connections"] += 1

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(json.dumps(COUNTS).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/plan":
            with LOCK:
                PLAN.update(asked)
            self.send(b"{}")
            return
        with LOCK:
            COUNTS["requests"] += 1
            COUNTS["together"] += 1
            COUNTS["most_together"] = max(COUNTS["most_together"], COUNTS["together"])
            fault = PLAN["faults"].pop(0) if PLAN["faults"] else PLAN["forever"]
        try:
            if PLAN["delay"]:  # some answers overtake others
                time.sleep(PLAN["delay"] * random.uniform(0.2, 1.0))
            getattr(self, f"fault_{fault or 'none'}")(asked)
        except (BrokenPipeError, ConnectionResetError):  # the client has given up
            self.close_connection = True
        finally:
            with LOCK:
                COUNTS["together"] -= 1

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        if self.index_name:
            self.send_header("jade-index", self.index_name)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        return right_answer(asked["queries"], asked["topk"])

    def fault_none(self, asked: dict[str, Any]) -> None:
        self.send(json.dumps(self.answer(asked)).encode())
        with LOCK:
            COUNTS["queries"] += len(asked["queries"])

    def fault_die(self, asked: dict[str, Any]) -> None:
        """The process is gone in the middle of its answer."""
        self.send_response(200)
        self.send_header("content-length", "100000")
        self.end_headers()
        self.wfile.write(b'{"result": [[')
        self.wfile.flush()
        os._exit(9)

    def fault_hang_up(self, asked: dict[str, Any]) -> None:
        self.close_connection = True

    def fault_cut(self, asked: dict[str, Any]) -> None:
        body = json.dumps(self.answer(asked)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def fault_slow(self, asked: dict[str, Any]) -> None:
        time.sleep(1.5)
        self.fault_none(asked)

    def fault_drip(self, asked: dict[str, Any]) -> None:
        """A byte now and then, so that no single silence is long."""
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def fault_error(self, asked: dict[str, Any]) -> None:
        self.send(b"the index is on fire", 500)

    def fault_busy(self, asked: dict[str, Any]) -> None:
        self.send(b"come back", 429, Retry_After="0.4")

    def fault_very_busy(self, asked: dict[str, Any]) -> None:
        self.send(b"come back tomorrow", 429, Retry_After="86400")

    def fault_forbidden(self, asked: dict[str, Any]) -> None:
        self.send(b"who are you?", 401)

    def fault_broken_json(self, asked: dict[str, Any]) -> None:
        self.send(b'{"result": [[{"document": {"id": "7", "cont')

    def fault_html(self, asked: dict[str, Any]) -> None:
        self.send(b"<html>Welcome to nginx</html>")

    def fault_nested(self, asked: dict[str, Any]) -> None:
        self.send(b"[" * 200_000)

    def fault_too_few(self, asked: dict[str, Any]) -> None:
        self.send(json.dumps({"result": self.answer(asked)["result"][1:]}).encode())

    def fault_too_many_documents(self, asked: dict[str, Any]) -> None:
        self.send(json.dumps(right_answer(asked["queries"], asked["topk"] + 1)).encode())

    def fault_no_score(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit.pop("score"))

    def fault_nan(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit.update(score=float("nan")))

    def fault_no_text(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit["document"].update(contents=None))

    def fault_blank(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit["document"].update(contents=" "))

    def fault_no_id(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit["document"].pop("id"))

    def fault_twice(self, asked: dict[str, Any]) -> None:
        self.damaged(asked, lambda hit: hit["document"].update(id="same"))

    def fault_huge(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        for _ in range(400):
            self.wfile.write(b" " * 100_000)

    def fault_zipped(self, asked: dict[str, Any]) -> None:
        import gzip

        self.send(gzip.compress(json.dumps(self.answer(asked)).encode()), Content_Encoding="gzip")

    def damaged(self, asked: dict[str, Any], damage: Any) -> None:
        answer = self.answer(asked)
        for hits in answer["result"]:
            for hit in hits:
                damage(hit)
        self.send(json.dumps(answer).encode())


def main() -> None:
    place, index_name, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    Handler.index_name = index_name
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    draft = place.with_suffix(".draft")
    draft.write_text(str(server.server_port), encoding="utf-8")
    draft.rename(place)
    server.serve_forever()


if __name__ == "__main__":
    main()
