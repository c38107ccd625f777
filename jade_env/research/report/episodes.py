"""Episodes as the page reads them: small trees of numbers, and tables of strings and documents that they point into.

A string that many turns read, such as a line of a prompt, is kept once. Knows the form of the page's data; plays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jade_env.envs.turn import TurnId
from jade_env.game.episode import Episode
from jade_env.game.rewards import Result, own_costs, share
from jade_env.game.trace import Node, Played
from jade_env.questions import Question
from jade_env.research.report.listener import Heard
from jade_env.retrieval.types import Document

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Play:
    """Questions played by one team, one episode each.

    Attributes:
        name: of the team, such as "after training".
        note: one sentence on who played.
        episodes: by number.
        heard: the turns.
        advantages: of turns, where they are known.
        first_of: number of the episode that a shared plan was written in, by episode.
        critic: whether the turns' values are a critic's.
    """

    name: str
    note: str
    episodes: Mapping[int, Episode]
    heard: Mapping[TurnId, Heard]
    advantages: Mapping[TurnId, float] = field(default_factory=dict)
    first_of: Mapping[int, int] = field(default_factory=dict)
    critic: bool = False


class Book:
    """Collects what the trace viewer shows.

    Args:
        first: the side of a duel that is shown first.

    `tree()` is a mapping of JSON values: `strings`; `documents` as [id, title, text]; `agents`; `plays` as {name, note};
    `questions`, each with its `episodes` by the number of the play.
    """

    def __init__(self, first: str = "") -> None:
        self._first = first
        self._strings: dict[str, int] = {}
        self._documents: dict[tuple[str, str, str], int] = {}
        self._document_rows: list[list[str]] = []
        self._agents: dict[str, int] = {}
        self._questions: dict[str, dict[str, Any]] = {}
        self._plays: list[dict[str, str]] = []

    def add(self, play: Play) -> None:
        """Add the episodes of a team, or of each side of a duel; a question that was played before gets them side by side."""
        sides = {episode.rules.team for episode in play.episodes.values()}
        for side in sorted(sides, key=lambda name: (name != self._first, name)):
            number = len(self._plays)
            self._plays.append({"name": f"{play.name}, {side}" if side else play.name, "note": play.note})
            for _, episode in sorted(play.episodes.items()):
                if episode.rules.team == side:
                    self._question(episode.question)["episodes"][str(number)] = self._episode(play, episode)

    def tree(self) -> dict[str, Any]:
        """All of it."""
        return {
            "strings": list(self._strings),
            "documents": self._document_rows,
            "agents": list(self._agents),
            "plays": self._plays,
            "questions": list(self._questions.values()),
        }

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _question(self, question: Question) -> dict[str, Any]:
        if question.id not in self._questions:
            self._questions[question.id] = {
                "id": question.id,
                "text": question.text,
                "answers": list(question.golden_answers),
                "kind": question.kind,
                "gold": list(question.supporting_ids),
                "episodes": {},
            }
        return self._questions[question.id]

    def _episode(self, play: Play, episode: Episode) -> dict[str, Any]:
        ledger, result = episode.ledger, episode.result
        nodes = list(episode.trace.walk())
        places = {node.path: place for place, node in enumerate(nodes)}
        penalty = sum(turn.penalty for turn in episode.trace.played)
        tree: dict[str, Any] = {
            "answer": episode.answer,
            "f1": _short(result.scores.f1) if result else 0,
            "em": _short(result.scores.em) if result else 0,
            "net": _short(result.value) if result else 0,
            "rounds": ledger.rounds,
            "retrievals": ledger.retrievals,
            "latency": ledger.latency,
            "malformed": ledger.malformed,
            "workflow": ",".join(episode.trace.root.workflow or ()),
            "nodes": [self._node(node) for node in nodes],
            "turns": [self._turn(play, episode, turn, places[turn.path]) for turn in episode.trace.by_place()],
        }
        if penalty:
            tree["penalty"] = _short(penalty)
        if result:
            reward = episode.rules.reward
            retrieving = reward.retrieval_cost * share(ledger.retrievals, reward.cap)
            tree |= {
                "outcome": _short(result.outcome),
                "round_cost": _short(result.cost - retrieving),
                "retrieval_cost": _short(retrieving),
            }
            if result.own:
                tree["own_cost"] = _short(result.own)
            if reward.sharing != "team":
                tree["payoffs"] = self._payoffs(episode, result)
        if episode.truncated:
            tree["failed"] = episode.truncated
        return tree

    def _payoffs(self, episode: Episode, result: Result) -> list[dict[str, Any]]:
        """What was received: by each agent, with its share and what it paid itself, or in zero-sum games by each side."""
        reward, payoffs = episode.rules.reward, episode.payoffs
        if reward.sharing == "private":
            own = own_costs(episode.trace.played, reward)
            return [
                {
                    "name": agent,
                    "payoff": _short(value),
                    "common": _short(result.outcome - result.cost),
                    "share": _short(reward.weight_of(agent)),
                    "own": _short(own.get(agent, 0.0)),
                }
                for agent, value in payoffs.items()
            ]
        team = next((agent for agent in payoffs if agent not in episode.adversaries), "")
        names = {team: episode.rules.team or "each of the team"} | {agent: agent for agent in episode.adversaries}
        return [{"name": name, "payoff": _short(payoffs[agent])} for agent, name in names.items() if agent in payoffs]

    def _node(self, node: Node) -> dict[str, Any]:
        tree: dict[str, Any] = {"path": ".".join(map(str, node.path)), "question": node.question}
        if node.workflow:
            tree["workflow"] = ",".join(node.workflow)
        if node.query != node.question:
            tree["query"] = node.query
        if node.retrieved is not None:
            tree["retrieved"] = self._documents_of(node.retrieved)
            tree["kept"] = self._documents_of(node.documents)
        if node.answer is not None:
            tree["answer"] = node.answer
        if node.children:
            tree["serial"] = bool(node.serial)
        return tree

    def _turn(self, play: Play, episode: Episode, turn: Played, place: int) -> dict[str, Any]:
        address = (episode.index, turn.path, turn.step)
        heard, shared = play.heard.get(address), False
        if heard is None and episode.index in play.first_of:  # the plan was written in another execution of it
            address = (play.first_of[episode.index], turn.path, turn.step)
            heard, shared = play.heard.get(address), True
        tree: dict[str, Any] = {
            "agent": self._agents.setdefault(turn.agent, len(self._agents)),
            "node": place,
            "kind": turn.output.kind,
            "output": turn.output.text,
        }
        if not turn.output.valid:
            tree |= {"malformed": 1, "penalty": _short(turn.penalty)}
        if cost := own_costs([turn], episode.rules.reward).get(turn.agent):
            tree["cost"] = _short(cost)
        if episode.rules.reward.sharing == "private" and turn.agent in episode.payoffs:
            tree["payoff"] = _short(episode.payoffs[turn.agent])
        if shared:
            tree["shared"] = 1
        if heard is None:
            return tree
        tree["system"] = self._string(heard.system)
        tree["prompt"] = [self._string(line) for line in heard.user.split("\n")]
        if heard.reads:
            tree["reads"] = self._documents_of(heard.reads)
        if heard.retrieved is not None:
            tree["retrieved"] = self._documents_of(heard.retrieved)
        if heard.choice is not None:
            tree["choice"] = list(heard.choice)
        if heard.tokens:
            tree["tokens"] = heard.tokens
        for name, value in (("logprob", heard.logprob), ("value", heard.value if play.critic else None)):
            if value is not None:
                tree[name] = _short(value)
        if address in play.advantages:
            tree["advantage"] = _short(play.advantages[address])
        return tree

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _documents_of(self, documents: Sequence[Document]) -> list[int]:
        """The documents' places in the table; one whose text was changed by an agent is another document."""
        places = []
        for document in documents:
            key = document.id, document.title, document.text
            if key not in self._documents:
                self._documents[key] = len(self._documents)
                self._document_rows.append([document.id, document.title, document.text])
            places.append(self._documents[key])
        return places


def _short(value: float) -> float | int:
    """A number with few decimals; whole ones without a point."""
    rounded = round(float(value), DIGITS)
    return int(rounded) if rounded.is_integer() else rounded
