"""Imported before anything that needs a language model, so that a missing package is one sentence that names the extra."""

from __future__ import annotations

import jade_env.arithmetic  # noqa: F401 - before torch

# isort: split

from importlib.util import find_spec

from jade_env.errors import MissingExtra

for _package in ("torch", "transformers", "peft", "safetensors"):
    if find_spec(_package) is None:
        raise MissingExtra(_package, "train")
