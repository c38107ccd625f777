"""Tokens per CPU second of one PPO update on the turns of a real rollout, and where its time goes. One thread.

    python benchmarks/update.py [--turns 1500] [--repeats 5] [--budgets 512 2048 4096]

The scripted teacher plays `cooperative` with brief prompts; its outputs are the samples, their advantages are made up. The
model is a random Llama with jade-tiny's tokenizer: width 128, 3 layers, 4 heads, inner 256, context 512, tied embeddings.
"Random order" is the same update, of as many rows a microbatch as ours has in the mean, but in the order of the shuffle,
padded to its longest row. Only tokens of rows count, never padding; each row counts whole, also where a prompt is shared.
In the second rollout each question is played 2 plans x 3 executions, and a tenth of the outputs is another candidate's, as
a policy that samples would have it. Each repeat runs all arms, in turn; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

import jade_env
from jade_env import streams
from jade_env.learning import ppo
from jade_env.learning.batches import Columns, Ints, microbatches
from jade_env.learning.ppo import Row, Settings
from jade_env.learning.states import tokens_at_once
from jade_env.policy import make_policy
from jade_env.policy.backbone import Backbone
from jade_env.policy.sampling import Sample
from jade_env.policy.tiny import make_tiny

RANDOM = "random order"


def rollout(backbone: Backbone, turns: int, group_size: tuple[int, int] = (1, 1), noise: float = 0.0) -> list[Row]:
    """At least so many turns of the teacher, as rows with the backbone's own log-probabilities."""
    pool = jade_env.make_pool("cooperative", n=60, group_size=group_size, mode="text", overrides={"prompt": "brief"})
    teacher = make_policy("teacher", "cooperative")
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    while len(rows) < turns:
        open_turns = pool.turns()
        texts = [str(text) for text in teacher.act(open_turns)]
        for i, turn in enumerate(open_turns):
            draw = streams.generator("noise", *turn.id)
            if draw.random() < noise:
                texts[i] = turn.format(turn.candidates[int(draw.integers(len(turn.candidates)))])
        prompts = backbone.encode_batch([turn.messages for turn in open_turns])
        for turn, text, prompt in zip(open_turns, texts, prompts, strict=True):
            output = tuple(backbone.encode_output(text))
            sample = Sample(tuple(prompt), output, np.zeros(len(output), np.float32))
            advantage = np.full(len(output), rng.normal(), np.float32)
            rows.append(Row(sample, turn.agent, advantage, entropy=0.01 * (turn.agent == "planner")))
        pool.step({turn.id: text for turn, text in zip(open_turns, texts, strict=True)})
    found = ppo.log_probs(backbone, rows)
    return [replace(row, sample=replace(row.sample, logprobs=own)) for row, own in zip(rows, found, strict=True)]


def in_random_order(rows_each: int) -> Callable[..., Iterator[tuple[Ints, Ints]]]:
    """Microbatches of a fixed number of rows, as they come."""

    def chunks(columns: Columns, chosen: Ints, budget: int, sharing: Any) -> Iterator[tuple[Ints, Ints]]:
        for i in range(0, len(chosen), rows_each):
            rows = chosen[i : i + rows_each]
            yield rows, np.arange(len(rows))

    return chunks


@contextmanager
def using(**functions: Any) -> Iterator[None]:
    """The update with some of its functions replaced."""
    kept = {name: getattr(ppo, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(ppo, name, function)
        yield
    finally:
        for name, function in kept.items():
            setattr(ppo, name, function)


def one_update(rows: list[Row], settings: Settings, seed: int = 0) -> tuple[dict[str, float], float]:
    """Figures and CPU seconds of an update of a fresh model."""
    backbone = make_tiny(layers=3)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=3e-4, foreach=True)
    start = time.process_time()
    figures = ppo.update(backbone, None, optimizer, rows, settings, np.random.default_rng(seed))
    return figures, time.process_time() - start


def parts(rows: list[Row], settings: Settings) -> dict[str, float]:
    """CPU seconds of the parts of an update; the backward pass of the head ends when the gradient reaches its input."""
    spent: dict[str, float] = defaultdict(float)
    began = [0.0]

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            result = function(*args, **options)
            spent[name] += time.process_time() - start
            return result

        return call

    def scores(backbone: Backbone, hidden: torch.Tensor, *rest: Any) -> Any:
        if hidden.requires_grad:

            def reached(_: torch.Tensor) -> None:
                spent["head and losses, backward"] += time.process_time() - began[0]

            hidden.register_hook(reached)
        return kept_scores(backbone, hidden, *rest)

    def backward(tensor: torch.Tensor) -> None:
        began[0] = time.process_time()
        kept_backward(tensor)
        spent["backward"] += time.process_time() - began[0]

    kept_scores, kept_backward = ppo._scores, torch.Tensor.backward
    torch.Tensor.backward = backward  # type: ignore[assignment, method-assign]
    try:
        with using(
            output_states=timed("decoder, forward", ppo.output_states),
            _scores=timed("head, forward", scores),
            step_within=timed("optimizer", ppo.step_within),
            collate=timed("batches", ppo.collate),
        ):
            _, total = one_update(rows, settings)
    finally:
        torch.Tensor.backward = kept_backward  # type: ignore[method-assign]
    spent["decoder, backward"] = spent.pop("backward") - spent["head and losses, backward"]
    return {**spent, "everything else": total - sum(spent.values())}


def matmul_rate(m: int, k: int, n: int, seconds: float = 1.0) -> float:
    """GFLOP/s of a float32 matrix product."""
    a, b = torch.randn(m, k), torch.randn(k, n)
    for _ in range(3):
        a @ b
    start, runs = time.process_time(), 0
    while time.process_time() - start < seconds:
        a @ b
        runs += 1
    return 2e-9 * m * k * n * runs / (time.process_time() - start)


def flops(backbone: Backbone, rows: list[Row]) -> float:
    """Floating-point operations of an update's matrix products: forward, and twice as many backward."""
    config = backbone.causal.config
    inner = sum(p.numel() for name, p in backbone.causal.named_parameters() if p.ndim == 2 and "layers" in name)
    length = np.array([len(row.sample.prompt) + len(row.sample.output) - 1 for row in rows])
    output = sum(len(row.sample.output) for row in rows)
    attention = 2 * 2 * config.num_hidden_layers * config.hidden_size * (length * (length + 1) / 2).sum()
    return float(3 * (2 * inner * length.sum() + attention + 2 * config.hidden_size * config.vocab_size * output))


def compare(console: Console, title: str, rows: list[Row], arms: dict[str, Settings], repeats: int) -> float:
    """Print a table of rates; the first arm's is returned."""
    columns, settings = Columns.of(rows), next(iter(arms.values()))
    shuffled = np.array_split(np.random.default_rng(0).permutation(len(rows)), settings.minibatches)
    budget = settings.token_budget or tokens_at_once(make_tiny(layers=1))
    count = sum(1 for part in shuffled for _ in microbatches(columns, part, budget))
    each = max(1, round(len(rows) / count))
    tokens, once = int(columns.length_R.sum()), np.unique(columns.same_R, return_index=True)[1]
    repeated = (columns.prompt_R.sum() - columns.prompt_R[once].sum()) / tokens
    console.print(
        f"{title}: {len(rows)} turns, {tokens:,} tokens ({tokens / len(rows):.0f} a turn), {repeated:.0%} of them in "
        f"a prompt that is there already; {settings.minibatches} minibatches, random order {each} rows a microbatch"
    )
    rates: dict[str, list[float]] = defaultdict(list)
    told: dict[str, dict[str, float]] = {}
    one_update(rows, settings)
    for repeat in range(repeats):
        for name, how in {**arms, RANDOM: replace(settings, share_prompts=False)}.items():
            with using(microbatches=in_random_order(each) if name == RANDOM else microbatches):
                told[name], seconds = one_update(rows, how, repeat)
            rates[name].append(told[name]["tokens"] / seconds)
    table = Table(title=f"one update, median of {repeats}, one CPU thread")
    for column in ("microbatches", "tokens / CPU s", "min - max", "padding", "shared", "x random"):
        table.add_column(column, justify="left" if column == "microbatches" else "right")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[RANDOM], strict=True))
        spread = f"{min(found):,.0f} - {max(found):,.0f}"
        figures = f"{told[name]['padding']:.1%}", f"{told[name]['shared']:.1%}", f"{ratio:.2f}"
        table.add_row(name, f"{statistics.median(found):,.0f}", spread, *figures)
    console.print(table)
    return statistics.median(next(iter(rates.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budgets", type=int, nargs="*", default=[512, 2048, 4096])
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    backbone, plain = make_tiny(layers=3), Settings(share_prompts=False)
    rows = rollout(backbone, args.turns)
    arms = {"by length, at most 1024 tokens": plain}
    arms |= {f"by length, at most {b} tokens": replace(plain, token_budget=b) for b in args.budgets}
    rate = compare(console, "each question once", rows, arms, args.repeats)
    grouped = rollout(backbone, args.turns, (2, 3), 0.1)
    arms = {"by length, at most 1024 tokens": plain, "prompts shared, at most 1024": Settings()}
    arms |= {f"prompts shared, at most {b}": Settings(token_budget=b) for b in args.budgets}
    compare(console, "groups of 2 x 3", grouped, arms, args.repeats)

    spent = parts(rows, plain)
    shares = Table(title="where the time goes, each question once, by length")
    shares.add_column("part")
    shares.add_column("share", justify="right")
    for name, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        shares.add_row(name, f"{seconds / sum(spent.values()):.1%}")
    console.print(shares)

    tokens = sum(len(row.sample.prompt) + len(row.sample.output) - 1 for row in rows)
    large, own = matmul_rate(2048, 2048, 2048), matmul_rate(1024, 128, 256)
    total = flops(backbone, rows)
    achieved = total / tokens * rate / 1e9
    console.print(
        f"matrix products: {total / tokens / 1e6:.2f} MFLOP a token, forward and backward; {achieved:.0f} GFLOP/s achieved of "
        f"{large:.0f} in a product of 2048 x 2048 x 2048 ({achieved / large:.0%}); the layers' own shape reaches {own:.0f}"
    )
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        one_update(rows[: len(rows) // 4], plain)
    averages = [event for event in profiler.key_averages() if event.self_cpu_time_total > 0]
    whole = sum(event.self_cpu_time_total for event in averages)
    operators = Table(title="operators, own time (torch.profiler)")
    for column in ("operator", "calls", "share"):
        operators.add_column(column, justify="left" if column == "operator" else "right")
    for event in sorted(averages, key=lambda event: -event.self_cpu_time_total)[:12]:
        operators.add_row(event.key, f"{event.count:,}", f"{event.self_cpu_time_total / whole:.1%}")
    console.print(operators)


if __name__ == "__main__":
    main()
