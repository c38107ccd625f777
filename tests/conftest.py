"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real questions beside the project; tests that need it skip, saying so, where it is absent."""
    if not (SHARED / "hotpotqa" / "corpus.jsonl").exists():
        pytest.skip("needs the real questions in ../shared/data, which are not here")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A suite started in the background inherits an ignored SIGINT, and so would the runs that its tests interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
