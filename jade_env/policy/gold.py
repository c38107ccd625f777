"""What a question's gold fields say about a node of its trace: which reasoning steps it stands for, and their answers.

For policies that may look at gold. Knows no role and no candidate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jade_env import metrics
from jade_env.game.trace import Node
from jade_env.policy.wording import PLACE, content_words
from jade_env.questions import Question
from jade_env.questions.question import Step

_PARENTHESIS = re.compile(r"\s*\([^()]*\)\s*$")
_FEWEST_LETTERS = 4


@dataclass(frozen=True, slots=True)
class Chain:
    """A gold decomposition whose steps refer to each other by number.

    Attributes:
        texts: each step's question, with `#k` for the answer of step k.
        needs: for each step, the places (from 0) of the steps whose answers it needs.
    """

    texts: tuple[str, ...]
    needs: tuple[tuple[int, ...], ...]

    def serial(self, steps: Sequence[int]) -> bool:
        """Whether one of these steps needs another one of them."""
        return any(need in steps for step in steps for need in self.needs[step])

    def last(self, steps: Sequence[int]) -> list[int]:
        """Those of these steps that no other one of them needs: what the answer is made of."""
        needed = {need for step in steps for need in self.needs[step]}
        return [step for step in steps if step not in needed]


def chain(question: Question) -> Chain:
    """The gold decomposition of a question, linked."""
    return _link(question.decomposition, question.is_list)


@lru_cache(maxsize=4096)
def _link(steps: tuple[Step, ...], independent: bool) -> Chain:
    """Where no step says `#k`, a step that names an earlier answer gets it; items of a list never do."""
    texts = [step.question for step in steps]
    if not independent and not any(PLACE.search(text) for text in texts):
        for place in range(1, len(texts)):
            texts[place] = _refer(texts[place], steps[:place], texts[:place])
    needs = (tuple(sorted({int(k) - 1 for k in PLACE.findall(text)})) for text in texts)
    return Chain(tuple(texts), tuple(tuple(n for n in need if n < i) for i, need in enumerate(needs)))


def _refer(text: str, earlier: Sequence[Step], taken: Sequence[str]) -> str:
    """`text` with the first earlier answer that it names replaced by `#k`, unless an earlier step says the same then."""
    subject, triple, relation = text.partition(">>")
    for k, step in enumerate(earlier, 1):
        if triple:
            if not _same_name(subject, step.answer):
                continue
            referring = f"#{k} >> {relation.strip()}"
        else:
            if len(step.answer) < _FEWEST_LETTERS or step.answer.isdigit():
                continue
            referring = re.sub(rf"(?<!\w){re.escape(step.answer)}(?!\w)", f"#{k}", text)
        if referring != text and referring not in taken:
            return referring
    return text


def _same_name(one: str, other: str) -> bool:
    bare = (metrics.normalize(_PARENTHESIS.sub("", name)) for name in (one, other))
    return len(set(bare)) == 1


def steps_of(node: Node, links: Chain) -> tuple[int, ...]:
    """The places of the gold steps that a node stands for, found from its path; every one for the original question.

    Child i of a node stands for that node's i-th step if it asks just that. A child that somebody else worded stands for
    the steps whose content words it holds, else for the step it shares most words with, else for the i-th.
    """
    if node.parent is None:
        return tuple(range(len(links.texts)))
    steps = steps_of(node.parent, links)
    if len(steps) <= 1:
        return steps
    place = min(node.path[-1] - 1, len(steps) - 1)
    if links.texts[steps[place]] == node.question:
        return (steps[place],)
    words = content_words(node.question)
    held = tuple(step for step in steps if (own := content_words(links.texts[step])) and own <= words)
    if held:
        return held
    shared = [len(words & content_words(links.texts[step])) for step in steps]
    return (steps[place if shared[place] == max(shared) else shared.index(max(shared))],)


def same(one: str, other: str) -> bool:
    """Whether two answers are the same once normalised."""
    return metrics.normalize(one) == metrics.normalize(other)
