"""Matrix products that do not depend on where in memory their operands lie: what runs that are stopped and resumed rely on.

Intel's MKL, which torch calls on x86-64, takes another path through a product for another alignment, and the last bit may differ.
Its strict mode (conditional numerical reproducibility) does not, and costs nothing measurable with AVX-512. It is read from the
environment when MKL starts, so this has to be imported before torch; a value that is there already is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "MKL_CBWR"


def choose(flags: str) -> str:
    """The mode for a processor with these flags, as Linux lists them; "" where there is no strict one."""
    known = flags.split()
    return "AVX512,STRICT" if "avx512f" in known else "AVX2,STRICT" if "avx2" in known else ""


def _flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")


if VARIABLE not in os.environ and (mode := choose(_flags())):
    os.environ[VARIABLE] = mode
