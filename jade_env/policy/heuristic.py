"""The baseline that learns nothing: the best fixed workflow of the train split, and an answer span by a fixed lexical score.

Frozen: its rules were settled before any learner was tuned and are not changed afterwards; a learner is measured against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jade_env.errors import DataError, RetrievalError
from jade_env.game.workflow import decomposes, plainest
from jade_env.policy import lexical
from jade_env.policy.wording import fill, words

if TYPE_CHECKING:
    from jade_env.envs.pool import Pool
    from jade_env.envs.turn import Action, Turn
    from jade_env.game.outputs import Value
    from jade_env.game.view import Workflow
    from jade_env.retrieval import Retriever
    from jade_env.scenario import Scenario

SAMPLE = 100
"""Questions of the train split that the workflows are compared on."""
_SPLIT = "train"

Pair = tuple["Workflow", "Workflow"]
_chosen: dict[tuple[str, str, str], Pair] = {}


class HeuristicPolicy:
    """Plays one pair of workflows, for the original question and for sub-questions, with simple rules for every role.

    The pair is the one of highest net score on the first `SAMPLE` questions of the train split, played by these same rules;
    it is found at the first turn of a planner, once a process. Decomposers take the first split offered, the rewriter fills
    in earlier answers, the selector keeps every document, the generator takes the span of the best lexical score, and the
    summarizer lists, compares or takes the last answer, as the question's words suggest. No role looks at gold.
    """

    def __init__(
        self,
        scenario: Scenario,
        data: str | Path | None = None,
        pair: Pair | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        """Make the policy.

        Args:
            scenario: what will be played.
            data: the data location for scenarios with files; else JADE_DATA.
            pair: the workflows to play, in place of the best pair.
            retriever: one of your own, to choose them with.
        """
        self._scenario, self._data, self._pair, self._retriever = scenario, data, pair, retriever
        self._rules: Mapping[str, Callable[[Turn], Value]] = {
            "workflow": self._workflow,
            "subquestions_serial": first_split,
            "subquestions_parallel": first_split,
            "query": _query,
            "document_ids": _everything,
            "answer": _answer,
            "verdict": _accept,
            "search_or_answer": _solve,
            "document": _hide,
        }

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return a candidate's number a turn, or in text mode the text that says it.

        Raises:
            DataError: the scenario has no train split to choose a workflow on.
            RetrievalError: the retriever fails while it is chosen.
        """
        return [self._act(turn) for turn in turns]

    def _act(self, turn: Turn) -> Action:
        value = self._rules[turn.kind](turn)
        return turn.format(value) if turn.mode == "text" else turn.candidates.index(value) + 1

    @property
    def pair(self) -> Pair:
        """The workflows played: for the original question, and for sub-questions."""
        if self._pair is None:
            own = self._retriever.identity if self._retriever else ""
            key = (self._scenario.model_dump_json(exclude={"mode"}), str(self._data), own)
            if key not in _chosen:
                _chosen[key] = _best_pair(self._scenario, self._data, self._retriever)
            self._pair = _chosen[key]
        return self._pair

    def _workflow(self, turn: Turn) -> Workflow:
        wanted, legal = self.pair[turn.view.depth > 0], turn.view.workflows
        return wanted if wanted in legal else plainest(legal)


def _best_pair(scenario: Scenario, data: str | Path | None, retriever: Retriever | None) -> Pair:
    """Play every pair that the rules tell apart and return the best; the first of equals."""
    from jade_env.envs.pool import Pool
    from jade_env.scenario import as_scenario

    try:
        pool = Pool(as_scenario(scenario, "discrete"), SAMPLE, split=_SPLIT, data=data, retriever=retriever)
    except DataError as error:
        raise DataError(f"heuristic chooses its workflow on the split {_SPLIT}: {error}") from None
    leaf = _distinct(pool.rules.leaf_workflows)
    pairs = [(root, plainest(leaf)) for root in leaf]
    pairs += [(root, below) for root in pool.rules.workflows if decomposes(root) for below in leaf]
    return max(pairs, key=lambda pair: _net(pool, HeuristicPolicy(scenario, data, pair)))


def _distinct(workflows: Sequence[Workflow]) -> list[Workflow]:
    """Workflows that these rules play differently: a selector that keeps everything makes no difference."""
    shortest: dict[Workflow, Workflow] = {}
    for workflow in sorted(workflows, key=len):
        shortest.setdefault(tuple(code for code in workflow if code != "DS"), workflow)
    return [workflow for workflow in workflows if workflow in shortest.values()]


def _net(pool: Pool, policy: HeuristicPolicy) -> float:
    """The mean net score over the pool's first episodes."""
    pool.reset(0)
    episodes = {episode.index: episode for episode in pool.episodes[: len(pool.questions)]}
    while turns := [turn for turn in pool.turns() if turn.episode in episodes]:
        pool.step({turn.id: action for turn, action in zip(turns, policy.act(turns), strict=True)})
    if reason := next((episode.truncated for episode in episodes.values() if episode.truncated), ""):
        raise RetrievalError(f"the best fixed workflow cannot be chosen on {_SPLIT}: {reason}")
    return sum(episode.result.value for episode in episodes.values() if episode.result) / len(episodes)


def first_split(turn: Turn) -> Value:
    """The first split into several sub-questions, else the first candidate."""
    return next((value for value in turn.candidates if len(value) > 1), turn.candidates[0])


def _query(turn: Turn) -> Value:
    """The query with the answers so far in it; where it has no place for them, the candidate that changes fewest words."""
    view = turn.view
    filled = fill(view.query, view.answers)
    if filled != view.query and filled in turn.candidates:
        return filled
    wanted = set(words(filled))
    return min(turn.candidates, key=lambda query: len(wanted.symmetric_difference(words(str(query)))))


def _everything(turn: Turn) -> Value:
    """As many documents as a candidate holds."""
    return max(turn.candidates, key=len)


def _accept(turn: Turn) -> Value:
    return "accept"


def _solve(turn: Turn) -> Value:
    """Search for the question once, then answer."""
    searches = [value for value in turn.candidates if value[0] == "search"]
    if searches and not turn.view.history:
        return searches[0]
    answers = [str(value[1]) for value in turn.candidates if value[0] == "answer"]
    return "answer", answers[lexical.best_span(turn.view.query, turn.view.documents, answers)]


def _hide(turn: Turn) -> Value:
    """Put the passage ranked last in the place of the document ranked first."""
    return 0, f"Passage{len(turn.view.pool) - 1}"


def _answer(turn: Turn) -> Value:
    candidates = [str(value) for value in turn.candidates]
    if turn.card.candidates == "summary":
        return _summary(turn.view.query, [answer for _, answer in turn.view.answers], candidates)
    return candidates[lexical.best_span(turn.view.query, turn.view.documents, candidates)]


def _summary(query: str, answers: Sequence[str], candidates: Sequence[str]) -> str:
    """An answer from those of the sub-questions: by comparison, agreement, as a list, or the last one."""
    given = [answer for answer in answers if answer]
    wanted = given[-1] if given else candidates[0]
    if lexical.wanted(query) == lexical.YES_NO:
        wanted = "yes" if len({answer.lower() for answer in given}) == 1 else "no"
    elif lexical.polarity(query) and " or " in query:
        wanted = _extreme(query, answers, candidates)
    elif len(given) > 1 and (" and " in query or "," in query):
        longest = max(candidates, key=len)
        wanted = longest if all(answer in longest for answer in given) else wanted
    return wanted if wanted in candidates else candidates[0]


def _extreme(query: str, answers: Sequence[str], candidates: Sequence[str]) -> str:
    """The item whose sub-answer is the largest or smallest number; the first item where the numbers are not known."""
    values = [lexical.number(answer) for answer in answers]
    items = [candidate for candidate in candidates if candidate in query and candidate not in answers]
    known = [value for value in values if value is not None]
    if len(items) != len(values) or len(known) < len(values):
        return items[0] if items else candidates[0]
    items.sort(key=query.index)
    return items[values.index(max(known) if lexical.polarity(query) > 0 else min(known))]
