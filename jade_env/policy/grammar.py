"""Outputs that are the only possible ones: token by token, which ids may follow.

Knows the output kinds that have finitely many right forms (workflows, document ids) and a tokenizer. Knows no probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from jade_env.game.outputs import KINDS

if TYPE_CHECKING:
    from jade_env.envs.turn import Turn
    from jade_env.policy.backbone import Backbone

Ids = tuple[int, ...]
Pieces = Mapping[int, Sequence[tuple[Ids, int]]]
"""For each place: what can be written there, as tokens, and the place that one is at then."""
WHOLE_TEXTS = 5
"""Up to so many documents, all their subsets are listed; beyond, ids are chosen one after another."""
_START, _END = 0, -1
_known: WeakKeyDictionary[Backbone, dict[tuple[object, ...], Grammar]] = WeakKeyDictionary()


class Grammar:
    """A set of outputs, as a deterministic automaton over token ids that begins in state 0.

    Args:
        pieces: what can be written at each place; one begins at 0, and -1 is the end.

    Attributes:
        allowed: for each state the ids that may follow, ascending.
        follow: for each state and each of its ids the next state; -1: the output is complete.
        allowed_SK, follow_SK: the same as arrays, filled up with -1; K is the largest number of ids that may follow.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.allowed: list[Ids] = []
        self.follow: list[Ids] = []
        self._determine(pieces)
        width = max(map(len, self.allowed))
        self.allowed_SK = np.full((len(self.allowed), width), -1, np.int64)
        self.follow_SK = np.full((len(self.allowed), width), -1, np.int64)
        for state, (ids, states) in enumerate(zip(self.allowed, self.follow, strict=True)):
            self.allowed_SK[state, : len(ids)] = ids
            self.follow_SK[state, : len(ids)] = states

    def _determine(self, pieces: Pieces) -> None:
        """Turn pieces, which may begin alike, into states: a state is all that can still be written."""
        first = _open(pieces, _START)
        number = {first: 0}
        queue = [first]
        for state in queue:
            reached: dict[int, set[tuple[Ids, int]]] = {}
            for tokens, place in state:
                left = tokens[1:]
                reached.setdefault(tokens[0], set()).update([(left, place)] if left else _open(pieces, place))
            ids = tuple(sorted(reached))
            states = []
            for token in ids:
                target = frozenset(reached[token])
                if target and target not in number:
                    number[target] = len(queue)
                    queue.append(target)
                states.append(number.get(target, _END))
            self.allowed.append(ids)
            self.follow.append(tuple(states))

    def walk(self, output: Sequence[int]) -> tuple[Ids, ...] | None:
        """For each token of an output, or of the beginning of one, the ids that were allowed; None: it is not of this set."""
        state, found = _START, []
        for token in output:
            if state == _END or token not in self.allowed[state]:
                return None
            found.append(self.allowed[state])
            state = self.follow[state][self.allowed[state].index(token)]
        return tuple(found)


def _open(pieces: Pieces, place: int) -> frozenset[tuple[Ids, int]]:
    return frozenset() if place == _END else frozenset(pieces[place])


def grammar_of_texts(backbone: Backbone, texts: Sequence[str]) -> Grammar:
    """The grammar of a list of texts, each as the tokenizer writes it, with the token that ends an output."""
    return Grammar({_START: [(tuple(backbone.encode_output(text)), _END) for text in texts]})


def grammar_of_documents(backbone: Backbone, count: int) -> Grammar:
    """The grammar of all subsets of documents, in ascending order.

    Up to `WHOLE_TEXTS` documents, each subset is written as the tokenizer writes it; beyond, document ids are written one by
    one, each as the tokenizer writes it alone.
    """
    form = KINDS["document_ids"].format
    if count <= WHOLE_TEXTS:
        return grammar_of_texts(backbone, [form(_subset(bits)) for bits in range(2**count)])

    def tokens(text: str) -> Ids:
        return tuple(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])

    head, tail = form(()).split("><")
    close = ((*tokens(f"<{tail}"), backbone.end_id), _END)
    names = [form((i,))[len(head) + 1 : -len(tail) - 1] for i in range(count)]
    first = [(tokens(name), i + 2) for i, name in enumerate(names)]
    pieces: dict[int, list[tuple[Ids, int]]] = {_START: [(tokens(f"{head}>"), 1)], 1: [*first, close]}
    for i in range(count):
        pieces[i + 2] = [*((tokens(f",{names[j]}"), j + 2) for j in range(i + 1, count)), close]
    return Grammar(pieces)


def _subset(bits: int) -> tuple[int, ...]:
    return tuple(i for i in range(bits.bit_length()) if bits >> i & 1)


def grammar_of(turn: Turn, backbone: Backbone, documents: int) -> Grammar | None:
    """The grammar of a turn's right outputs: legal workflows, subsets of the documents that are read, so many.

    None where any text may be right.
    """
    if turn.kind not in ("workflow", "document_ids"):
        return None
    known = _known.setdefault(backbone, {})
    workflows = tuple(turn.game_turn.context.get("workflows", ()))
    key = workflows or (documents,)
    if key not in known:
        if workflows:
            known[key] = grammar_of_texts(backbone, [turn.format(workflow) for workflow in workflows])
        else:
            known[key] = grammar_of_documents(backbone, documents)
    return known[key]
