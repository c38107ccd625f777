"""Plays nothing: an adversary that does so changes no document, every other turn is left to its fallback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jade_env.game.outputs import DocumentKind

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn


class IdlePolicy:
    """For agents that are to be as good as absent: an adversary leaves the documents as they are, others play the no-op."""

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the text that leaves everything alone where there is one, else the empty text, which is malformed."""
        return [turn.format(DocumentKind.LEFT) if turn.kind == "document" else "" for turn in turns]
