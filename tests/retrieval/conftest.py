"""Real servers for tests of what asks them: one that fails as it is told, and ours, each a process on loopback."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("faulty_server.py")


class Faulty:
    """A process of `faulty_server.py`."""

    def __init__(self, place: Path, index: str = "", port: int = 0) -> None:
        self._arguments = [sys.executable, str(SCRIPT), str(place), index]
        self._place, self.port = place, port
        self.start()

    def start(self) -> None:
        """Begin, or begin again on the same port."""
        self._place.unlink(missing_ok=True)
        self.process = subprocess.Popen([*self._arguments, str(self.port)])
        deadline = time.monotonic() + 20
        while not self._place.exists():
            assert time.monotonic() < deadline and self.process.poll() is None, "the faulty server does not start"
            time.sleep(0.01)
        self.port = int(self._place.read_text(encoding="utf-8"))
        self.url = f"http://127.0.0.1:{self.port}"

    def plan(self, *faults: str, forever: str | None = None, delay: float = 0.0) -> None:
        """Say what the next requests, and then all further ones, come to."""
        body = json.dumps({"faults": list(faults), "forever": forever, "delay": delay}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/plan", body), timeout=10).close()

    @property
    def counts(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/counts", timeout=10) as answer:
            found: dict[str, int] = json.load(answer)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Callable[..., Faulty]]:
    """Starts faulty servers, and ends them."""
    servers: list[Faulty] = []
    numbers = itertools.count()

    def start(index: str = "") -> Faulty:
        servers.append(Faulty(tmp_path / f"port-{next(numbers)}", index))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


class Served:
    """A process of `jade serve`."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        import os

        self.process = subprocess.Popen(
            [sys.executable, "-m", "jade_env.cli", "serve", *arguments, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+:\d+", self.line)
        assert found, self.line + self.process.stderr.read()
        self.url = found.group()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, answer and headers of a request, whose body is bytes or what JSON can say."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer), dict(answer.headers)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused), dict(refused.headers)

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def end(self) -> int:
        """Stop it as a user would, and return its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=60)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus of the embedded world, on disk."""
    from jade_env.questions.datasets import write_corpus
    from jade_env.questions.world import WorldSpec, make_world

    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    write_corpus(path, make_world(WorldSpec(seed=5, passages=300), "train", 20).documents)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts `jade serve` with arguments, and ends it."""
    servers: list[Served] = []

    def start(*arguments: str) -> Served:
        servers.append(Served(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        assert server.end() == 0


@pytest.fixture(scope="session")
def served(corpus_file: Path) -> Iterator[Served]:
    """`jade serve` over that corpus."""
    server = Served(str(corpus_file), "--max-top-k", "20", "--max-body-mb", "0.1")
    yield server
    server.end()
