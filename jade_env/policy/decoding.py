"""One batch of rows in slots: prompts are read in, tokens are chosen, finished rows leave. `generation.Generator` drives it.

Rows 0..n-1 run; a hole is filled with the last row. All bookkeeping is arrays over slots; the model sees slices of them.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jade_env import streams
from jade_env.errors import JadeError
from jade_env.policy.backbone import Backbone
from jade_env.policy.grammar import Grammar
from jade_env.policy.prefixes import Node, PrefixTree
from jade_env.policy.sampling import Request, Sample
from jade_env.policy.slots import SlotCache

FREE = -1
"""The grammar state of a row that may write anything."""
WORTH_WAITING = 16
"""A row waits for another to compute what they begin with in common if that is so many tokens at least."""
WORTH_COPYING = 8
"""Shorter beginnings than so many tokens are computed again."""
ROUND = 8
"""Reads of keys are a multiple of this many tokens long, which is what fast kernels want."""
_INT = np.int64


class Chooser:
    """Next tokens from logits: temperature, grammar, and the draw.

    Grammars are joined in one table of states, so that rows under different ones are served by the same few array operations.
    """

    def __init__(self, backbone: Backbone, greedy: bool, ignore_stop: bool) -> None:
        self.greedy, self._device = greedy, backbone.device
        self._backbone = backbone
        self.is_stop = np.zeros(max(int(backbone.causal.config.vocab_size), *backbone.stop_ids) + 1, bool)
        if not ignore_stop:
            self.is_stop[list(backbone.stop_ids)] = True
        self._starts: dict[int, tuple[int, Grammar]] = {}
        self._allowed_SK = np.zeros((0, 0), _INT)
        self._follow_SK = np.zeros((0, 0), _INT)
        self._on_device = torch.zeros(0, 0, dtype=torch.long)

    def start(self, grammar: Grammar | None) -> int:
        """The state that an output begins in."""
        if grammar is None:
            return FREE
        if id(grammar) not in self._starts:
            start = len(self._allowed_SK)
            follow_SK = np.where(grammar.follow_SK >= 0, grammar.follow_SK + start, FREE)
            self._allowed_SK = _stacked(self._allowed_SK, grammar.allowed_SK)
            self._follow_SK = _stacked(self._follow_SK, follow_SK)
            self._on_device = torch.from_numpy(self._allowed_SK).to(self._device)
            self._starts[id(grammar)] = (start, grammar)
        return self._starts[id(grammar)][0]

    def __call__(
        self, hidden_BD: Tensor, state_B: np.ndarray, temperature_B: np.ndarray, uniform_B: np.ndarray | None
    ) -> tuple[np.ndarray, ...]:
        """Choose a token for each row.

        Args:
            hidden_BD: last hidden states.
            state_B: grammar states.
            temperature_B: float32, what each row's logits are divided by.
            uniform_B: float64, one draw a row; None takes the likeliest tokens.

        Returns:
            Ids [B], their log-probabilities [B] float32, and the grammar states [B] that follow.
        """
        logits_BV = self._backbone.logits(hidden_BD)
        if (temperature_B != 1.0).any():
            logits_BV /= torch.from_numpy(temperature_B).to(logits_BV.device)[:, None]
        draw_B = None if uniform_B is None else torch.from_numpy(uniform_B).to(logits_BV.device)
        bound = np.flatnonzero(state_B >= 0)
        if not len(bound):
            return (*self._host(*_pick(logits_BV, draw_B)), state_B)
        ids_B, logprobs_B = np.empty(len(state_B), _INT), np.empty(len(state_B), np.float32)
        follow_B = state_B.copy()
        if len(bound) < len(state_B):
            free = np.flatnonzero(state_B < 0)
            free_F = torch.from_numpy(free).to(logits_BV.device)
            some = _pick(logits_BV[free_F], None if draw_B is None else draw_B[free_F])
            ids_B[free], logprobs_B[free] = self._host(*some)
        bound_C = torch.from_numpy(bound).to(logits_BV.device)
        allowed_CK = self._on_device[torch.from_numpy(state_B[bound]).to(logits_BV.device)]
        logits_CK = logits_BV[bound_C].gather(1, allowed_CK.clamp(min=0)).masked_fill_(allowed_CK < 0, -torch.inf)
        some = _pick(logits_CK, None if draw_B is None else draw_B[bound_C])
        which, logprobs_B[bound] = self._host(*some)
        ids_B[bound] = self._allowed_SK[state_B[bound], which]
        follow_B[bound] = self._follow_SK[state_B[bound], which]
        return ids_B, logprobs_B, follow_B

    def _host(self, ids_B: Tensor, logprobs_B: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if self._device.type == "cpu":
            ids, logprobs = ids_B.numpy(), logprobs_B.numpy()
        else:
            both = torch.stack([ids_B.double(), logprobs_B.double()]).cpu().numpy()  # one transfer
            ids, logprobs = both[0].astype(_INT), both[1].astype(np.float32)
        if not np.isfinite(logprobs).all():
            raise JadeError(
                f"{self._backbone.name}: its logits are infinite or no numbers: its weights have diverged, or "
                f"{str(self._backbone.dtype).removeprefix('torch.')} is too narrow for it: try dtype=fp32"
            )
        return ids, logprobs


def _pick(logits_BV: Tensor, draw_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The likeliest ids [B], or those that uniforms draw by the inverse of the distribution function; and log-probabilities.

    Of logits that are no numbers, log-probabilities that are none.
    """
    top_B, ids_B = logits_BV.max(-1)
    mass_BV = (logits_BV - top_B[:, None]).exp_()
    if draw_B is None:
        total_B = mass_BV.sum(-1, dtype=torch.float64)
    else:
        sums_BV = mass_BV.cumsum(-1, dtype=torch.float64)
        total_B = sums_BV[:, -1]
        aim_B = torch.minimum(draw_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
        ids_B = torch.searchsorted(sums_BV, aim_B[:, None], right=True)[:, 0].clamp_(max=logits_BV.shape[1] - 1)
    chosen_B = logits_BV.gather(1, ids_B[:, None])[:, 0]
    return ids_B, ((chosen_B - top_B).double() - total_B.log()).float()


def _stacked(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    width = max(upper.shape[1], lower.shape[1])
    both = (np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in (upper, lower))
    return np.concatenate(list(both))


class Batch:
    """Running rows, those that wait, and what prompts have in common."""

    def __init__(
        self, backbone: Backbone, choose: Chooser, slots: int, refill: float, kept_tokens: int, chunk: int
    ) -> None:
        self._backbone, self._choose = backbone, choose
        self._slots, self._refill, self._chunk = slots, refill, chunk
        self._cache = SlotCache(int(backbone.causal.config.num_hidden_layers))
        self._open, self._shut = torch.tensor([0.0, -torch.inf], dtype=backbone.dtype, device=backbone.device)
        self._tree = PrefixTree(kept_tokens) if kept_tokens else None
        self._waiting: deque[Request] = deque()
        self._finished: list[tuple[Request, Sample]] = []
        self._n = self._longest_stop = 0
        self._request = np.empty(slots, object)
        self._length, self._count, self._limit = (np.zeros(slots, _INT) for _ in range(3))
        self._token, self._state = np.zeros(slots, _INT), np.full(slots, FREE, _INT)
        self._value, self._temperature = np.zeros(slots), np.ones(slots, np.float32)
        self._output, self._uniform = np.zeros((slots, 32), _INT), np.zeros((slots, 32))
        self._logprob = np.zeros((slots, 32), np.float32)

    def _widen(self, width: int) -> None:
        """Make room for outputs of `width` tokens."""
        more = ((0, 0), (0, max(0, width - self._output.shape[1])))
        if more[1][1]:
            self._output, self._uniform = np.pad(self._output, more), np.pad(self._uniform, more)
            self._logprob = np.pad(self._logprob, more)

    @property
    def pending(self) -> int:
        """Rows that run or wait."""
        return self._n + len(self._waiting)

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; of those of one call the longest enter first, so that rows of a length run together."""
        if self._tree is not None:
            for request in requests:
                self._tree.add(request.prompt)
        self._waiting.extend(sorted(requests, key=lambda request: -len(request.prompt)))

    def forget(self) -> None:
        """Drop what was computed for common beginnings."""
        if self._tree is not None:
            self._tree.clear()
            for request in self._waiting:
                self._tree.add(request.prompt)

    def advance(self) -> list[tuple[Request, Sample]]:
        """Read in prompts and decode until a row has finished or none is left."""
        while self.pending and not self._finished:
            free = self._slots - self._n
            if self._waiting and (not self._n or free >= max(1.0, self._refill * self._slots)):
                self._admit([self._waiting.popleft() for _ in range(min(free, len(self._waiting)))])
            else:
                self._decode()
        done, self._finished = self._finished, []
        if not self.pending and self._tree is not None and self._tree.full:
            self._tree.clear()
        return done

    # ---- prompts ----------------------------------------------------------------------------------------------------

    def _admit(self, requests: list[Request]) -> None:
        """Read in prompts, common beginnings first: a row waits while another computes a longer one that it can use."""
        if self._tree is not None and self._tree.full:
            self.forget()
            for request in requests:
                self._tree.add(request.prompt)
        slots = min(self._slots, max(32, 1 << (self._n + len(requests) - 1).bit_length()))
        longest = max(len(request.prompt) + request.max_new for request in requests)
        self._cache.reserve(slots, 2 * ROUND + longest)
        while requests:
            wave: list[tuple[Request, int, list[Node]]] = []
            later: list[Request] = []
            coming: set[Node] = set()
            for request in requests:
                path = self._shared_path(request)
                ready = max((node.depth for node in path if node.memory is not None), default=0)
                if max((node.depth for node in path if node in coming), default=0) >= ready + WORTH_WAITING:
                    later.append(request)
                    continue
                if path and path[-1].memory is None:
                    coming.update(node for node in path if node.memory is None)
                known = min(ready, len(request.prompt) - 1)
                wave.append((request, known if known >= WORTH_COPYING else 0, path))
            self._read(wave)
            requests = later
        self._leave()

    def _shared_path(self, request: Request) -> list[Node]:
        return [] if self._tree is None else [node for node in self._tree.path(request.prompt) if node.count > 1]

    def _read(self, wave: list[tuple[Request, int, list[Node]]]) -> None:
        """Prefill rows in chunks of similar length, and choose their first tokens."""
        for whole in (True, False):  # prompts read from their first token need no mask, which is faster
            some = sorted((row for row in wave if (not row[1]) is whole), key=lambda row: row[1] - len(row[0].prompt))
            while some:
                size = max(1, self._chunk // (len(some[0][0].prompt) - some[0][1]))
                self._read_chunk(some[:size])
                some = some[size:]

    def _read_chunk(self, chunk: list[tuple[Request, int, list[Node]]]) -> None:
        first, last = self._n, self._n + len(chunk)
        known_B = np.array([known for _, known, _ in chunk])
        new_B = np.array([len(request.prompt) for request, _, _ in chunk]) - known_B
        width = int(new_B.max())
        self._enter(chunk, first)
        self._cache.reserve(last, int(known_B.max()) + width + ROUND)  # padding may reach beyond the longest row
        self._recall(chunk, first)
        ids_BT = np.full((len(chunk), width), self._backbone.pad_id, _INT)
        for row, (request, known, _) in enumerate(chunk):
            ids_BT[row, : new_B[row]] = request.prompt[known:]
        position_BT = known_B[:, None] + np.arange(width)
        hidden_BTD = self._forward(ids_BT, position_BT, first, last)
        where_B = torch.from_numpy(new_B - 1).to(hidden_BTD.device)
        hidden_BD = hidden_BTD[torch.arange(len(chunk), device=hidden_BTD.device), where_B]
        self._value[first:last] = self._backbone.values(hidden_BD).double().cpu().numpy()
        self._n = last
        for row, (_, _, path) in enumerate(chunk):
            if path and path[-1].memory is None and self._tree is not None:
                self._tree.remember(path, self._cache.read(first + row, path[-1].depth))
        self._take(hidden_BD, first, last)

    def _enter(self, chunk: list[tuple[Request, int, list[Node]]], first: int) -> None:
        self._widen(max(request.max_new for request, _, _ in chunk))
        for row, (request, _, _) in enumerate(chunk, first):
            self._request[row] = request
            self._length[row], self._limit[row] = len(request.prompt), request.max_new
            self._state[row], self._temperature[row] = self._choose.start(request.grammar), request.temperature
            if not self._choose.greedy:
                self._uniform[row, : request.max_new] = streams.generator("lm", *request.key).random(request.max_new)
            for text in request.stop:
                self._longest_stop = max(self._longest_stop, len(text))
        self._count[first : first + len(chunk)] = 0

    def _recall(self, chunk: list[tuple[Request, int, list[Node]]], first: int) -> None:
        """Begin rows with what is remembered, rows that begin alike together."""
        alike: dict[tuple[int, int], tuple[list[int], Node]] = {}
        for row, (_, known, path) in enumerate(chunk, first):
            if known:
                node = [node for node in path if node.memory is not None][-1]
                alike.setdefault((id(node), known), ([], node))[0].append(row)
        for (_, known), (rows, node) in alike.items():
            self._cache.write(rows, node.memory, known)

    def _forward(self, ids_BT: np.ndarray, position_BT: np.ndarray, first: int, last: int) -> Tensor:
        """The last hidden state [B, T, D] of new tokens of rows first..last, at their positions."""
        device, longest = self._backbone.device, int(position_BT.max()) + 1
        position = torch.from_numpy(position_BT).to(device)
        start = int(position_BT[0, 0]) if (position_BT[:, 0] == position_BT[0, 0]).all() else None
        if start == 0:  # the model's own causal mask will do: what fills up shorter rows comes after them
            length, mask = longest, None
        else:
            length = -(-longest // ROUND) * ROUND
            seen = torch.arange(length, device=device) <= position[:, None, :, None]
            mask = torch.where(seen, self._open, self._shut)
        self._cache.aim(first, last, position, length, start)
        return self._backbone.hidden(
            torch.from_numpy(ids_BT).to(device),
            attention_mask=mask,
            position_ids=position.clamp(max=self._backbone.context - 1),  # padding may reach beyond
            use_cache=True,
            **{self._backbone.cache_name: self._cache},
        )

    # ---- outputs ----------------------------------------------------------------------------------------------------

    def _decode(self) -> None:
        """One more token for each running row."""
        n = self._n
        hidden_BTD = self._forward(self._token[:n, None], self._length[:n, None], 0, n)
        self._length[:n] += 1
        self._take(hidden_BTD[:, 0], 0, n)
        self._leave()

    def _take(self, hidden_BD: Tensor, first: int, last: int) -> None:
        """Choose the next token of rows first..last."""
        rows, count = np.arange(first, last), self._count[first:last]
        uniform_B = None if self._choose.greedy else self._uniform[rows, count]
        state_B, temperature_B = self._state[first:last], self._temperature[first:last]
        ids_B, logprobs_B, state_B = self._choose(hidden_BD, state_B, temperature_B, uniform_B)
        self._output[rows, count], self._logprob[rows, count] = ids_B, logprobs_B
        self._token[first:last], self._state[first:last] = ids_B, state_B
        self._count[first:last] += 1

    def _leave(self) -> None:
        """Hand over finished rows and move the last ones into their places."""
        n = self._n
        stopped_B = self._choose.is_stop[self._token[:n]]
        if self._longest_stop:
            stopped_B |= np.array([self._says_stop(row) for row in range(n)], bool)
        done_B = stopped_B | (self._count[:n] >= self._limit[:n])
        done = np.flatnonzero(done_B)
        if not len(done):
            return
        self._finished += [self._sample(row, bool(stopped_B[row])) for row in done.tolist()]
        left = n - len(done)
        target = done[done < left]
        source = left + np.flatnonzero(~done_B[left:])
        if len(target):
            for array in (
                *(self._length, self._count, self._limit, self._token, self._state, self._value),
                *(self._request, self._output, self._logprob, self._uniform, self._temperature),
            ):
                array[target] = array[source]
            self._cache.move(source, target, self._length[target])
        self._request[left:n] = None
        self._n = left
        if not left:
            self._longest_stop = 0

    def _says_stop(self, row: int) -> bool:
        request = self._request[row]
        if not request.stop:
            return False
        tail = 4 * self._longest_stop + 4  # a character takes up to four tokens
        text = self._backbone.decode(self._output[row, max(0, self._count[row] - tail) : self._count[row]].tolist())
        return any(stop in text for stop in request.stop)

    def _sample(self, row: int, stopped: bool) -> tuple[Request, Sample]:
        request: Request = self._request[row]
        count = int(self._count[row])
        output = tuple(self._output[row, :count].tolist())
        allowed = request.grammar.walk(output) if request.grammar is not None else None
        return request, Sample(
            request.prompt,
            output,
            self._logprob[row, :count].copy(),
            allowed or (),
            float(self._value[row]),
            self._backbone.decode(output),
            stopped,
            request.temperature,
        )
