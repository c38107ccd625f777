"""`constraints.txt` pins what an install of `.[dev]` brings, and nothing else."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
OF_TORCH = ("cuda-", "nvidia-", "triton")
"""What a torch for GPUs brings, in versions that it chooses itself."""
PINS = {
    re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
}


def installed(everywhere: bool) -> set[str]:
    """What the extra `dev` needs, and what that needs in turn, on this machine or on any at all.

    Of what is not installed here, the own needs are not known.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    seen: set[tuple[str, str]] = set()
    open_ = [(Requirement(needed), "") for needed in (*project["dependencies"], *extras["dev"])]
    while open_:
        needed, extra = open_.pop()
        marker = needed.marker
        if marker and not marker.evaluate({"extra": extra}) and not (everywhere and "extra" not in str(marker)):
            continue
        name = re.sub(r"[-_.]+", "-", needed.name).lower()
        for wanted in ("", *needed.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                further = extras.get(wanted, ()) if name == "jade-env" else requires(name) or ()
            except PackageNotFoundError:
                further = ()
            open_ += [(Requirement(each), wanted) for each in further]
    return {name for name, _ in seen} - {"jade-env"}


@pytest.mark.skipif(sys.platform != "linux", reason="the versions are those of CI, which is Linux")
def test_all_that_an_install_brings_is_pinned() -> None:
    missing = installed(everywhere=False) - PINS
    assert {name for name in missing if not name.startswith(OF_TORCH)} == set()


def test_nothing_is_pinned_that_no_install_brings() -> None:
    assert PINS - installed(everywhere=True) == set()
