"""Rows of an update as tensors: ragged columns once an update, then padded microbatches of rows of about the same length.

Rows are padded on the right. A causal decoder then needs neither a mask nor positions: what is real never sees padding.
Where many rows answer the same prompt (the samples of a group), a microbatch holds each prompt once, and the outputs apart.
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
            JadeError: a row has an empty prompt or output, or as many log-probabilities or advantages as it has not tokens.
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

    @property
    def repeated(self) -> float:
        """The share of the tokens to be read that stand in a prompt which another row has already."""
        _, first = np.unique(self.same_R, return_index=True)
        return float((self.prompt_R.sum() - self.prompt_R[first].sum()) / self.length_R.sum())


@dataclass(frozen=True, slots=True)
class Continuations:
    """What follows the prompts of a microbatch that holds each prompt once.

    Attributes:
        input_ids: [B, S], each row's output but its last token; S may be 0.
        prompt_B: which of the U prompts it follows.
        mask: [B, P + S], 0 where the prompt is padding; position_ids: [B, S].
    """

    input_ids: Tensor
    prompt_B: Tensor
    mask: Tensor
    position_ids: Tensor


@dataclass(frozen=True, slots=True)
class Micro:
    """A padded microbatch: B rows, M output tokens among them, on the model's device.

    Attributes:
        input_ids: [B, T], whole rows; or [U, P], prompts, of which `continuations` are the rest.
        hidden_M: where the hidden state is that predicts each output token: in [B * T], or in [U * P + B * S].
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
    continuations: Continuations | None
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


def microbatches(columns: Columns, chosen: Ints, budget: int, together: bool = False) -> Iterator[Ints]:
    """Rows of one adapter and about one length, at most `budget` tokens, padding counted, or else a single row.

    With `together`, rows of the same prompt, which counts once, stand beside each other.
    """
    c = columns
    for adapter in np.unique(c.adapter_R[chosen]):
        mine = chosen[c.adapter_R[chosen] == adapter]
        if not together:
            order = mine[np.argsort(-c.length_R[mine], kind="stable")]  # longest first: what memory may fail at
            none = np.zeros_like(order)
            edges = _cuts(c.length_R[order], none, none, budget)
        else:
            order, sizes = _by_prompt(c, mine, budget)
            begin = _starts(sizes)
            edges = _cuts(c.prompt_R[order[begin]], sizes, np.maximum.reduceat(c.output_R[order], begin) - 1, budget)
            edges = np.append(begin, len(order))[edges]
        yield from (order[i:j] for i, j in pairwise(edges.tolist()))


def _by_prompt(c: Columns, chosen: Ints, budget: int) -> tuple[Ints, Ints]:
    """Rows ordered by the length of their prompt, those of a prompt together, and how many belong together."""
    order = chosen[np.lexsort((-c.output_R[chosen], c.same_R[chosen], -c.prompt_R[chosen]))]
    sizes: list[int] = []
    for rows in np.split(order, np.flatnonzero(np.diff(c.same_R[order])) + 1):
        room = (budget - int(c.prompt_R[rows[0]])) // max(int(c.output_R[rows[0]]) - 1, 1)
        most = min(len(rows), max(1, room))
        sizes += [most] * (len(rows) // most) + ([len(rows) % most] if len(rows) % most else [])
    return order, np.array(sizes, np.int64)


def _cuts(width_U: Ints, rows_U: Ints, rest_U: Ints, budget: int) -> Ints:
    """Where to cut a list of units so that the fewest tokens are padding; a batch costs a tenth of the budget by itself.

    A batch of n units reads n x its widest + its rows x its longest rest. Found exactly, from each shorter list's best.
    """
    units, window = len(width_U), max(1, budget // max(1, int(width_U.min())))
    best, back = np.full(units + 1, np.inf), np.zeros(units + 1, np.int64)
    best[0] = 0.0
    for end in range(1, units + 1):
        begin = max(0, end - window)
        last = slice(begin, end)
        width = np.maximum.accumulate(width_U[last][::-1])[::-1]
        rest = np.maximum.accumulate(rest_U[last][::-1])[::-1]
        tokens = np.arange(end - begin, 0, -1) * width + np.cumsum(rows_U[last][::-1])[::-1] * rest
        tokens = np.where((tokens <= budget) | (np.arange(end - begin) == end - begin - 1), tokens, np.inf)
        cost = best[last] + tokens + budget / 10
        choice = int(cost.argmin())
        best[end], back[end] = cost[choice], begin + choice
    edges = [units]
    while edges[-1]:
        edges.append(int(back[edges[-1]]))
    return np.array(edges[::-1], np.int64)


def collate(
    columns: Columns, rows_B: Ints, weight_R: Floats, pad_id: int, device: Any, together: bool = False
) -> Micro:
    """Some rows as a microbatch.

    Args:
        weight_R: for every row of the columns, what each of its output tokens weighs in the loss.
        together: hold each prompt once, and what follows it apart.
    """
    c, output, prompt = columns, columns.output_R[rows_B], columns.prompt_R[rows_B]

    def put(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=device)

    row = np.repeat(np.arange(len(rows_B)), output)
    first = _starts(output)
    place = np.arange(len(row)) - first[row]
    here = _spans(c.output_start_R[rows_B], output)
    start = c.token_start_R[rows_B]
    continuations = None
    if together:
        _, alone, prompt_B = np.unique(c.same_R[rows_B], return_index=True, return_inverse=True)
        ids, mask = _padded(c.tokens_X, start[alone], prompt[alone], pad_id)
        rest, _ = _padded(c.tokens_X, start + prompt, output - 1, pad_id)
        seen = np.concatenate([mask[prompt_B], np.ones_like(rest, bool)], 1).astype(np.int64)
        position = prompt[:, None] + np.arange(rest.shape[1])
        continuations = Continuations(put(rest), put(prompt_B), put(seen), put(position))
        after_prompt = prompt_B[row] * ids.shape[1] + prompt[row] - 1
        hidden = np.where(place == 0, after_prompt, ids.size + row * rest.shape[1] + place - 1)
        real, padded = int(prompt[alone].sum() + (output - 1).sum()), ids.size + rest.size
    else:
        ids, _ = _padded(c.tokens_X, start, c.length_R[rows_B], pad_id)
        hidden = row * ids.shape[1] + prompt[row] - 1 + place
        real, padded = int(c.length_R[rows_B].sum()), ids.size
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
        continuations=continuations,
        real=real,
        padded=padded,
        rows=int(c.length_R[rows_B].sum()),
    )


def _padded(tokens_X: Ints, start: Ints, length: Ints, pad_id: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Spans of tokens as rows of the longest one's width, and which of their places are real."""
    ids = np.full((len(length), int(length.max())), pad_id, np.int64)
    real = np.arange(ids.shape[1]) < length[:, None]
    ids[real] = tokens_X[_spans(start, length)]
    return ids, real


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
