"""An agent's card may name strings that end what a language model writes for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")

import jade_env
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.tiny import make_tiny


def test_an_output_ends_with_the_stop_string_of_its_card(tmp_path: Path) -> None:
    from jade_env.agent import load_agent

    card = load_agent("answer_generator").model_dump(mode="json")
    place = tmp_path / "short.yaml"
    place.write_text(yaml.safe_dump(card | {"name": "short", "stop": ["e"], "max_tokens": 60}))
    overrides = {"data.passages": 200, "data.train": 8, "team": [str(place)], "workflows": [["AG"]]}
    pool = jade_env.make_pool("cooperative", 8, seed=0, mode="text", overrides=overrides)
    policy = LanguageModelPolicy(make_tiny(0, width=32, layers=1, inner=32), Manner(prompt="brief"))
    requests = policy.requests(pool.turns())
    assert {request.stop for request in requests} == {("e",)}
    samples = policy.generator.run(requests)
    decode = policy.backbone.tokenizer.decode
    assert any("e" in sample.text and sample.stopped for sample in samples)
    assert all("e" not in decode(sample.output[:-1]) for sample in samples), (
        "no token follows the one that completes it"
    )
