"""How a training step went, in numbers, and whether a collapse shows. Knows episodes and experience; knows no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jade_env.game.episode import Episode
from jade_env.language_recipe import SUB_PLANNER
from jade_env.learning import credit
from jade_env.learning.experience import Experience
from jade_env.learning.rollout import Rollout
from jade_env.learning.shares import Share, sub_planner

LOW_ENTROPY, HIGH_MALFORMED, HIGH_SHARE, HIGH_FAILED = 0.01, 0.5, 0.95, 0.1
"""Bounds of the warnings: nats a token of a planner, share of a role's outputs, share of one workflow for original questions, share
of episodes that a retriever cut short."""
FEW_PLANS = 12
"""Of fewer plans it says nothing that they are all the same."""
OF_ROLES = ("kl", "approx_kl", "clip_fraction", "advantage", "ratio_max", "explained_variance")


def episode_figures(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Means over the episodes of a step: reward and its parts, costs, and the shares of workflows.

    `ds_use` is the share of rounds that retrieved in which documents were selected, `malformed` the share of outputs that were.
    Truncated episodes count in `failed` only.
    """
    done = [episode for episode in episodes if episode.result is not None]
    figures: dict[str, Any] = {"episodes": len(episodes), "failed": 1.0 - len(done) / max(1, len(episodes))}
    nodes = [node for episode in done for node in episode.trace.nodes if node.workflow]
    outcome = [episode.result.outcome for episode in done if episode.result]
    net = [episode.result.value for episode in done if episode.result]
    figures |= {
        "net": _mean(net),
        "outcome": _mean(outcome),
        "cost": _mean([o - n for o, n in zip(outcome, net, strict=True)]),
        "penalty": _mean([episode.penalties for episode in done]),
        "f1": _mean([episode.result.scores.f1 for episode in done if episode.result]),
        "em": _mean([episode.result.scores.em for episode in done if episode.result]),
    }
    for name in ("rounds", "retrievals", "turns", "tokens"):
        figures[name] = _mean([float(getattr(episode.ledger, name)) for episode in done])
    outputs = sum(episode.ledger.turns for episode in done)
    figures["malformed"] = sum(episode.ledger.malformed for episode in done) / outputs if outputs else None
    retrieving = [node for node in nodes if "R" in (node.workflow or ())]
    figures["ds_use"] = _mean([float("DS" in (node.workflow or ())) for node in retrieving])
    figures["workflows"] = _workflows(node.workflow for node in nodes if node.parent is None)
    figures["sub_workflows"] = _workflows(node.workflow for node in nodes if node.parent is not None)
    return figures


def planned(episodes: Sequence[Episode], learned: Collection[str]) -> dict[str, dict[str, float]]:
    """The shares of workflows of original questions, by the planner who chose them, of those who learn."""
    found: dict[str, list[tuple[str, ...] | None]] = {}
    for episode in episodes:
        planner = episode.rules.planner
        if episode.result is not None and planner and (agent := episode.rules.agent(planner)) in learned:
            found.setdefault(agent, []).append(episode.trace.root.workflow)
    return {agent: _workflows(chosen) for agent, chosen in found.items()}


def _workflows(chosen: Iterable[tuple[str, ...] | None]) -> dict[str, float]:
    counts = Counter(",".join(workflow or ()) for workflow in chosen)
    total = sum(counts.values())
    return {name: count / total for name, count in sorted(counts.items())}


def role_figures(rollout: Rollout, figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Turns, malformed rate, penalty, output length, share that was cut and entropy of each part; with what the update says of it.

    The entropy, in nats a token, is estimated by all that was sampled: minus the mean log-probability. What the update says is of
    the turns that it learned from.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for episode in rollout.episodes:
        for turn in episode.trace.played:
            sample = rollout.samples.get((episode.index, turn.path, turn.step))
            if sample is None:
                continue
            below = turn.output.kind == "workflow" and turn.path
            role = turn.agent.removeprefix(f"{episode.rules.team}_")
            part = sub_planner(turn.agent, role) if below else turn.agent
            of = found.setdefault(part, {"malformed": [], "penalty": [], "length": [], "cut": [], "surprise": []})
            of["malformed"].append(float(not turn.output.valid))
            of["penalty"].append(0.0 if turn.output.valid else episode.rules.reward.format_penalty)
            of["length"].append(float(len(sample.output)))
            of["cut"].append(float(not sample.stopped))
            of["surprise"].append(-float(sample.logprobs.sum()))
    means: dict[str, dict[str, float]] = {}
    for part, of in sorted(found.items()):
        entropy = sum(of.pop("surprise")) / max(1.0, sum(of["length"]))
        means[part] = {"turns": float(len(of["cut"])), **{name: float(np.mean(values)) for name, values in of.items()}}
        means[part]["entropy"] = entropy
    for part, of_part in means.items():
        of_part |= {name: value for name in OF_ROLES if (value := figures["roles"].get(f"{part}/{name}")) is not None}
    return means


def critic_figures(experience: Experience, found: Sequence[Share], kinds: Mapping[int, str]) -> dict[str, float]:
    """The critic's explained variance of returns, beside that of a held-out table that knows kind, role and workflow.

    Returns:
        `explained_variance`, `table_explained_variance`, and `PART/explained_variance` of each part's own turns.
    """
    rows = [experience[share.place] for share in found]
    value = np.array([float(np.mean(share.value)) for share in found])
    target = np.array([float(np.mean(share.return_)) for share in found])
    workflow = {row.episode: ",".join(map(str, row.value)) for row in experience if row.planning_root}
    columns = [
        np.unique(names, return_inverse=True)[1]
        for names in (
            [kinds.get(row.question, "") for row in rows],
            [share.part for share in found],
            ["" if row.planning_root else workflow.get(row.episode, "") for row in rows],
        )
    ]
    apart, parts = np.array([row.question for row in rows]), np.array([share.part for share in found])
    return {
        "explained_variance": credit.explained_variance(value, target),
        "table_explained_variance": credit.table_explained_variance(columns, target, apart),
        **{
            f"{part}/explained_variance": credit.explained_variance(value[parts == part], target[parts == part])
            for part in sorted(set(parts.tolist()))
        },
    }


def warnings(
    record: Mapping[str, Any],
    learned: Collection[str],
    workflows: int = 2,
    plans: int = FEW_PLANS,
    began: Mapping[str, Any] | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> list[str]:
    """Sentences on what looks like a collapse in the record of a step. Entropy and plans count for agents that learn.

    Args:
        record: of a step, as `metrics.jsonl` has it.
        learned: agents that learn.
        workflows: how many the planner may choose among; of one alone it cannot be blamed for taking it.
        plans: how many it wrote for original questions; a few may be alike by chance.
        began: the `roles` of the first step; this one's where not given.
        shares: of workflows, as `planned` has them.
    """
    said, planners = [], {agent for agent in learned if "planner" in agent}
    planners |= {part for part in record["roles"] if part.endswith(SUB_PLANNER) and _of_one(part, planners)}
    for part, figures in record["roles"].items():
        if figures["malformed"] > HIGH_MALFORMED:
            mend = (
                "as they were when training began: begin from a model that knows this game and its words (jade warm-start)"
                if (began or record["roles"]).get(part, figures)["malformed"] > HIGH_MALFORMED
                else "raise kl or lower learning_rate"
            )
            said.append(f"{part}: {figures['malformed']:.0%} of its outputs are malformed: {mend}")
        if part in planners and figures["entropy"] < LOW_ENTROPY:
            said.append(
                f"{part}: its entropy is {figures['entropy']:.4f} nats a token: it no longer explores; raise kl or entropy"
            )
    if (failed := record["played"].get("failed", 0.0)) > HIGH_FAILED:
        said.append(f"{failed:.0%} of its episodes were cut short, as the retriever failed, and taught nothing")
        return said
    for planner, chosen in (shares or {}).items() if workflows > 1 and plans >= FEW_PLANS else ():
        for workflow, share in chosen.items():
            if share > HIGH_SHARE:
                said.append(
                    f"{planner}: {share:.0%} of the questions are planned as {workflow}: it may have collapsed; raise kl or entropy"
                )
    return said


def _of_one(part: str, planners: Collection[str]) -> bool:
    """Whether plans of sub-questions are written by one of some planners."""
    team = part.removesuffix(SUB_PLANNER)
    return any(agent.startswith(team) for agent in planners)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
