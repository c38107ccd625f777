"""An upper reference for discrete play: how far the candidates reach, chosen with the gold answers in sight.

It is a lower bound of the true ceiling: the root workflow and its split are found by playing them out, everything below is
greedy. Knows the game, the retriever and gold; whoever reports its figures should say that it peeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jade_env import metrics
from jade_env.envs.source import open_source
from jade_env.envs.turn import Turn
from jade_env.errors import ConfigError, DataError
from jade_env.game import outputs, rewards
from jade_env.game.episode import Episode, Rules
from jade_env.game.workflow import RETRIEVE, decomposes, plainest
from jade_env.policy import gold
from jade_env.policy.heuristic import first_split
from jade_env.policy.wording import PLACE, content_words
from jade_env.scenario import WorldData

if TYPE_CHECKING:
    from jade_env.envs.turn import Action
    from jade_env.game.outputs import Value
    from jade_env.game.view import Workflow
    from jade_env.questions import Question
    from jade_env.retrieval import Document, Retriever
    from jade_env.scenario import Scenario

MAX_SPLITS = 8
"""Splits of a question that are played out, for each decomposer."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How an episode may begin: the root's workflow, its split if it decomposes, and the workflow of the sub-questions."""

    root: Workflow
    split: tuple[str, ...] = ()
    below: Workflow = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What playing out found for one question: the best opening, and the best one that begins with each workflow."""

    best: Opening
    by_root: Mapping[Workflow, Opening]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What gold ids mean: the corpus that a question is asked over, and a retriever over it."""

    retriever: Retriever
    titles: Mapping[str, str]

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Document]]:
        """The documents found for each query."""
        return [[hit.document for hit in hits] for hits in self.retriever.search(queries, top_k)]


class CeilingPolicy:
    """Plays each question's best opening, and greedily below it, among the numbered candidates."""

    def __init__(self, scenario: Scenario, data: str | Path | None = None, retriever: Retriever | None = None) -> None:
        """Make the policy for a scenario; its data is opened when first needed. `retriever`: one of your own, to look with."""
        self._scenario, self._rules = scenario, Rules.of(scenario)
        self._source = open_source(scenario, data, retriever)
        self._plans: dict[tuple[str, str], Plan] = {}
        self._shelves: dict[str, Shelf] = {}
        self._choosers: Mapping[str, Callable[[Turn, Shelf], Value]] = {
            "subquestions_serial": lambda turn, shelf: first_split(turn),
            "subquestions_parallel": lambda turn, shelf: first_split(turn),
            "query": _best_query,
            "document_ids": _supporting_documents,
            "answer": _best_answer,
            "verdict": lambda turn, shelf: "accept",
        }
        if foreign := [
            card.name for card in scenario.cards.values() if card.writes not in ("workflow", *self._choosers)
        ]:
            raise ConfigError(f"ceiling: it knows no best play for {', '.join(foreign)} of {scenario.name}")

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return a candidate's number a turn, or in text mode the text that says it.

        Raises:
            ConfigError: a turn's question is not of the scenario that this policy was made for.
        """
        return [self._act(turn) for turn in turns]

    def _act(self, turn: Turn) -> Action:
        shelf = self._shelf(turn.game.question)
        root = turn.game.trace.root
        if turn.kind == "workflow" or (turn.kind.startswith("subquestions") and turn.node is root):
            plan = self._plan(turn.game.question, shelf)
            opening = plan.by_root.get(root.workflow, plan.best) if root.workflow else plan.best
            value = self._choose(turn, shelf, opening)
        else:
            value = self._choose(turn, shelf, None)
        return turn.format(value) if turn.mode == "text" else turn.candidates.index(value) + 1

    def _choose(self, turn: Turn, shelf: Shelf, opening: Opening | None) -> Value:
        """What an opening says, else the greedy choice."""
        if turn.kind == "workflow":
            legal = turn.view.workflows
            wanted = opening.below if turn.node.parent and opening else opening.root if opening else ()
            return wanted if wanted in legal else plainest(legal)
        if opening and opening.split and turn.node.parent is None and opening.split in turn.candidates:
            return opening.split
        return self._choosers[turn.kind](turn, shelf)

    def _shelf(self, question: Question) -> Shelf:
        """The corpus of a question; a world has one for each split, whose name the question's id begins with."""
        is_world = isinstance(self._scenario.data, WorldData)
        split, _, number = question.id.rpartition("_") if is_world else ("train", "", "")
        if is_world and not self._knows(question, split, number):
            raise ConfigError(f"ceiling: question {question.id!r} is not one of {self._scenario.name} as it was given")
        if split not in self._shelves:
            titles = {document.id: document.title for document in self._source.documents(split)}
            self._shelves[split] = Shelf(self._source.retriever(split), titles)
        return self._shelves[split]

    def _knows(self, question: Question, split: str, number: str) -> bool:
        try:
            return self._source.questions(split)[int(number)].text == question.text
        except (DataError, ValueError, IndexError):
            return False

    # ---- playing out ----------------------------------------------------------------------------------------------

    def _plan(self, question: Question, shelf: Shelf) -> Plan:
        key = (question.id, question.text)
        if key not in self._plans:
            self._plans[key] = self._search(question, shelf)
        return self._plans[key]

    def _search(self, question: Question, shelf: Shelf) -> Plan:
        """Play out every opening, the cheapest workflows first, until no other can be worth more."""
        worth: dict[Opening, tuple[float, int]] = {}
        best = -float("inf")
        for root in sorted(self._rules.workflows, key=lambda workflow: (self._least_cost(workflow), len(workflow))):
            if worth and best >= 1.0 - self._least_cost(root) - 1e-9:
                break
            for opening in self._openings(question, root):
                episode = self._play_out(question, opening, shelf)
                value = episode.result.value if episode.result else 0.0
                worth[opening] = (value, -episode.ledger.turns)
                best = max(best, value)
        by_root: dict[Workflow, Opening] = {}
        for opening in worth:  # the first of the best ones
            known = by_root.get(opening.root)
            if known is None or worth[opening] > worth[known]:
                by_root[opening.root] = opening
        return Plan(max(by_root.values(), key=lambda opening: worth[opening]), by_root)

    def _least_cost(self, workflow: Workflow) -> float:
        """What a workflow costs at least."""
        rounds = 2 if decomposes(workflow) else 1
        reward = self._rules.reward
        cost = reward.round_cost * rewards.share(rounds - reward.free_rounds, reward.cap)
        return cost + reward.retrieval_cost * rewards.share(int(RETRIEVE in workflow), reward.cap)

    def _openings(self, question: Question, root: Workflow) -> Iterator[Opening]:
        if not decomposes(root):
            yield Opening(root)
            return
        episode = Episode(question, self._rules)
        turn = episode.turns[0]
        if turn.kind == "workflow":
            episode.act(turn, outputs.choose("workflow", root))
            turn = episode.turns[0]
        below = plainest(self._rules.leaf_workflows)
        for split in Turn(turn, 0, "discrete", self._scenario.prompt).candidates[:MAX_SPLITS]:
            yield Opening(root, cast("tuple[str, ...]", split), below)

    def _play_out(self, question: Question, opening: Opening, shelf: Shelf) -> Episode:
        episode = Episode(question, self._rules)
        while not episode.finished:
            for request in list(episode.pending_queries):
                episode.supply(request, shelf.search([request.query], request.top_k)[0])
            if episode.turns:
                turn = Turn(episode.turns[0], 0, "discrete", self._scenario.prompt)
                episode.act(turn.game_turn, outputs.choose(turn.kind, self._choose(turn, shelf, opening)))
        return episode


def _best_query(turn: Turn, shelf: Shelf) -> Value:
    """The query that finds most supporting documents that earlier steps have not; then one without open places; the first."""
    node, found = turn.node, set[str]()
    if node.parent and node.parent.serial:
        earlier = node.parent.children[: node.path[-1] - 1]
        found = {document.id for child in earlier for document in child.retrieved or ()}
    missing = set(turn.game.question.supporting_ids) - found
    queries = [str(value) for value in turn.candidates]
    results = shelf.search(queries, turn.game.rules.top_k)

    def merit(i: int) -> tuple[int, bool]:
        return sum(document.id in missing for document in results[i]), PLACE.search(queries[i]) is None

    return queries[max(range(len(queries)), key=merit)]


def _supporting_documents(turn: Turn, shelf: Shelf) -> Value:
    """The supporting documents, if any is there, else all: the candidate that comes nearest."""
    supporting = set(turn.game.question.supporting_ids)
    places = range(len(turn.view.documents))
    wanted = {i for i in places if turn.view.documents[i].id in supporting} or set(places)
    subsets = [cast("tuple[int, ...]", value) for value in turn.candidates]
    return max(subsets, key=lambda subset: (len(wanted.intersection(subset)), -len(subset)))


def _best_answer(turn: Turn, shelf: Shelf) -> Value:
    """The candidate nearest to the gold answer of the node's question; the first of equals."""
    question, answers = turn.game.question, [str(value) for value in turn.candidates]
    if turn.node.parent is None:
        reward = turn.game.rules.reward

        def worth(answer: str) -> tuple[float, float]:
            result = rewards.score(question, answer, rewards.Ledger(), reward)
            return result.outcome, result.scores.f1

        return max(answers, key=worth)
    if question.decomposition:
        return max(answers, key=_step_merit(turn))
    return max(answers, key=_link_merit(turn, shelf))


def _step_merit(turn: Turn) -> Callable[[str], tuple[float, float]]:
    """How near an answer is to that of the node's gold step, and then to that of any step."""
    question = turn.game.question
    steps = gold.steps_of(turn.node, gold.chain(question))
    own = [question.decomposition[steps[-1]].answer]
    every = [step.answer for step in question.decomposition]
    return lambda answer: (metrics.score(answer, own).f1, metrics.score(answer, every).f1)


def _link_merit(turn: Turn, shelf: Shelf) -> Callable[[str], float]:
    """Without gold steps: how near an answer is to the final one, or to a supporting title that the question does not name."""
    question = turn.game.question
    asked = content_words(question.text)
    titles = [shelf.titles[id] for id in question.supporting_ids if id in shelf.titles]
    links = [title for title in titles if not content_words(title) <= asked]

    def merit(answer: str) -> float:
        final = metrics.score(answer, question.golden_answers).f1
        return max(1.01 * final, metrics.score(answer, links).f1 if links else 0.0)

    return merit
