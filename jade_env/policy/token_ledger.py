"""What a served model has cost: requests and tokens by agent. Knows no server; whoever asks one writes it down here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from jade_env.game.episode import Rules
from jade_env.policy.base import Policy
from jade_env.policy.mixed import MixedPolicy
from jade_env.scenario import Scenario


@dataclass(slots=True)
class Spent:
    """What one agent's turns have cost so far.

    Attributes:
        requests: requests sent, tries that failed included.
        failures: those of them that brought no answer.
        prompt_tokens: tokens read, as the server counts them; 0 where it does not say.
        completion_tokens: tokens written, in the same way.
        empty: answers without any text.
        cut: answers that ended at their token limit.
    """

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    empty: int = 0
    cut: int = 0

    def add(self, **counts: int) -> None:
        """Count more of something."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)


class TokenLedger:
    """Requests and tokens by agent; `print(ledger)` shows them as a table.

    Args:
        title: the table's first line: which model, and where.
    """

    def __init__(self, title: str = "") -> None:
        self.title = title
        self._by_agent: dict[str, Spent] = {}

    def of(self, agent: str) -> Spent:
        """An agent's account, to be added to."""
        return self._by_agent.setdefault(agent, Spent())

    @property
    def by_agent(self) -> Mapping[str, Spent]:
        """What each agent has cost so far, by name in alphabetical order; a copy."""
        return {agent: replace(self._by_agent[agent]) for agent in sorted(self._by_agent)}

    @property
    def total(self) -> Spent:
        """What all of them have cost together."""
        total = Spent()
        for spent in self._by_agent.values():
            total.add(**{name: getattr(spent, name) for name in _COUNTS})
        return total

    def __str__(self) -> str:
        rows = [("", *(name.replace("_", " ") for name in _COUNTS))]
        rows += [_row(agent, spent) for agent, spent in (*self.by_agent.items(), ("total", self.total))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        return "\n".join([*([self.title] if self.title else []), *lines])


def ledgers(policy: Policy, scenario: Scenario) -> list[TokenLedger]:
    """The ledger of everybody in a team that keeps one, each once."""
    members = [policy]
    if isinstance(policy, MixedPolicy):
        members = [policy.member(*names) for names in Rules.names(scenario).values()]
    found = {id(member): getattr(member, "ledger", None) for member in members}
    return [ledger for ledger in found.values() if isinstance(ledger, TokenLedger)]


_COUNTS = [field.name for field in fields(Spent)]


def _row(name: str, spent: Spent) -> tuple[str, ...]:
    return name, *(f"{getattr(spent, count):,}" for count in _COUNTS)
