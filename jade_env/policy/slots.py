"""Keys and values of many rows in slots that rows enter, grow in and leave: the memory of a batch that never stands still.

Knows transformers' cache protocol and tensors. Knows no token, no request and no order of rows.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

STEP = 64
"""Slots grow longer by a multiple of this."""


class _Window:
    """Where the next forward pass writes and how far it reads: the same for all layers."""

    def __init__(self) -> None:
        self.first = self.last = self.length = 0
        self.rows_B = self.position_BT = torch.zeros(0, dtype=torch.long)
        self.start: int | None = None
        self.slots = self.capacity = 0


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values [slots, H, capacity, D]; where a row has not written yet they are finite and masked."""

    is_sliding = False

    def __init__(self, window: _Window) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._window = window
        self.keys: Tensor
        self.values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._empty(key_states)
        self.values = self._empty(value_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self._window
        first, last, start = window.first, window.last, window.start
        if start is not None:  # all rows write at the same place
            stop = start + key_states.shape[2]
            self.keys[first:last, :, start:stop] = key_states
            self.values[first:last, :, start:stop] = value_states
        elif key_states.shape[2] == 1:
            self.keys[window.rows_B, :, window.position_BT[:, 0]] = key_states[:, :, 0]
            self.values[window.rows_B, :, window.position_BT[:, 0]] = value_states[:, :, 0]
        else:
            rows = window.rows_B[:, None]
            self.keys[rows, :, window.position_BT] = key_states.transpose(1, 2)
            self.values[rows, :, window.position_BT] = value_states.transpose(1, 2)
        return self.keys[first:last, :, : window.length], self.values[first:last, :, : window.length]

    def grow(self) -> None:
        """Make room for what was reserved, keeping what there is."""
        slots, _, capacity, _ = self.keys.shape
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._empty(old)
            new[:slots, :, :capacity] = old
            setattr(self, name, new)

    def _empty(self, like: Tensor) -> Tensor:
        return like.new_zeros(self._window.slots, like.shape[1], self._window.capacity, like.shape[3])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._window.length, 0

    def get_seq_length(self) -> int:
        return max(self._window.length - self._window.position_BT.shape[-1], 0)

    def get_max_length(self) -> int:
        return self._window.capacity


class SlotCache(Cache):
    """The keys and values of all layers.

    `reserve`, then `aim`, then a forward pass with it under `Backbone.cache_name`, a 4D mask and position ids of one's own.
    """

    def __init__(self, layers: int) -> None:
        self._window = _Window()
        super().__init__(layers=[SlotLayer(self._window) for _ in range(layers)])

    def reserve(self, slots: int, length: int) -> None:
        """Have room for at least so many rows of so many tokens."""
        window = self._window
        if slots <= window.slots and length <= window.capacity:
            return
        window.slots = max(slots, window.slots)
        window.capacity = max(-(-length // STEP) * STEP, window.capacity)
        for layer in self._ready():
            layer.grow()

    def aim(self, first: int, last: int, position_BT: Tensor, length: int, start: int | None = None) -> None:
        """Let the next pass write rows first..last at positions [B, T] and read their first `length` tokens.

        Args:
            start: the first position, where it is the same for all rows and positions follow one another.
        """
        window = self._window
        window.first, window.last, window.length, window.start = first, last, length, start
        window.position_BT = position_BT
        if start is None:
            window.rows_B = torch.arange(first, last, device=position_BT.device)

    def move(self, source_M: np.ndarray, target_M: np.ndarray, length_M: np.ndarray) -> None:
        """Copy the first tokens of some rows over other rows; no row is both."""
        ready = self._ready()
        if ready and ready[0].keys.device.type == "cpu":  # row by row: no copy in between, and no more than is there
            moves = list(zip(source_M.tolist(), target_M.tolist(), length_M.tolist(), strict=True))
            for tensor in (tensor for layer in ready for tensor in (layer.keys, layer.values)):
                for row, hole, length in moves:
                    tensor[hole, :, :length] = tensor[row, :, :length]
            return
        longest = int(length_M.max())
        for layer in ready:
            source, target = (torch.from_numpy(rows).to(layer.keys.device) for rows in (source_M, target_M))
            layer.keys[target, :, :longest] = layer.keys[source, :, :longest]
            layer.values[target, :, :longest] = layer.values[source, :, :longest]

    def read(self, row: int, length: int) -> list[tuple[Tensor, Tensor]]:
        """A copy of the first `length` tokens of a row: keys and values [H, length, D] of each layer."""
        return [(layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone()) for layer in self._ready()]

    def write(self, rows: Sequence[int], memory: Sequence[tuple[Tensor, Tensor]], length: int) -> None:
        """Begin some rows with the first `length` tokens of what was read."""
        where = torch.as_tensor(rows)
        for layer, (keys, values) in zip(self._ready(), memory, strict=True):
            layer.keys[where, :, :length] = keys[:, :length]
            layer.values[where, :, :length] = values[:, :length]

    def _ready(self) -> list[SlotLayer]:
        return [layer for layer in self.layers if isinstance(layer, SlotLayer) and layer.is_initialized]
