"""Rows as tensors: what stands where, who reads what, and how rows are cut into batches. No model."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jade_env.learning.batches import Columns, Row, Sharing, _cuts, collate, microbatches, minibatches, spared
from jade_env.policy.sampling import Sample

PROMPTS = ((11, 12, 13), (21,), (31, 32, 33, 34, 35, 36, 37, 38), (41, 42))


def row(prompt: int, length: int, adapter: str | None = None, temperature: float = 1.0) -> Row:
    sample = Sample(
        PROMPTS[prompt], tuple(range(100, 100 + length)), np.zeros(length, np.float32), temperature=temperature
    )
    return Row(sample, "agent", np.zeros(length, np.float32), adapter=adapter)


rows_of_a_step = st.lists(
    st.builds(row, st.integers(0, 3), st.integers(1, 6), st.sampled_from(("a", "b"))), min_size=1, max_size=12
)


sharings = st.builds(Sharing, st.integers(1, 60), st.integers(0, 20))


@given(rows_of_a_step, st.integers(1, 60), st.none() | sharings)
def test_every_row_is_read_whole_and_sees_its_prompt_and_itself_only(
    rows: list[Row], budget: int, sharing: Sharing | None
) -> None:
    columns, seen = Columns.of(rows), list[int]()
    weight_R = np.arange(len(rows), dtype=np.float32)
    for rows_B, unit_B in microbatches(columns, np.arange(len(rows)), budget, sharing):
        micro = collate(columns, rows_B, unit_B, weight_R, 0, "cpu")
        ids, branches = micro.input_ids.numpy(), micro.branches
        units = len(ids)
        assert ids.size <= budget or units == 1
        assert sharing is not None or units == len(rows_B)
        behind = [sum(len(rows[i].sample.output) > 1 for i in rows_B[unit_B == unit]) for unit in range(units)]
        assert (branches is None) == (max(behind) < 2)
        assert micro.real == (ids > 0).sum() and micro.padded == ids.size
        assert {rows[i].adapter for i in rows_B} == {micro.adapter}
        output, m = 0, 0
        for b, (i, unit) in enumerate(zip(rows_B, unit_B, strict=True)):
            sample = rows[i].sample
            own = [*sample.prompt, *sample.output[:-1]]
            line, places = ids[unit], np.arange(len(own))
            if branches is not None:
                part = branches.part[unit].numpy()
                first = len(sample.prompt) + int(
                    sum(len(rows[j].sample.output) - 1 for j in rows_B[:b][unit_B[:b] == unit])
                )
                places = np.append(places[: len(sample.prompt)], np.arange(first, first + len(sample.output) - 1))
                assert (part[places[: len(sample.prompt)]] == 0).all()
                assert set(part[places[len(sample.prompt) :]]) <= {b + 1}
                assert branches.position_ids[unit][places].tolist() == list(range(len(own)))
            assert line[places].tolist() == own
            at = unit * ids.shape[1] + places[len(sample.prompt) - 1 :]
            assert micro.hidden_M[m : m + len(sample.output)].tolist() == at.tolist()
            assert micro.token_M[m : m + len(sample.output)].tolist() == list(sample.output)
            assert int(micro.first_B[b]) == m and micro.weight_M[m] == i
            m, output = m + len(sample.output), output + len(own)
        assert micro.rows == output and len(micro.hidden_M) == m
        seen += rows_B.tolist()
    assert sorted(seen) == list(range(len(rows)))


@given(rows_of_a_step, sharings)
def test_as_much_stands_behind_a_prompt_as_there_is_room_and_what_costs_nothing(
    rows: list[Row], sharing: Sharing
) -> None:
    columns, read = Columns.of(rows), 0
    for rows_B, unit_B in microbatches(columns, np.arange(len(rows)), 10**6, sharing):
        for unit in range(int(unit_B.max()) + 1):
            mine = [rows[i].sample for i in rows_B[unit_B == unit]]
            prompt, rests = mine[0].prompt, sorted((len(s.output) - 1 for s in mine), reverse=True)
            assert all(sample.prompt == prompt for sample in mine)
            assert sum(rests) <= max(len(prompt), sharing.behind) or not sum(rests[1:])
            assert len(prompt) + sum(rests) <= sharing.widest or not sum(rests[1:])
            read += len(prompt) + sum(rests)
    assert spared(columns, sharing) == pytest.approx(1 - read / columns.length_R.sum())


def test_outputs_of_one_token_share_a_prompt_of_any_length() -> None:
    columns = Columns.of([row(2, 1), row(2, 1), row(2, 6), row(2, 1)])
    ((rows_B, unit_B),) = microbatches(columns, np.arange(4), 10**6, Sharing(4, 4))
    assert set(unit_B) == {0} and spared(columns, Sharing(4, 4)) == pytest.approx(1 - 13 / 37)
    assert collate(columns, rows_B, unit_B, columns.weight_R, 0, "cpu").branches is None


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(10, 120))
def test_microbatches_are_cut_where_the_fewest_tokens_are_padding(widths: list[int], budget: int) -> None:
    def cost(edges: tuple[int, ...]) -> float:
        total = 0.0
        for i, j in pairwise(edges):
            tokens = (j - i) * max(widths[i:j])
            total += (tokens if tokens <= budget or j - i == 1 else math.inf) + budget / 10
        return total

    widths.sort(reverse=True)
    n = len(widths)
    inner = (subset for k in range(n) for subset in combinations(range(1, n), k))
    found = _cuts(np.array(widths), budget)
    assert cost(tuple(found.tolist())) == pytest.approx(min(cost((0, *subset, n)) for subset in inner))


@given(rows_of_a_step, st.integers(1, 4))
def test_rows_of_a_prompt_keep_to_one_minibatch_and_minibatches_are_about_equal(rows: list[Row], count: int) -> None:
    columns = Columns.of(rows)
    parts = minibatches(columns, count, np.random.default_rng(0), True)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    assert sum(len(set(columns.same_R[part].tolist())) for part in parts) == len(set(columns.same_R.tolist()))
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * int(np.bincount(columns.same_R).max())


def test_a_microbatch_divides_no_logits_where_every_temperature_is_1() -> None:
    columns = Columns.of([row(0, 2), row(1, 3), row(2, 4), row(3, 2, temperature=0.5)])
    unit = np.arange(2)
    micros = [collate(columns, np.array(chosen), unit, columns.weight_R, 0, "cpu") for chosen in ([0, 2], [2, 3])]
    assert micros[0].temperature_M is None and micros[1].temperature_M is not None
    assert micros[1].temperature_M.tolist() == [1.0] * 4 + [0.5] * 2
