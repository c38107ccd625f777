"""A chat server that speaks OpenAI's protocol and fails as told: `python chat_server.py PORT_FILE`, a real process on loopback.

It plays every role by its prompt: what it writes depends on the messages and the seed alone. The faults to come are a list that
the first requests use up, set by `POST /plan {"faults": [...], "forever": str|null, "key": str|null}`; `GET /log` tells what
was asked.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PLAN: dict[str, Any] = {"faults": [], "forever": None, "key": None, "shuffle": False}
LOG: dict[str, Any] = {"requests": [], "connections": 0, "together": 0, "most_together": 0}
LOCK = threading.Lock()


def written(messages: list[dict[str, str]], seed: int) -> str:
    """What the model writes: its role is read from the form that the system message asks for."""
    system, user = messages[0]["content"], messages[-1]["content"]
    form = re.findall(r"<(workflow|query|q1|id|answer|verdict)>", system)[-1]
    words = re.findall(r"[A-Z]\w+", user)[-8:] or ["nothing"]
    if form == "workflow":
        return ("<workflow>R,AG</workflow>", "<workflow>R,DS,AG</workflow>")[seed % 2]
    if form == "id":
        return "<id>Document0</id>"
    return f"<{form}>{words[seed % len(words)]}</{form}>"


def completion(asked: dict[str, Any], text: str | None) -> dict[str, Any]:
    prompt = sum(len(message["content"].split()) for message in asked["messages"])
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": asked["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": len((text or "").split())},
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        with LOCK:
            LOG["connections"] += 1

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(LOG)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/plan":
            with LOCK:
                PLAN.update(asked)
                LOG.update(requests=[], most_together=0, connections=0)
            self.send({})
            return
        with LOCK:
            number = len(LOG["requests"])
            LOG["requests"].append({"path": self.path, "body": asked, "key": self.headers["authorization"]})
            LOG["together"] += 1
            LOG["most_together"] = max(LOG["most_together"], LOG["together"])
            fault = PLAN["faults"].pop(0) if PLAN["faults"] else PLAN["forever"]
        if PLAN["shuffle"]:  # the later it is asked, the sooner it answers
            time.sleep(max(0.0, 0.2 - 0.02 * number))
        try:
            if PLAN["key"] and self.headers["authorization"] != f"Bearer {PLAN['key']}":
                self.send({"error": {"message": f"wrong key in {self.headers['authorization']}"}}, 401)
            else:
                getattr(self, f"fault_{fault or 'none'}")(asked)
        except (BrokenPipeError, ConnectionResetError):  # the client has given up
            self.close_connection = True
        finally:
            with LOCK:
                LOG["together"] -= 1

    def send(self, tree: Any, status: int = 200, **headers: str) -> None:
        body = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fault_none(self, asked: dict[str, Any]) -> None:
        self.send(completion(asked, written(asked["messages"], asked["seed"])))

    def fault_null(self, asked: dict[str, Any]) -> None:
        tree = completion(asked, None)
        tree["choices"][0]["finish_reason"] = "length"
        del tree["usage"]
        self.send(tree)

    def fault_surrogate(self, asked: dict[str, Any]) -> None:
        self.send(completion(asked, "<answer>\ud800</answer>"))

    def fault_thinks(self, asked: dict[str, Any]) -> None:
        self.send(completion(asked, "<think>\nan <answer>no</answer>?\n</think>\n\n<answer>yes <think></answer>"))

    def fault_busy(self, asked: dict[str, Any]) -> None:
        self.send({"error": "slow down"}, 429, Retry_After="1")

    def fault_very_busy(self, asked: dict[str, Any]) -> None:
        self.send({"error": "come back tomorrow"}, 429, Retry_After="86400")

    def fault_busy_until(self, asked: dict[str, Any]) -> None:
        self.send({}, 429, Retry_After=time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2)))

    def fault_error(self, asked: dict[str, Any]) -> None:
        self.send(b"out of memory", 500)

    def fault_refused(self, asked: dict[str, Any]) -> None:
        self.send({"error": {"message": f"no model {asked['model']}, {self.headers['authorization']}"}}, 404)

    def fault_moved(self, asked: dict[str, Any]) -> None:
        self.send(b"", 307, Location="http://127.0.0.1:9/v1/chat/completions")

    def fault_broken_json(self, asked: dict[str, Any]) -> None:
        self.send(json.dumps(completion(asked, "<answer>x</answer>")).encode()[:-20])

    def fault_no_choices(self, asked: dict[str, Any]) -> None:
        self.send({"error": {"message": "provider is down"}})

    def fault_parts(self, asked: dict[str, Any]) -> None:
        tree = completion(asked, "")
        tree["choices"][0]["message"]["content"] = [{"type": "text", "text": "x"}]
        self.send(tree)

    def fault_nested(self, asked: dict[str, Any]) -> None:
        self.send(b"[" * 200_000)

    def fault_hang_up(self, asked: dict[str, Any]) -> None:
        self.close_connection = True

    def fault_cut(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def fault_slow(self, asked: dict[str, Any]) -> None:
        time.sleep(10)
        self.fault_none(asked)

    def fault_drip(self, asked: dict[str, Any]) -> None:
        """A byte now and then, so that no single silence is long."""
        self.send_response(200)
        self.send_header("content-length", "30")
        self.end_headers()
        for _ in range(30):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def fault_huge(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        for _ in range(100):
            self.wfile.write(b" " * 100_000)

    def fault_zipped(self, asked: dict[str, Any]) -> None:
        import gzip

        self.send(gzip.compress(json.dumps(completion(asked, "x")).encode()), Content_Encoding="gzip")


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    place = Path(sys.argv[1])
    place.with_suffix(".new").write_text(str(server.server_address[1]))
    place.with_suffix(".new").rename(place)
    server.serve_forever()


if __name__ == "__main__":
    main()
