"""Play a user's own scenario and say what is wrong with it, in sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jade_env import streams
from jade_env.agent import PLACE
from jade_env.envs.pool import Pool
from jade_env.errors import DataError, JadeError
from jade_env.game.episode import Episode, Rules
from jade_env.metrics import normalize
from jade_env.questions import Question, Step
from jade_env.scenario import Scenario, as_scenario

EPISODES = 64
MOST_DOCUMENTS = 1_000_000
"""Of larger corpora the ids are not compared."""
_ANSWER = re.compile(r"#([1-9][0-9]{0,2})")


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: `problems` must be mended, `hints` are worth a look, `facts` is what was played."""

    scenario: str
    problems: tuple[str, ...]
    hints: tuple[str, ...]
    facts: Mapping[str, float]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.scenario}: {'ok' if self.ok else 'not ok'}"]
        lines += [f"  problem: {line}" for line in self.problems] + [f"  hint: {line}" for line in self.hints]
        lines += [f"  {name}: {value:g}" for name, value in self.facts.items()]
        return "\n".join(lines)


def check_scenario(
    scenario: str | Path | Scenario,
    *,
    data: str | Path | None = None,
    split: str = "train",
    overrides: Mapping[str, Any] | None = None,
) -> Report:
    """Load a scenario, open its data, play random legal episodes in both modes, and explain what is wrong.

    Never raises for a mistake in the scenario or its data: the report names it.
    """
    try:
        loaded = as_scenario(scenario, None, overrides)
        pool = Pool(loaded, min(EPISODES, 16), split=split, data=data)
        facts, acted, reasons = _play(pool)
    except JadeError as error:
        return Report(str(scenario), (str(error),), (), {})
    return Report(loaded.name, tuple(_problems(facts, reasons)), tuple(_hints(pool, facts, acted)), facts)


def _play(pool: Pool) -> tuple[dict[str, float], Counter[str], Counter[str]]:
    """Random legal play, in turn by candidate number and by the text that says the same: facts, turns, and what cut it short."""
    done: list[Episode] = []
    acted = Counter[str]()
    while len(done) < EPISODES:
        actions: dict[Any, str | int] = {}
        for turn in pool.turns():
            acted[turn.agent] += 1
            number = 1 + streams.bits("check", turn.id) % len(turn.candidates)
            as_text = turn.episode % 2 == 1
            actions[turn.id] = turn.format(turn.candidates[number - 1]) if as_text else number
        done += pool.step(actions)
    scored = [episode for episode in done if episode.result]
    gold = [set(e.question.supporting_ids) for e in scored]
    found = [len(g & e.support_ids()) / len(g) for g, e in zip(gold, scored, strict=True) if g]
    facts = {
        "questions": float(len(pool.questions)),
        "episodes played": float(len(done)),
        "episodes without a score": float(len(done) - len(scored)),
        "turns an episode": sum(e.ledger.turns for e in done) / len(done),
        "retrievals an episode": sum(e.ledger.retrievals for e in done) / len(done),
        "malformed outputs": float(sum(e.ledger.malformed for e in done)),
        "f1 of random play": sum(e.result.scores.f1 for e in scored if e.result) / max(1, len(scored)),
    }
    if found:
        facts["support recall of random play"] = sum(found) / len(found)
    return facts, acted, Counter(episode.truncated for episode in done[:EPISODES] if episode.truncated)


def _problems(facts: Mapping[str, float], reasons: Counter[str]) -> list[str]:
    problems = []
    for reason, _ in reasons.most_common(1):
        problems.append(f"{reasons.total()} of {EPISODES} episodes were cut short and have no score: {reason}")
    if facts["malformed outputs"]:
        problems.append("candidates offered by the environment were malformed; report this with your scenario")
    return problems


def _hints(pool: Pool, facts: Mapping[str, float], acted: Counter[str]) -> list[str]:
    hints = []
    rules = Rules.of(pool.scenario)
    roles = rules.agents
    if barred := [",".join(w) for w in pool.scenario.workflows if w not in rules.workflows]:
        hints.append(f"limits: {' and '.join(barred)} can never run with max_depth below 1 or max_rounds below 2")
    idle = [name for name in pool.scenario.cards if name not in roles]
    if idle:
        hints.append(f"team: {', '.join(idle)} can never have a turn with these workflows")
    silent = [name for name in pool.agents if not acted[name]]
    if silent and not facts["episodes without a score"]:
        hints.append(f"{', '.join(silent)} had no turn in {EPISODES} episodes of random play")
    if facts["retrievals an episode"] == 0 and not facts["episodes without a score"]:
        hints.append("no workflow retrieves: answers come from the question alone")
    if facts["retrievals an episode"] and facts.get("support recall of random play", 1.0) == 0.0:
        hints.append("no retrieval found a supporting document: do supporting_ids match the corpus ids?")
    if not any(question.supporting_ids for question in pool.questions):
        hints.append("questions have no supporting_ids, so support recall cannot be reported")
    for card in pool.scenario.cards.values():
        if not {"query", "question"}.intersection(PLACE.findall(card.prompts[pool.scenario.prompt].user)):
            hints.append(
                f"{card.name}: its {pool.scenario.prompt} prompt has no {{query}}: it never reads the question"
            )
    splits: dict[str, Sequence[Question]] = {}
    for needed in ("train", "dev"):
        try:
            splits[needed] = pool.source.questions(needed)
        except DataError as error:
            hints.append(f"jade train learns from the split train and is judged on dev: {error}")
    both = set.intersection(*({question.text for question in asked} for asked in splits.values())) if splits else set()
    if len(splits) > 1 and both:
        hints.append(f"{len(both)} questions stand in train and in dev, where they tell nothing")
    return hints + _doubts(pool)


def _doubts(pool: Pool) -> list[str]:
    """What the questions say that cannot be."""
    hints = []
    rule = pool.scenario.reward.rule
    blank = [q.id for q in pool.questions if any(not normalize(gold, rule) for gold in q.golden_answers)]
    if blank:
        hints.append(
            f"{len(blank)} questions have a gold answer of which scoring leaves nothing (articles and punctuation do not count), "
            f"so that an empty answer is right, such as {blank[0]}"
        )
    early = [q.id for q in pool.questions if any(_looks_ahead(q.decomposition, i) for i in range(len(q.decomposition)))]
    if early:
        hints.append(f"{len(early)} decompositions use an answer before it is there (#k), such as that of {early[0]}")
    documents = pool.source.documents(pool.split)
    if len(documents) <= MOST_DOCUMENTS:
        known = {document.id for document in documents}
        lost = [name for question in pool.questions for name in question.supporting_ids if name not in known]
        if lost:
            hints.append(f"{len(lost)} supporting_ids are those of no passage in the corpus, such as {lost[0]!r}")
    return hints


def _looks_ahead(steps: Sequence[Step], place: int) -> bool:
    return any(int(k) > place for k in _ANSWER.findall(steps[place].question))
