"""A build that is killed, twenty times at random points, ends with the very files of one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs the extra dense")
pytest.importorskip("sklearn", reason="needs the extra dense")

SCRIPT = Path(__file__).with_name("index_kills.py")


@pytest.mark.parametrize(("kind", "kills"), [("dense", 20), ("bm25", 5)])
def test_a_build_killed_at_random_points_resumes_to_the_same_files(tmp_path: Path, kind: str, kills: int) -> None:
    lines = [
        {
            "id": f"p{i}",
            "contents": f'"Town {i}"\nTown {i} has a harbour {i % 9}, a mill {i % 7} and a castle on the Amber.',
        }
        for i in range(600)
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(corpus), str(tmp_path), kind, str(kills)]
    run = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    assert counted["killed"] == kills
    assert counted["finished"] >= 1
    assert counted["kept"] > 0  # some kills came in the middle, with parts to go on from
