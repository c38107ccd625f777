"""Matrix products must not depend on where their operands lie: the strict mode is chosen before torch starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jade_env.arithmetic import VARIABLE, choose


@pytest.mark.parametrize(
    ("flags", "mode"),
    [("fpu avx2 avx512f fma", "AVX512,STRICT"), ("fpu avx avx2", "AVX2,STRICT"), ("fpu sse4_2", ""), ("", "")],
)
def test_the_strict_mode_fits_the_processor(flags: str, mode: str) -> None:
    assert choose(flags) == mode


@pytest.mark.parametrize("given", [None, "COMPATIBLE"])
def test_the_mode_is_set_before_torch_and_a_given_one_is_left_alone(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {VARIABLE: given} if given else {}
    code = (
        "import os, sys; import jade_env.arithmetic; assert 'torch' not in sys.modules; "
        f"print(os.environ.get('{VARIABLE}', ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = done.stdout.strip()
    assert found == given if given else found in ("AVX512,STRICT", "AVX2,STRICT", "")
