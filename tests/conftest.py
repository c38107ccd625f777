"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real questions beside the project; tests that need it skip, saying so, where it is absent."""
    if not (SHARED / "hotpotqa" / "corpus.jsonl").exists():
        pytest.skip("needs the real questions in ../shared/data, which are not here")
    return SHARED
