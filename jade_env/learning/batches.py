"""Rows of an update as tensors: ragged columns once an update, then padded microbatches of rows of about the same length.

Rows are padded on the right. A causal decoder then needs neither a mask nor positions: what is real never sees padding.
Where many rows answer the same prompt (the samples of a group), it stands there once, their outputs behind it, none of which
sees another.
Knows no model and no loss; a microbatch says which hidden state predicts which output token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jade_env.errors import JadeError
from jade_env.policy.sampling import Sample

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
ALL = -1
"""In place of a number of allowed tokens: every token is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One turn to learn from.

    Attributes:
        sample: what was read and written, token by token.
        agent: who did; figures are kept agent by agent.
        advantage_N: float32, of each output token.
        weight: of its tokens in the policy loss; 0 keeps it out.
        entropy, kl: coefficients of the entropy bonus and of the KL penalty towards the reference.
        return_: what the value head should have said: one number, or one an output token.
        value: what it said when the turn was played, in the same form.
        adapter: which of the backbone's adapters played; None: the one there is.
    """

    sample: Sample
    agent: str
    advantage_N: Floats
    weight: float = 1.0
    entropy: float = 0.0
    kl: float = 0.0
    return_: float | Floats = 0.0
    value: float | Floats = 0.0
    adapter: str | None = None


@dataclass(slots=True)
class Columns:
    """All rows of an update, R of them, as flat arrays: X tokens read by the model, N output tokens, L allowed ids.

    Attributes:
        tokens_X: prompt and output of each row but its last token, which nothing follows.
        length_R, prompt_R, output_R: how many of them, of the prompt, of the output.
        token_N, old_N, advantage_N, return_N, value_N: one entry an output token.
        reference_N: the reference's log-probabilities; zeros until they are known.
        allowed_L, allows_N: ids that the grammar allowed, and how many of them each output token has (ALL: no limit).
        weight_R, entropy_R, kl_R: coefficients. agent_R, adapter_R: numbers into `agents`, `adapters`.
        temperature_R: what the sampler divided each row's logits by.
        same_R: rows of equal number have the same prompt and adapter.
    """

    agents: tuple[str, ...]
    adapters: tuple[str | None, ...]
    tokens_X: Ints
    length_R: Ints
    prompt_R: Ints
    output_R: Ints
    token_N: Ints
    old_N: Floats
    advantage_N: Floats
    return_N: Floats
    value_N: Floats
    allowed_L: Ints
    allows_N: Ints
    weight_R: Floats
    entropy_R: Floats
    kl_R: Floats
    temperature_R: Floats
    agent_R: Ints
    adapter_R: Ints
    same_R: Ints
    reference_N: Floats = field(init=False)
    token_start_R: Ints = field(init=False)
    output_start_R: Ints = field(init=False)
    allowed_start_N: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.reference_N = np.zeros_like(self.old_N)
        self.token_start_R, self.output_start_R = _starts(self.length_R), _starts(self.output_R)
        self.allowed_start_N = _starts(np.maximum(self.allows_N, 0))

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Columns:
        """The columns of some rows.

        Raises:
            JadeError: a row has an empty prompt or output, or not one log-probability and advantage for each output token.
        """
        for row in rows:
            _check(row)
        samples = [row.sample for row in rows]
        agents = tuple(sorted({row.agent for row in rows}))
        adapters = tuple(sorted({row.adapter for row in rows}, key=lambda name: name or ""))
        output = np.array([len(s.output) for s in samples], np.int64)
        prompt = np.array([len(s.prompt) for s in samples], np.int64)
        same: dict[object, int] = {}
        allowed = list(chain.from_iterable(s.allowed or (None,) * len(s.output) for s in samples))
        return cls(
            agents=agents,
            adapters=adapters,
            tokens_X=np.fromiter(chain.from_iterable(s.prompt + s.output[:-1] for s in samples), np.int64),
            length_R=prompt + output - 1,
            prompt_R=prompt,
            output_R=output,
            token_N=np.fromiter(chain.from_iterable(s.output for s in samples), np.int64),
            old_N=_joined([s.logprobs for s in samples]),
            advantage_N=_joined([row.advantage_N for row in rows]),
            return_N=_joined([np.broadcast_to(row.return_, len(row.sample.output)) for row in rows]),
            value_N=_joined([np.broadcast_to(row.value, len(row.sample.output)) for row in rows]),
            allowed_L=np.fromiter(chain.from_iterable(ids for ids in allowed if ids is not None), np.int64),
            allows_N=np.array([ALL if ids is None else len(ids) for ids in allowed], np.int64),
            weight_R=np.array([row.weight for row in rows], np.float32),
            entropy_R=np.array([row.entropy for row in rows], np.float32),
            kl_R=np.array([row.kl for row in rows], np.float32),
            temperature_R=np.array([s.temperature for s in samples], np.float32),
            agent_R=np.array([agents.index(row.agent) for row in rows], np.int64),
            adapter_R=np.array([adapters.index(row.adapter) for row in rows], np.int64),
            same_R=np.array([same.setdefault((r.adapter, r.sample.prompt), len(same)) for r in rows], np.int64),
        )

    def __len__(self) -> int:
        return len(self.length_R)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Rows of the same prompt are read in units, the prompt once and their outputs behind it.

    Attributes:
        widest: tokens of a unit at most, unless it is a single row, and what costs no token.
        behind: the outputs behind a prompt are no longer than this or than the prompt, all together: attention pays for every
            pair of tokens.
    """

    widest: int
    behind: int

    def room(self, prompt: int) -> int:
        """How long the outputs behind a prompt may be; not above 0 where none fits."""
        return min(max(prompt, self.behind), self.widest - prompt)


@dataclass(frozen=True, slots=True)
class Branches:
    """Who reads what where several outputs follow one prompt.

    Attributes:
        part: [U, T], 0 for the prompt, a number of its own for each output, -1 for padding. A token reads the prompt and the
            part that it is in, never what is behind it.
        position_ids: [U, T], as if the prompt and that output stood alone.
    """

    part: Tensor
    position_ids: Tensor


@dataclass(frozen=True, slots=True)
class Micro:
    """A padded microbatch: B rows in U units, M output tokens among them, on the model's device.

    Attributes:
        input_ids: [U, T]: of each unit a prompt, then its rows' outputs, one behind the other.
        branches: who reads what there; None where no unit has more behind its prompt than one output.
        hidden_M: where in [U * T] the hidden state is that predicts each output token.
        token_M, agent_M: that token, its agent's number. column_M: its place in the columns' N.
        temperature_M: what its logits are divided by; None where that is 1 for all.
        first_B: where in M each row's first output token is: its hidden state is that of the last prompt token.
        real: tokens that are not padding; padded: all that are read. rows: tokens of the rows by themselves.
    """

    adapter: str | None
    input_ids: Tensor
    hidden_M: Tensor
    token_M: Tensor
    old_M: Tensor
    advantage_M: Tensor
    reference_M: Tensor
    return_M: Tensor
    value_M: Tensor
    entropy_M: Tensor
    kl_M: Tensor
    weight_M: Tensor
    agent_M: Tensor
    first_B: Tensor
    column_M: Ints
    temperature_M: Tensor | None
    allowed_L: Tensor | None
    allowing_L: Tensor | None
    free_M: Tensor | None
    branches: Branches | None
    real: int
    padded: int
    rows: int

    def allowed(self, vocabulary: int, begin: int = 0, end: int | None = None) -> Tensor | None:
        """The grammar's mask [end - begin, V] of some output tokens; None where it allows everything."""
        if self.allowed_L is None or self.allowing_L is None or self.free_M is None:
            return None
        free = self.free_M[begin:end]
        mask = free.unsqueeze(1).expand(-1, vocabulary).contiguous()
        mine = (self.allowing_L >= begin) & (self.allowing_L < begin + len(free))
        mask[self.allowing_L[mine] - begin, self.allowed_L[mine]] = True
        return mask


def minibatches(columns: Columns, parts: int, rng: np.random.Generator, together: bool) -> list[Ints]:
    """The rows in random order, in so many parts of about equal size; `together` never parts rows of the same prompt."""
    if not together:
        return np.array_split(rng.permutation(len(columns)), parts)
    place = rng.permutation(int(columns.same_R.max()) + 1)[columns.same_R]
    order = np.argsort(place, kind="stable")
    part = np.searchsorted(place[order], place[order]) * parts // len(order)
    return [order[part == i] for i in range(parts)]


def microbatches(
    columns: Columns, chosen: Ints, budget: int, sharing: Sharing | None = None
) -> Iterator[tuple[Ints, Ints]]:
    """Rows of one adapter and about one length, at most `budget` tokens, padding counted, or else a single unit; and their units.

    A unit is a row; with `sharing`, rows of the same prompt, which counts once. Units are numbered from 0 in each microbatch.
    """
    for adapter in np.unique(columns.adapter_R[chosen]):
        mine = chosen[columns.adapter_R[chosen] == adapter]
        unit = np.arange(len(mine)) if sharing is None else _units(columns, mine, sharing)
        width = _widths(columns, mine, unit)
        longest = np.argsort(-width, kind="stable")  # first: what memory may fail at
        place = np.argsort(longest)[unit]
        order = np.argsort(place, kind="stable")
        edges = np.searchsorted(place[order], _cuts(width[longest], budget))
        for i, j in pairwise(edges.tolist()):
            yield mine[order[i:j]], place[order[i:j]] - place[order[i]]


def spared(columns: Columns, sharing: Sharing) -> float:
    """The share of the rows' tokens that need not be read where prompts are shared."""
    rows = np.arange(len(columns))
    return 1.0 - float(_widths(columns, rows, _units(columns, rows, sharing)).sum() / columns.length_R.sum())


def _units(c: Columns, chosen: Ints, sharing: Sharing) -> Ints:
    """The unit of each row, numbered from 0."""
    unit = np.zeros_like(chosen)
    number, last, room = -1, -1, 0
    for i in np.lexsort((-c.output_R[chosen], c.same_R[chosen])).tolist():
        row = chosen[i]
        rest = int(c.output_R[row]) - 1
        if c.same_R[row] != last or rest > max(room, 0):
            number, last, room = number + 1, c.same_R[row], sharing.room(int(c.prompt_R[row]))
        room -= rest
        unit[i] = number
    return unit


def _widths(c: Columns, rows: Ints, unit: Ints) -> Ints:
    """The tokens of each unit: its prompt's, and those of its rows' outputs but the last one of each."""
    _, first = np.unique(unit, return_index=True)
    return c.prompt_R[rows[first]] + np.bincount(unit, c.output_R[rows] - 1).astype(np.int64)


def _cuts(width_U: Ints, budget: int) -> Ints:
    """Where to cut units, longest first, so that the fewest tokens are padding; a batch costs a tenth of the budget by itself.

    A batch of n units reads n x its widest. Found exactly, from each shorter list's best.
    """
    units, window = len(width_U), max(1, budget // max(1, int(width_U.min())))
    best, back = np.full(units + 1, np.inf), np.zeros(units + 1, np.int64)
    best[0] = 0.0
    for end in range(1, units + 1):
        begin = max(0, end - window)
        count = np.arange(end - begin, 0, -1)
        tokens = count * width_U[begin:end]
        cost = best[begin:end] + np.where((tokens <= budget) | (count == 1), tokens, np.inf) + budget / 10
        choice = int(cost.argmin())
        best[end], back[end] = cost[choice], begin + choice
    edges = [units]
    while edges[-1]:
        edges.append(int(back[edges[-1]]))
    return np.array(edges[::-1], np.int64)


def collate(columns: Columns, rows_B: Ints, unit_B: Ints, weight_R: Floats, pad_id: int, device: Any) -> Micro:
    """Some rows as a microbatch.

    Args:
        rows_B, unit_B: rows, and which unit each belongs to, in the order of the units, as `microbatches` gives them.
        weight_R: for every row of the columns, what each of its output tokens weighs in the loss.
    """
    c, output, prompt = columns, columns.output_R[rows_B], columns.prompt_R[rows_B]

    def put(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=device)

    before_B = _starts(output - 1)
    _, alone = np.unique(unit_B, return_index=True)
    behind_B = prompt + before_B - before_B[alone][unit_B]
    ids, part, position, real = _laid_out(c, rows_B, unit_B, alone, behind_B, pad_id)
    width = ids.shape[1]
    branches = None
    if np.bincount(unit_B, output > 1).max() > 1:
        branches = Branches(put(part), put(position))
    row = np.repeat(np.arange(len(rows_B)), output)
    first = _starts(output)
    place = np.arange(len(row)) - first[row]
    here = _spans(c.output_start_R[rows_B], output)
    hidden = unit_B[row] * width + np.where(place == 0, prompt[row], behind_B[row] + place) - 1
    warm = bool((c.temperature_R[rows_B] != 1.0).any())
    free = allowed = allowing = None
    if (c.allows_N[here] != ALL).any():
        count = np.maximum(c.allows_N[here], 0)
        free = put(c.allows_N[here] == ALL)
        allowed = put(c.allowed_L[_spans(c.allowed_start_N[here], count)])
        allowing = put(np.repeat(np.arange(len(here)), count))
    return Micro(
        adapter=c.adapters[c.adapter_R[rows_B[0]]],
        input_ids=put(ids),
        hidden_M=put(hidden),
        token_M=put(c.token_N[here]),
        old_M=put(c.old_N[here]),
        advantage_M=put(c.advantage_N[here]),
        reference_M=put(c.reference_N[here]),
        return_M=put(c.return_N[here]),
        value_M=put(c.value_N[here]),
        entropy_M=put(c.entropy_R[rows_B][row]),
        kl_M=put(c.kl_R[rows_B][row]),
        weight_M=put(weight_R[rows_B][row]),
        agent_M=put(c.agent_R[rows_B][row]),
        first_B=put(first),
        column_M=here,
        temperature_M=put(c.temperature_R[rows_B][row]) if warm else None,
        allowed_L=allowed,
        allowing_L=allowing,
        free_M=free,
        branches=branches,
        real=real,
        padded=ids.size,
        rows=int(c.length_R[rows_B].sum()),
    )


def _laid_out(
    c: Columns, rows_B: Ints, unit_B: Ints, alone: NDArray[Any], behind_B: Ints, pad_id: int
) -> tuple[Ints, Ints, Ints, int]:
    """Units as lines of tokens, each line's parts and positions, and how many tokens are real.

    Args:
        alone: the first row of each unit.
        behind_B: where in its unit's line each row's output begins.
    """
    start, prompt, rest = c.token_start_R[rows_B], c.prompt_R[rows_B], c.output_R[rows_B] - 1
    width = int((behind_B + rest).max())
    prompts = _spans(np.arange(len(alone)) * width, prompt[alone])
    rests = _spans(unit_B * width + behind_B, rest)
    ids = np.full((len(alone), width), pad_id, np.int64)
    part, position = np.full_like(ids, -1), np.zeros_like(ids)
    ids.flat[prompts] = c.tokens_X[_spans(start[alone], prompt[alone])]
    part.flat[prompts], position.flat[prompts] = 0, prompts % width
    ids.flat[rests] = c.tokens_X[_spans(start + prompt, rest)]
    part.flat[rests] = np.repeat(np.arange(1, len(rows_B) + 1), rest)
    position.flat[rests] = _spans(prompt, rest)
    return ids, part, position, len(prompts) + len(rests)


def _check(row: Row) -> None:
    tokens = len(row.sample.output)
    for name, found in (("log-probabilities", row.sample.logprobs), ("advantages", row.advantage_N)):
        if len(found) != tokens:
            raise JadeError(f"a row of {row.agent} has {tokens} output tokens and {len(found)} {name}")
    if row.sample.allowed and len(row.sample.allowed) != tokens:
        raise JadeError(f"a row of {row.agent} has {tokens} output tokens and {len(row.sample.allowed)} allowed sets")
    if not tokens or not row.sample.prompt:
        raise JadeError(f"a row of {row.agent} has an empty {'prompt' if tokens else 'output'}")


def _joined(parts: Sequence[Any]) -> Floats:
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _starts(length: Ints) -> Ints:
    """Where each span begins when spans of these lengths follow each other."""
    return np.cumsum(length) - length


def _spans(start: Ints, length: Ints) -> Ints:
    """The places start, start + 1, ..., of each span in turn."""
    return np.repeat(start - _starts(length), length) + np.arange(int(length.sum()))
