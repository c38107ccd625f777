"""Turns per CPU second of our environments, beside PettingZoo's connect_four_v3, in one process: masked random play.

    python benchmarks/env_steps.py [--turns 20000] [--repeats 5] [--sizes 1000 ...] [--scenarios duel ...] [--bound]

Only turns with at least two legal actions count. Every episode plays a new question. Candidate caches are emptied before
each measurement. The queries of the very same play are answered beforehand and timed on their own. Medians are printed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import psutil
from pettingzoo.classic import connect_four_v3
from rich.console import Console
from rich.table import Table

import jade_env
from jade_env.envs import answers, candidates, features, spans
from jade_env.game.outputs import KINDS

TEXT = {
    "workflow": [KINDS["workflow"].format(w) for w in jade_env.load_scenario("cooperative").workflows],
    "subquestions_serial": ["<q1>Who founded it?</q1><q2>Where was #1 born?</q2>"],
    "subquestions_parallel": ["<q1>Where was the first born?</q1><q2>Where was the second born?</q2>"],
    "query": ["<query>birthplace of the founder</query>"],
    "document_ids": ["<id>Document0</id>", "<id>Document0,Document1</id>"],
    "answer": ["<answer>Toral</answer>", "<answer>1932</answer>"],
}
Play = Callable[[int], int]


def masked_random_aec(env: Any, turns: int, before: Callable[[], None] = lambda: None) -> int:
    """Masked random play of any PettingZoo AEC environment with an action mask; returns the turns that count.

    `before` is called at the beginning of each episode.
    """
    rng = np.random.default_rng(0)
    counted, first = 0, True
    while counted < turns:
        before()
        env.reset(seed=0 if first else None)
        first = False
        for _agent in env.agent_iter():
            observation, _, terminated, truncated, _ = env.last()
            if terminated or truncated:
                env.step(None)
                continue
            legal = np.flatnonzero(observation["action_mask"])
            counted += len(legal) > 1
            env.step(int(legal[rng.integers(len(legal))]))
    return counted


def forget_passages() -> None:
    """Whoever reads a passage next reads it for the first time."""
    answers.story.cache_clear()
    spans.passage.cache_clear()


def scripted_text_aec(env: Any, turns: int) -> int:
    rng = np.random.default_rng(0)
    counted, first = 0, True
    while counted < turns:
        env.reset(seed=0 if first else None)
        first = False
        for _agent in env.agent_iter():
            observation, _, terminated, truncated, _ = env.last()
            if terminated or truncated:
                env.step(None)
                continue
            assert observation
            texts = TEXT[env.turn.kind]
            counted += 1
            env.step(texts[rng.integers(len(texts))])
    return counted


def scripted_pool(scenario: Any, turns: int) -> int:
    rng = np.random.default_rng(0)
    pool = jade_env.make_pool(scenario, n=64, seed=0, mode="text")
    counted = 0
    while counted < turns:
        actions = {}
        for turn in pool.turns():
            texts = TEXT[turn.kind]
            actions[turn.id] = texts[rng.integers(len(texts))]
        counted += len(actions)
        pool.step(actions)
    return counted


def rate(play: Callable[[], int], repeats: int) -> list[float]:
    """Turns per CPU second of each repeat; the first call, not counted, fills the retrieval cache."""
    play()
    rates = []
    for _ in range(repeats):
        candidates.clear_caches()
        gc.collect()
        start = time.process_time()
        counted = play()
        rates.append(counted / (time.process_time() - start))
    return rates


def retrieval_cost(passages: int) -> float:
    """CPU milliseconds a query, in batches of 64, nothing cached."""
    scenario = jade_env.load_scenario("cooperative", {"data.passages": passages, "retriever.cache": 0})
    pool = jade_env.make_pool(scenario, n=1)
    queries = [question.text for question in pool.questions[:1024]]
    start = time.process_time()
    for i in range(0, len(queries), 64):
        pool.retriever.search(queries[i : i + 64], 3)
    return (time.process_time() - start) / len(queries) * 1000


def bound(turns: int, repeats: int) -> None:
    """Print what a discrete turn costs, and what it would if the generator's spans and their features came at no cost.

    They are recorded in one play and handed out in others, which are the same to the last action.
    """
    scenario = jade_env.load_scenario("cooperative", {"data.train": max(4000, turns // 2)})
    env = jade_env.env(scenario, "discrete")
    costs = [1e6 / found for found in rate(lambda: masked_random_aec(env, turns), repeats)]
    survey, rows = answers.survey.__wrapped__, answers.rows
    surveyed, packed = [], []

    def install(find: Callable[..., Any], pack: Callable[..., Any]) -> None:
        candidates.survey = features.survey = lru_cache(maxsize=8)(find)
        answers.rows = pack

    def recorded(found: list[Any], value: Any) -> Any:
        found.append(value)
        return value

    install(lambda *view: recorded(surveyed, survey(*view)), lambda found: recorded(packed, rows(found)))
    masked_random_aec(env, turns)

    def handed_out() -> int:
        finds, packs = iter(surveyed), iter(packed)
        install(lambda *view: next(finds), lambda found: next(packs))
        return masked_random_aec(env, turns)

    free = [1e6 / found for found in rate(handed_out, repeats)]
    base = [1e6 / found for found in rate(lambda: masked_random_aec(connect_four_v3.env(), turns), repeats)]
    for name, found in (("discrete AEC", costs), ("with answers at no cost", free), ("connect_four_v3", base)):
        print(f"{name:<24} {statistics.median(found):5.1f} us a turn ({min(found):.1f} - {max(found):.1f})")


def by_scenario(names: list[str], turns: int, repeats: int) -> Table:
    """What a turn costs in scenarios on the world, each with a question in every episode that is new."""
    table = Table(title=f"discrete AEC, microseconds a turn, median of {repeats} (min - max)")
    for column in ("scenario", "microseconds", "min - max"):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for name in names:
        env = jade_env.env(name, "discrete", overrides={"data.train": max(4000, turns)})
        costs = [1e6 / found for found in rate(lambda env=env: masked_random_aec(env, turns), repeats)]
        table.add_row(name, f"{statistics.median(costs):.0f}", f"{min(costs):.0f} - {max(costs):.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--scenarios", nargs="+", help="measure discrete AEC play in these scenarios instead")
    parser.add_argument("--bound", action="store_true", help="measure what answers at no cost would bring instead")
    args = parser.parse_args()
    console = Console()
    if args.bound:
        bound(args.turns, args.repeats)
        return
    if args.scenarios:
        console.print(by_scenario(args.scenarios, args.turns, args.repeats))
        return
    # one corpus and as many questions as are needed for a new one in every episode
    overrides = {"data.train": max(4000, args.turns // 2)}
    scenario = jade_env.load_scenario("cooperative", overrides)
    plays: dict[str, Callable[[], int]] = {
        "connect_four_v3, wrapped": lambda: masked_random_aec(connect_four_v3.env(), args.turns),
        "discrete AEC": lambda: masked_random_aec(jade_env.env(scenario, "discrete"), args.turns),
        "text AEC, scripted outputs": lambda: scripted_text_aec(jade_env.env(scenario, "text"), args.turns),
        "pool of 64, text, scripted outputs": lambda: scripted_pool(scenario, args.turns),
    }
    table = Table(title=f"turns per CPU second, median of {args.repeats} (min - max)")
    for column in ("environment", "turns / CPU s", "min - max", "x connect_four"):
        table.add_column(column, justify="left" if column == "environment" else "right")
    base = 0.0
    for name, play in plays.items():
        rates = rate(play, args.repeats)
        median = statistics.median(rates)
        base = base or median
        table.add_row(name, f"{median:,.0f}", f"{min(rates):,.0f} - {max(rates):,.0f}", f"{median / base:.2f}")
    console.print(table)

    sizes = Table(title="cost by size of the world: discrete AEC, same play, microseconds a turn")
    columns = ("passages", "us", "read anew", "us, all anew", "ms a query", "MB")
    for column in columns:
        sizes.add_column(column, justify="right")
    for passages in args.sizes:
        world = jade_env.load_scenario("cooperative", {**overrides, "data.passages": passages})
        env, turns = jade_env.env(world, "discrete"), args.turns // 2
        rates = rate(lambda env=env, turns=turns: masked_random_aec(env, turns), args.repeats)
        known = answers.story.cache_info()  # of the last measurement, which began without any
        anew_rates = rate(lambda env=env, turns=turns: masked_random_aec(env, turns, forget_passages), args.repeats)
        anew = f"{known.misses / (known.misses + known.hits):.0%}"
        milliseconds = retrieval_cost(passages)
        memory = psutil.Process().memory_info().rss / 1e6
        cost, at_worst = (f"{1e6 / statistics.median(found):.0f}" for found in (rates, anew_rates))
        sizes.add_row(f"{passages:,}", cost, anew, at_worst, f"{milliseconds:.3f}", f"{memory:,.0f}")
    console.print(sizes)


if __name__ == "__main__":
    main()
