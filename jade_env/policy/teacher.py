"""Plays the gold decomposition: the source of warm starts, and the measure of workflows with perfect executors.

It reads gold fields of the question in play and writes text, in every mode. Knows no candidate and no retriever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jade_env.errors import ConfigError, DataError
from jade_env.game.view import Workflow
from jade_env.game.workflow import RETRIEVE, codes, decomposes
from jade_env.policy import gold
from jade_env.policy.wording import PLACE, fill, reworded
from jade_env.questions import Question

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn
    from jade_env.game.outputs import Value
    from jade_env.scenario import Scenario

UNKNOWN = "unknown"
"""What the grounded teacher answers where the documents do not tell."""
_SPLITS = ("train", "dev", "test")


class TeacherPolicy:
    """Plans by the shape of the gold decomposition, writes its steps, keeps the supporting documents, gives the gold answers.

    The planner chooses QDS where a step needs the answer of another, QDP for several independent steps, R,AG for one step,
    and AG for a question that needs no document. A question without a gold decomposition is taken as one step.

    With `grounded=True` the generator answers only what the documents at hand tell (all supporting ones of its question; of
    a list, each item by itself) and otherwise says "unknown", and the summarizer uses only answers that were given.
    """

    def __init__(
        self,
        scenario: Scenario,
        data: str | Path | None = None,
        *,
        grounded: bool = False,
        root: Sequence[str] = (),
        below: Sequence[str] = (),
    ) -> None:
        """Make a teacher.

        Args:
            scenario: what will be played.
            data: the data location for scenarios with files; else JADE_DATA.
            grounded: answer only what the documents tell.
            root: a workflow to play for every original question where it is legal, in place of the best one.
            below: the same for sub-questions.

        Raises:
            ConfigError: no question of the scenario has a gold decomposition or can do without.
            DataError: its questions cannot be read.
        """
        self._grounded, self._root, self._below = grounded, tuple(root), tuple(below)
        _check_playable(scenario, data)
        self._writers: Mapping[str, Callable[[Turn], Value]] = {
            "workflow": self._plan,
            "subquestions_serial": _split,
            "subquestions_parallel": _split,
            "query": _rewrite,
            "document_ids": _select,
            "answer": self._answer,
            "verdict": _judge,
            "search_or_answer": self._solve,
            "document": _sabotage,
        }

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the text that says what the teacher wants, a turn."""
        return [turn.format(self._writers[turn.kind](turn)) for turn in turns]

    def _plan(self, turn: Turn) -> Workflow:
        legal = turn.view.workflows
        forced = self._below if turn.node.parent else self._root
        if forced in legal:
            return forced
        question, links = turn.game.question, gold.chain(turn.game.question)
        steps = gold.steps_of(turn.node, links)
        if len(steps) > 1:
            wanted = ["QDS", "QDP", "R,AG"] if links.serial(steps) else ["QDP", "QDS", "R,AG"]
        else:
            wanted = ["R,AG"] if _needs_documents(question) else ["AG", "QR,AG"]
        return _first(legal, [codes(name) for name in wanted], retrieving=_needs_documents(question))

    def _answer(self, turn: Turn) -> str:
        summarizing = bool(turn.node.children)
        if not self._grounded:
            return _gold_answer(turn)
        if summarizing:
            return _combined(turn)
        return _told(turn)

    def _solve(self, turn: Turn) -> tuple[str, str]:
        """Search for the steps one after another, as the answers so far make them; then answer as the generator would."""
        links, view = gold.chain(turn.game.question), turn.view
        asked = len(view.history)
        if view.may_search and _needs_documents(turn.game.question) and asked < max(1, len(links.texts)):
            known = [(step.question, step.answer) for step in turn.game.question.decomposition]
            return "search", fill(links.texts[asked], known) if links.texts else view.query
        return "answer", _told(turn) if self._grounded else _gold_answer(turn)


def _judge(turn: Turn) -> str:
    """Accept the gold answer of the node, and send anything else back."""
    return "accept" if gold.same(turn.view.draft, _gold_answer(turn)) else "retry"


def _sabotage(turn: Turn) -> tuple[int, str]:
    """Put the passage ranked last in the place of the first supporting document, or of the first at hand."""
    wanted, view = _supporting(turn), turn.view
    place = next((i for i, document in enumerate(view.documents) if document.id in wanted), 0)
    return place, f"Passage{len(view.pool) - 1}"


def _check_playable(scenario: Scenario, data: str | Path | None) -> None:
    """Refuse a scenario whose every question needs several documents and none has a decomposition."""
    from jade_env.envs.source import open_source
    from jade_env.scenario import FileData

    if not isinstance(scenario.data, FileData):
        return
    source, failures = open_source(scenario, data), []
    for split in _SPLITS:
        try:
            questions = source.questions(split)
        except DataError as error:
            failures.append(error)
            continue
        if any(question.decomposition or len(question.supporting_ids) <= 1 for question in questions):
            return
    if len(failures) == len(_SPLITS):
        raise failures[0]
    raise ConfigError(
        f"teacher: no question of {scenario.data.folder} has a gold decomposition (metadata.decomposition), so there is"
        " nothing to play by; use musique, 2wikimultihopqa or the embedded world"
    )


def _needs_documents(question: Question) -> bool:
    return question.kind != "direct" and bool(question.supporting_ids or question.decomposition)


def _first(legal: Sequence[Workflow], wanted: Sequence[Workflow], retrieving: bool) -> Workflow:
    """The first wanted workflow that is legal, else a chain that retrieves (or does not), else any chain."""
    chains = [workflow for workflow in legal if not decomposes(workflow)]
    fitting = [workflow for workflow in chains if (RETRIEVE in workflow) == retrieving]
    return next((workflow for workflow in wanted if workflow in legal), [*fitting, *chains, *legal][0])


def _split(turn: Turn) -> tuple[str, ...]:
    """The gold steps of a node, in order; one step is put in other words, as it may not equal the question."""
    query, question = turn.view.query, turn.game.question
    links = gold.chain(question)
    steps = gold.steps_of(turn.node, links)
    texts = tuple(dict.fromkeys(_renumbered(question, links, steps, step) for step in steps))
    if len(texts) > 1 and query not in texts:
        return texts
    text = fill(links.texts[steps[0]], turn.view.answers) if len(steps) == 1 else query
    return (text,) if text != query else (reworded(query),)


def _renumbered(question: Question, links: gold.Chain, steps: Sequence[int], step: int) -> str:
    """A step's text with `#k` counted among the steps of its node; of other steps the answer itself."""
    new = {str(old + 1): f"#{number}" for number, old in enumerate(steps, 1)}
    known = {str(old): known.answer for old, known in enumerate(question.decomposition, 1)}
    return PLACE.sub(lambda place: new.get(place[1]) or known.get(place[1], place[0]), links.texts[step])


def _rewrite(turn: Turn) -> str:
    """The query with the answers so far in it; where it has no place for them, the gold step, or other words."""
    view, links = turn.view, gold.chain(turn.game.question)
    filled = fill(view.query, view.answers)
    if filled != view.query:
        return filled
    steps = gold.steps_of(turn.node, links)
    asked = fill(links.texts[steps[0]], view.answers) if len(steps) == 1 else view.query
    return asked if asked != view.query and not PLACE.search(asked) else reworded(view.query)


def _select(turn: Turn) -> tuple[int, ...]:
    """The supporting documents among those at hand; all of them where gold names none."""
    wanted = _supporting(turn)
    kept = (i for i, document in enumerate(turn.view.documents) if document.id in wanted)
    return tuple(kept) if wanted else tuple(range(len(turn.view.documents)))


def _supporting(turn: Turn) -> set[str]:
    """Ids of the documents that tell the answer of a node."""
    question = turn.game.question
    steps = [question.decomposition[step] for step in gold.steps_of(turn.node, gold.chain(question))]
    ids = {step.supporting_id for step in steps if step.supporting_id is not None}
    return ids if ids and turn.node.parent else set(question.supporting_ids) | ids


def _gold_answer(turn: Turn) -> str:
    question = turn.game.question
    steps = gold.steps_of(turn.node, gold.chain(question))
    if not turn.node.parent or not steps:
        return question.golden_answers[0]
    return question.decomposition[steps[-1]].answer


def _told(turn: Turn) -> str:
    """What the documents at hand tell of a node's question."""
    question, links = turn.game.question, gold.chain(turn.game.question)
    steps = gold.steps_of(turn.node, links)
    read = {document.id for document in turn.view.documents}
    if question.is_list and not turn.node.parent:
        parts = [step for step in question.decomposition if step.supporting_id in read]
        return ", ".join(step.answer for step in parts) or UNKNOWN
    understood = not PLACE.search(turn.view.query) and all(
        _known(turn, need) for step in steps for need in links.needs[step] if need not in steps
    )
    return _gold_answer(turn) if understood and _supporting(turn) <= read else UNKNOWN


def _known(turn: Turn, step: int) -> bool:
    """Whether a node of the trace has been given a step's gold answer."""
    answer = turn.game.question.decomposition[step].answer
    return any(node.answer is not None and gold.same(node.answer, answer) for node in turn.game.trace.nodes)


def _combined(turn: Turn) -> str:
    """What the answers of the sub-questions tell of a node's question."""
    question, links = turn.game.question, gold.chain(turn.game.question)
    steps = gold.steps_of(turn.node, links)
    given = [answer for _, answer in turn.view.answers if answer and answer != UNKNOWN]
    if question.is_list and not turn.node.parent:
        return ", ".join(given) or UNKNOWN
    if not steps:
        return _gold_answer(turn) if any(gold.same(answer, _gold_answer(turn)) for answer in given) else UNKNOWN
    needed = [question.decomposition[step].answer for step in links.last(steps)]
    known = all(any(gold.same(answer, one) for one in given) for answer in needed)
    return _gold_answer(turn) if known else UNKNOWN
