"""An episode played in the terminal, turn by turn; a person may take one role, a policy plays the others.

Shows a person only what the role may read; gold documents and answers appear when the episode is over. Knows no file and no
learner; `cli.py` hands it an opened game.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jade_env.envs.branches import plain
from jade_env.envs.rendering import rich_tree
from jade_env.envs.table import Table
from jade_env.envs.turn import Turn
from jade_env.errors import ConfigError
from jade_env.game.episode import Episode
from jade_env.game.outputs import Value
from jade_env.scenario import Mode, Scenario

if TYPE_CHECKING:
    from rich.console import Console

    from jade_env.policy.base import Policy

Read = Callable[[str], str]


class _Left(Exception):
    """The person has had enough."""


class Session:
    """One episode at the terminal.

    Args:
        scenario: the game.
        table: its questions and retriever.
        policy: plays every role but the person's.
        console: where to print.
        read: asks for a line; EOFError leaves the game.
        role: the agent the person plays; None to watch.
        mode: how the person acts; the scenario's mode of the role where not given.
    """

    def __init__(
        self,
        scenario: Scenario,
        table: Table,
        policy: Policy,
        console: Console,
        read: Read,
        role: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        agents = [agent for rules in table.sides for agent in rules.agents]
        if role is not None and role not in agents:
            raise ConfigError(f"--as: {role!r} has no turns in {scenario.name}; roles: {', '.join(agents)}")
        self._scenario, self._table, self._policy = scenario, table, policy
        self._console, self._read, self._role, self._mode = console, read, role, mode

    def play(self, episodes: Sequence[Episode]) -> bool:
        """Play to the end, or until the person leaves; return whether the end was reached. In a duel the sides alternate."""
        self._say("question", episodes[0].question.text, "bold")
        self._console.print(self._how_to(), style="grey50", highlight=False)
        try:
            self._table.settle(episodes)
            while left := [episode for episode in episodes if not episode.finished]:
                self._take(min(left, key=lambda episode: episode.ledger.turns))
                self._table.settle(episodes)
        except (_Left, EOFError):
            self._console.print("\nleft the game", style="grey50")
            return False
        self._console.print()
        for episode in episodes:
            self._console.print(rich_tree(episode))
        return True

    def _how_to(self) -> str:
        if self._role is None:
            return "Enter plays the next turn, q leaves"
        return f"you play {self._role}; p shows the role's prompt, q leaves"

    def _take(self, episode: Episode) -> None:
        """One turn."""
        game_turn = episode.turns[0]
        mode = self._mode or self._scenario.mode_of(game_turn.card.name)
        turn = Turn(game_turn, self._table.dealer.seed, mode, self._scenario.prompt)
        self._announce(turn)
        if turn.agent == self._role:
            action = self._ask(turn)
        else:
            action = self._policy.act([turn])[0]
            if self._role is None:
                self._line("")
        output = turn.output(action)
        penalty = episode.act(game_turn, output)
        self._say("writes", output.text)
        if not output.valid:
            self._say("malformed", f"it takes effect as its fallback and costs {-penalty:g}", "red")

    def _announce(self, turn: Turn) -> None:
        """Whose turn it is, and what the role reads."""
        view, place = turn.view, ".".join(map(str, turn.node.path))
        self._console.print()
        self._console.rule(f"{turn.agent}{', sub-question ' + place if place else ''}", align="left", style="cyan")
        self._say("reads", view.query)
        for i, (question, answer) in enumerate(view.answers, 1):
            self._say(f"#{i}", f"{question} = {answer}")
        for i, document in enumerate(view.documents):
            self._say(f"Document{i}", f"{plain(document.title)}: {plain(document.text, 300)}", "grey62")

    def _ask(self, turn: Turn) -> str | int:
        """The person's action."""
        if turn.mode == "text":
            example = turn.format(turn.candidates[0]) if turn.candidates else ""
            self._say("format", f"such as {example}", "grey50")
            return self._line("write", turn)
        for i, value in enumerate(turn.candidates, 1):
            self._say(str(i), _shown(turn, value))
        while True:
            line = self._line(f"1 to {len(turn.candidates)}", turn)
            if line.isdecimal() and 1 <= int(line) <= len(turn.candidates):
                return int(line)
            self._say("", f"a number from 1 to {len(turn.candidates)}, please", "yellow")

    def _line(self, prompt: str, turn: Turn | None = None) -> str:
        """A line from the person; obeys `q` and, on the person's turn, `p`."""
        while True:
            line = self._read(f"{prompt}> ").strip()
            if line == "q":
                raise _Left
            if line != "p" or turn is None:
                return line
            for message in turn.messages:
                self._say(message["role"], message["content"])

    def _say(self, label: str, text: str, style: str = "") -> None:
        """A labelled line; markup and control characters in it mean nothing."""
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid.grid(padding=(0, 1))
        grid.add_column(width=11, no_wrap=True, style="grey50")
        grid.add_column()
        lines = [plain(line) for line in text.splitlines()] or [""]
        grid.add_row(Text(label), Text("\n".join(lines), style=style))
        self._console.print(grid)


def _shown(turn: Turn, value: Value) -> str:
    """A candidate as a person reads it."""
    if turn.kind == "document_ids":
        return "keep " + (", ".join(f"Document{i}" for i in value) or "none")
    if turn.kind in ("search_or_answer", "document"):
        return turn.format(value)
    if isinstance(value, tuple):
        joint = "," if turn.kind == "workflow" else "  |  "
        return joint.join(map(str, value))
    return value
