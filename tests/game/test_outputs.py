"""Parsing is total, equals the released code, and a formatted value reads back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jade_env.errors import ConfigError
from jade_env.game import outputs
from jade_env.game.workflow import PAPER_WORKFLOWS, codes

CONTEXT = {"question": "Where was Ada born?", "documents": 3, "workflows": PAPER_WORKFLOWS}
TAGGED = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["<q1>", "</q1>", "<Q2>", "</q2>", "<id>", "</id>", "Document0", ",", "<query>", "</query>"]),
        st.sampled_from(["<answer>", "</answer>", "<workflow>", "</workflow>", "R", "AG", " ", "\n", "<q99999999999>"]),
    ),
    max_size=12,
).map("".join)


def test_every_recorded_output_of_the_released_code_is_read_the_same(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "parity" / "outputs.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) > 2000
    for row in rows:
        context = {key: row[key] for key in ("question", "documents") if key in row}
        output = outputs.parse(row["kind"], row["text"], **context)
        assert output.valid == row["valid"], row
        if row["kind"] == "workflow":
            assert not output.valid or output.value == codes(row["value"]), row
        else:
            assert (list(output.value) if isinstance(output.value, tuple) else output.value) == row["value"], row


@pytest.mark.parametrize(
    ("kind", "text", "valid", "value"),
    [
        ("workflow", " <WORKFLOW>QR, R,,AG</workflow>\n", True, ("QR", "R", "AG")),
        ("workflow", "<workflow>DS,AG</workflow>", False, ("DS", "AG")),
        ("workflow", "R,AG", False, ()),
        ("subquestions_serial", "<q1>a</q1>\n<q2>b #1</q2>", True, ("a", "b #1")),
        ("subquestions_serial", "<q1>a</q1><q3>b</q3>", False, ("Where was Ada born?",)),
        ("subquestions_parallel", "<q1>a</q1><q2>a</q2>", False, ("a", "a")),
        ("subquestions_parallel", "<q1>a</q1> thanks", False, ("Where was Ada born?",)),
        ("query", "<query>Ada birthplace</query>", True, "Ada birthplace"),
        ("query", "<query>Where was Ada born?</query>", False, "Where was Ada born?"),
        ("query", "<query>" + "w " * 101 + "</query>", False, ("w " * 101).strip()),
        ("document_ids", "<id>Document2,Document0</id>", True, (0, 2)),
        ("document_ids", "<id></id>", True, ()),
        ("document_ids", "<id>Document0, Document2</id>", False, (0, 1, 2)),
        ("document_ids", "<id>Document1,Document7</id>", False, (1,)),
        ("document_ids", "<id>Document1,Document1</id>", False, (1,)),
        ("answer", "<answer> Paris </answer>", True, "Paris"),
        ("answer", "Paris", False, "Paris"),
        ("answer", "", False, ""),
    ],
)
def test_grammar_by_example(kind: str, text: str, valid: bool, value: object) -> None:
    output = outputs.parse(kind, text, **CONTEXT)
    assert (output.valid, output.value) == (valid, value)


def test_eight_subquestions_are_one_too_many() -> None:
    text = "".join(f"<q{i}>part {i}</q{i}>" for i in range(1, 9))
    output = outputs.parse("subquestions_parallel", text, **CONTEXT)
    assert not output.valid
    assert len(output.value) == 8


@given(kind=st.sampled_from(sorted(outputs.KINDS)), text=st.one_of(st.text(), TAGGED))
def test_any_string_gives_an_output(kind: str, text: str) -> None:
    output = outputs.parse(kind, text, **CONTEXT)
    assert isinstance(output.valid, bool)
    assert isinstance(output.value, str | tuple)
    if kind == "document_ids":
        assert all(0 <= i < 3 for i in output.value)


@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_characters="<>"), min_size=1).map(str.strip).filter(bool),
        min_size=1,
        max_size=7,
        unique=True,
    )
)
def test_subquestions_read_back_as_they_were_formatted(questions: list[str]) -> None:
    text = outputs.KINDS["subquestions_serial"].format(tuple(questions))
    output = outputs.parse("subquestions_serial", text, question="another question entirely")
    assert output.value == tuple(questions)
    assert output.valid == ("another question entirely" not in questions)


def test_hostile_text_is_read_in_linear_time() -> None:
    start = time.process_time()
    for text in ("<q1>" * 100_000 + "</q1>", "<q1>" * 50_000, "<id>" + "Document1," * 50_000 + "</id>", "<q" * 200_000):
        for kind in outputs.KINDS:
            outputs.parse(kind, text, **CONTEXT)
    assert time.process_time() - start < 10


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no output kind 'haiku'"):
        outputs.parse("haiku", "")
