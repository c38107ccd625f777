"""A role of your own: one card, and whoever plays it.

    python examples/own_role.py

The hypothesizer takes the rewriter's place (code QR): in the manner of HyDE (arXiv 2212.10496) it writes the sentence that would
answer the question, to search for it. It writes a `query`, a kind of output that the game knows, so the card is all that the game
needs. Here a rule plays it; a language model would by the card's prompt, and a network by its numbered candidates.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jade_env
from jade_env.envs.turn import Action, Turn
from jade_env.learning.evaluation import evaluate
from jade_env.policy import make_policy

CARD = """
name: hypothesizer
code: QR
summary: writes the sentence that would answer the question, to search for it
writes: query
candidates: query
reads: [query]
max_tokens: 96
prompts:
  full:
    system: |
      Write one sentence that would answer the question, as an encyclopedia would have it, with a blank where you do not know.
      Write it between <query> and </query> and nothing else.
      Example: <query>James Joyce was born in ___.</query>
    user: "Question: {query}"
  brief:
    system: "suppose"
    user: "question : {query}"
"""


OTHER_WORDS = {
    "born": "came into the world",
    "work": "joined the staff",
    "founded": "set up",
    "written": "came from the pen",
    "directed": "brought to the screen",
}


class Hypothesizer:
    """Says the question as a statement, in words that a passage might use. Any object with `act` is a policy."""

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        return [turn.format(self.suppose(turn.view.query)) for turn in turns]

    def suppose(self, question: str) -> str:
        words = question.rstrip("?").split()
        return " ".join([*words[1:], *(OTHER_WORDS[word] for word in words if word in OTHER_WORDS)])


def main(folder: Path, episodes: int = 100) -> dict[str, float]:
    card = folder / "hypothesizer.yaml"
    card.write_text(CARD)
    team = [str(card), "document_selector", "answer_generator"]
    found = {}
    for workflow in ("R,AG", "QR,R,AG"):
        game = {"team": team, "workflows": [workflow], "retriever.top_k": 1, "data.mixture": {"single": 1.0}}
        scenario = jade_env.load_scenario("static", game)
        members = {"default": "heuristic"} | ({"hypothesizer": Hypothesizer()} if "QR" in workflow else {})
        rows = evaluate(make_policy(members, scenario), scenario, "dev", episodes)
        found[workflow] = sum(row.support_recall for row in rows) / len(rows)
        print(f"{workflow:8} played by {', '.join(jade_env.env(scenario).possible_agents)}: ", end="")
        print(f"{found[workflow]:.2f} of the supporting passages retrieved")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
