"""What prompts begin with in common: a tree that finds it by itself and remembers what was computed for it.

Knows token ids; what is remembered is opaque to it.
"""

from __future__ import annotations

from typing import Any

Ids = tuple[int, ...]


class Node:
    """A place where prompts part, or where one ends.

    Attributes:
        depth: tokens from the root to here.
        count: prompts that pass through here or end here.
        memory: what was computed for the tokens from the root to here, and maybe beyond; None: nothing yet.
    """

    __slots__ = ("children", "count", "depth", "edge", "memory")

    def __init__(self, edge: Ids, depth: int, count: int = 0, memory: Any = None) -> None:
        self.edge, self.depth, self.count, self.memory = edge, depth, count, memory
        self.children: dict[int, Node] = {}


class PrefixTree:
    """A radix tree over prompts.

    Args:
        tokens: remember prefixes of so many tokens in all; beyond it, `full` says so and the owner starts afresh.
    """

    def __init__(self, tokens: int) -> None:
        self._limit = tokens
        self.clear()

    def clear(self) -> None:
        """Forget all prompts and all that was computed."""
        self._root = Node((), 0)
        self._remembered = self._seen = 0

    @property
    def full(self) -> bool:
        """Whether more is remembered, or there are far more prompts, than was asked for."""
        return self._remembered > self._limit or self._seen > 16 * self._limit

    def add(self, prompt: Ids) -> None:
        """Count a prompt."""
        self._seen += 1
        node, at = self._root, 0
        while at < len(prompt):
            child = node.children.get(prompt[at])
            if child is None:
                node.children[prompt[at]] = Node(prompt[at:], len(prompt), 1)
                self._seen += len(prompt) - at
                return
            same = common(child.edge, prompt[at : at + len(child.edge)])
            at += same
            if same < len(child.edge):
                child = self._split(node, child, same)
            child.count += 1
            node = child

    def _split(self, parent: Node, child: Node, same: int) -> Node:
        upper = Node(child.edge[:same], parent.depth + same, child.count, child.memory)
        parent.children[upper.edge[0]] = upper
        child.edge = child.edge[same:]
        upper.children[child.edge[0]] = child
        return upper

    def path(self, prompt: Ids) -> list[Node]:
        """The nodes on the way of a prompt that was added, from the shortest prefix to the whole."""
        node, found = self._root, []
        while node.depth < len(prompt):
            node = node.children[prompt[node.depth]]
            found.append(node)
        return found

    def remember(self, path: list[Node], memory: Any) -> None:
        """Keep what was computed for the last node of a path, for all nodes on the path that have nothing yet."""
        self._remembered += path[-1].depth
        for node in path:
            if node.memory is None:
                node.memory = memory


def common(left: Ids, right: Ids) -> int:
    """How many tokens two sequences begin with in common."""
    if left == right:
        return len(left)
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
