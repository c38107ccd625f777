"""A turn as policies see it: who acts, the prompt to read, the numbered candidates, and how an action becomes an output.

Actions are text or numbers, for any turn: 0 is the no-op (malformed on one's own turn), i means candidate i.
"""

from __future__ import annotations

from typing import Any, TypeVar

from jade_env.agent import PromptStyle
from jade_env.envs.candidates import candidates
from jade_env.errors import JadeError
from jade_env.game import prompts
from jade_env.game.episode import Episode
from jade_env.game.episode import Turn as GameTurn
from jade_env.game.outputs import KINDS, Output, Value, choose, parse
from jade_env.game.trace import Node, Path
from jade_env.game.view import View
from jade_env.scenario import Mode

TurnId = tuple[int, Path, int]
Action = str | int
T = TypeVar("T")


class Written(str):
    """Text as an action, from a policy that knows how many tokens it has written: elsewhere words are counted.

    Args:
        text: what was written.
        tokens: how many tokens that took.
    """

    __slots__ = ("tokens",)

    tokens: int

    def __new__(cls, text: str, tokens: int) -> Written:
        """Make it of a text and a number."""
        found = super().__new__(cls, text)
        found.tokens = tokens
        return found

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        """For copies and for pickling."""
        return str(self), self.tokens


class Turn:
    """An open turn of one episode.

    Attributes:
        id: (episode, node path, step): the same in every view of the game, hashable.
        agent: who acts: the role's name, with its team's before it where there are two.
        card: the role's card.
        episode: the episode's number in the seeded order.
        seed: seed of the order; (seed, *id) names the turn's random stream.
        mode: what the scenario expects of this agent; both kinds of action are understood anyway.
    """

    __slots__ = ("_candidates", "_style", "_user", "agent", "card", "game_turn", "id", "mode", "seed")

    def __init__(self, turn: GameTurn, seed: int, mode: Mode, style: PromptStyle) -> None:
        self.game_turn = turn
        self.card = turn.card
        self.agent = turn.agent
        self.id: TurnId = (turn.episode.index, turn.node.path, turn.step)
        self.seed, self.mode, self._style = seed, mode, style
        self._candidates: list[Value] | None = None
        self._user = ""

    @property
    def episode(self) -> int:
        """The episode's number."""
        return self.id[0]

    @property
    def role(self) -> str:
        """The role's name, whatever the team."""
        return self.card.name

    @property
    def team(self) -> str:
        """The side of a duel that it is played for; `team` beside an adversary; "" where all play together."""
        rules = self.game_turn.episode.rules
        return rules.team or ("team" if rules.adversary and self.card is not rules.adversary else "")

    @property
    def kind(self) -> str:
        """The kind of output expected."""
        return self.game_turn.kind

    @property
    def view(self) -> View:
        """What the agent may read."""
        return self.game_turn.view

    @property
    def node(self) -> Node:
        """The node in play. For gold-aware policies and learners; an honest policy reads `view`."""
        return self.game_turn.node

    @property
    def game(self) -> Episode:
        """The live episode. For gold-aware policies and learners; an honest policy reads `view`."""
        return self.game_turn.episode

    @property
    def prompt(self) -> str:
        """The prompt as one text."""
        return f"{self.card.prompts[self._style].system}\n{self._user_message()}"

    @property
    def messages(self) -> list[prompts.Message]:
        """The prompt as chat messages: a system message for the role, a user message for the view."""
        return self.messages_in(self._style)

    def messages_in(self, style: PromptStyle) -> list[prompts.Message]:
        """The same in another style of prompt than the scenario's."""
        prompt = self.card.prompts[style]
        user = self._user_message() if style == self._style else prompts.fill(prompt.user, self.view)
        return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]

    def _user_message(self) -> str:
        if not self._user:
            self._user = prompts.fill(self.card.prompts[self._style].user, self.view)
        return self._user

    @property
    def candidates(self) -> list[Value]:
        """The numbered outputs, in reading order: action i is `candidates[i - 1]`."""
        if self._candidates is None:
            self._candidates = candidates(self.card.candidates, self.view)
        return self._candidates

    def format(self, value: Value) -> str:
        """The text that says `value`."""
        return KINDS[self.kind].format(value)

    def output(self, action: Action) -> Output:
        """The output that an action means; any text and any number mean one.

        Raises:
            JadeError: the action is neither text nor a number.
        """
        if isinstance(action, str):
            tokens = action.tokens if isinstance(action, Written) else None
            turn = self.game_turn
            return parse(turn.kind, str(action), tokens, **turn.context)
        number = whole(action, None)
        if number is None:
            raise JadeError(f"{self.agent}: an action is text or a candidate's number, not {action!r}")
        values = self.candidates
        if 1 <= number <= len(values):
            return choose(self.kind, values[number - 1], counted=self.game.rules.reward.token_cost > 0)
        return parse(self.kind, "", 0, **self.game_turn.context)

    def __repr__(self) -> str:
        return f"Turn({self.agent}, id={self.id})"


def whole(action: Any, otherwise: T) -> int | T:
    """An action as the whole number that it is, whatever type says it; `otherwise` for everything else."""
    try:
        number = int(action)
        return number if number == action else otherwise
    except (TypeError, ValueError, OverflowError):
        return otherwise
