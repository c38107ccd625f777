"""Workflows: chains of codes that a round may run. Knows which chains are well formed, not what their members do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from jade_env.config import nearest
from jade_env.errors import ConfigError
from jade_env.game.view import Workflow

RETRIEVE = "R"
"""The one code that is a tool and not an agent."""

VERIFIER = "AV"
"""The member that may stand behind the answer: it accepts the answer, or sends it back once."""

CHAIN = ("QR", RETRIEVE, "DS", "AG", VERIFIER)
"""The order in which the members of a chain stand."""

DECOMPOSERS = ("QDS", "QDP")
"""Codes that stand alone and open sub-questions."""

SOLVER = "SOLVE"
"""The code, standing alone, of an agent that searches and answers by itself (the monolithic paradigm)."""

PAPER_WORKFLOWS: tuple[Workflow, ...] = (
    ("AG",),
    ("QR", "AG"),
    ("R", "AG"),
    ("QR", "R", "AG"),
    ("R", "DS", "AG"),
    ("QR", "R", "DS", "AG"),
    ("QDS",),
    ("QDP",),
)
"""The eight legal workflows of the JADE paper (arXiv 2601.21916, section on the action space)."""


@lru_cache(maxsize=256)
def codes(text: str) -> Workflow:
    """Split a workflow as a model writes it, `"QR, R,,AG"` -> `("QR", "R", "AG")`; empty codes are dropped."""
    return tuple(code for part in text.split(",") if (code := part.strip()))


def decomposes(workflow: Workflow) -> bool:
    """Whether the workflow opens sub-questions instead of answering."""
    return workflow[0] in DECOMPOSERS


def substitute(question: str, answers: Sequence[str]) -> str:
    """Put the answer of step k for each `#k` of a sub-question; a `#k` without an answer stays, and so does one in an answer.

    The first MAX_REFERENCES are replaced, so that a text of nothing else does not grow beyond all measure.
    """

    def answer(found: re.Match[str]) -> str:
        step = int(found[1])
        return answers[step - 1] if step <= len(answers) else found[0]

    return _REFERENCE.sub(answer, question, count=MAX_REFERENCES) if "#" in question else question


MAX_REFERENCES = 32
_REFERENCE = re.compile(r"#([1-9][0-9]?)(?![0-9])")


def plainest(legal: Sequence[Workflow]) -> Workflow:
    """The shortest chain that retrieves, else the shortest chain."""
    chains = [workflow for workflow in legal if not decomposes(workflow)]
    return min(chains, key=lambda workflow: (RETRIEVE not in workflow, len(workflow)))


def check(workflow: Sequence[str]) -> Workflow:
    """Return the workflow as a tuple if it follows the grammar.

    Raises:
        ConfigError: it does not; the sentence says which rule is broken.
    """
    chain = tuple(workflow)
    shown = ",".join(chain) or "(empty)"
    known = (*CHAIN, *DECOMPOSERS, SOLVER)
    for code in chain:
        if code not in known:
            raise ConfigError(f"workflow {shown}: {code!r} is not one of {', '.join(known)}{nearest(code, known)}")
    alone = (*DECOMPOSERS, SOLVER)
    if len(chain) == 1 and chain[0] in alone:
        return chain
    if any(code in alone for code in chain):
        raise ConfigError(f"workflow {shown}: {', '.join(alone)} stand alone")
    if "AG" not in chain:
        raise ConfigError(f"workflow {shown}: a chain ends in AG, or in AG,{VERIFIER}")
    places = [CHAIN.index(code) for code in chain]
    if places != sorted(set(places)):
        raise ConfigError(f"workflow {shown}: members stand once each, in the order {', '.join(CHAIN)}")
    if "DS" in chain and RETRIEVE not in chain:
        raise ConfigError(f"workflow {shown}: DS needs documents, so R must stand before it")
    return chain
