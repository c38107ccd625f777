"""A PPO step of a policy of Qwen2.5-0.5B's size with the paper's lengths on a GPU: rates, share of its peak, and memory.

    python benchmarks/large_step.py [--model Qwen/Qwen2.5-0.5B-Instruct] [--turns 128] [--prompt 3072] [--new 1024] [--profile]

The weights are random, of the model's published sizes (bf16, float32 copies in the optimizer); nothing is downloaded. Each turn has
its own prompt of random tokens and is sampled to its full length; the update then learns from these turns with made-up
advantages, in one epoch, without a critic, a reference or an entropy bonus. The memory of "outputs" is that of their prompts, too.
Matrix products alone are counted: 2 FLOP a weight and token forward, twice as many backward (layers that are computed again for
the gradient are not counted twice), attention's own by the lengths, the output head for output tokens only. "Share of peak" (MFU)
is against a product of 8192 x 8192 x 8192 in bf16 on the same card, and against --peak, the datasheet's. Runs anywhere; on a CPU
take `--turns 2 --prompt 96 --new 32 --layers 2`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, Qwen2Config

from jade_env.errors import JadeError
from jade_env.learning import ppo
from jade_env.learning.memory_plan import KNOWN
from jade_env.learning.optimizer import adamw
from jade_env.learning.ppo import Row, Settings
from jade_env.policy.backbone import DTYPES, Backbone, pick_device
from jade_env.policy.generation import Generator
from jade_env.policy.sampling import Request, Sample
from jade_env.policy.tiny import make_tokenizer

GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Work:
    """What a phase did: its seconds, tokens (new ones, or those read), floating-point operations, and the highest memory in GiB."""

    seconds: float
    tokens: int
    flop: float
    peak: float


def random_model(name: str, layers: int, dtype: Any, device: str) -> Backbone:
    """A model of the sizes that are known of `name`, with random weights and a small tokenizer."""
    sizes = KNOWN[name] | ({"num_hidden_layers": layers} if layers else {})
    config = Qwen2Config(**sizes, max_position_embeddings=32_768, bos_token_id=None, eos_token_id=2, pad_token_id=0)
    torch.manual_seed(0)
    with torch.device(device):
        causal: Any = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])  # type: ignore[no-untyped-call]
    return Backbone(causal, make_tokenizer(), name).eval()


def requests_of(backbone: Backbone, turns: int, prompt: int, new: int) -> list[Request]:
    """Turns with prompts of so many random tokens, each its own."""
    rng = np.random.default_rng(0)
    ids = rng.integers(10, backbone.causal.config.vocab_size, (turns, prompt))
    return [Request(("turn", i), tuple(row), new) for i, row in enumerate(ids.tolist())]


def flops(backbone: Backbone, tokens: float, pairs: float, output: float) -> float:
    """Floating-point operations of a forward pass: over tokens, over pairs of tokens that attend, and over output tokens."""
    config = backbone.causal.config
    layers = sum(p.numel() for name, p in backbone.causal.named_parameters() if p.ndim == 2 and ".layers." in name)
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    attention = 2 * 2 * config.num_hidden_layers * width * pairs
    return float(2 * layers * tokens + attention + 2 * config.hidden_size * config.vocab_size * output)


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(backbone: Backbone, do: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, seconds, and the highest memory in GiB (0 on a CPU)."""
    on_gpu = backbone.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    synchronize(backbone.device.type)
    start = time.perf_counter()
    found = do()
    synchronize(backbone.device.type)
    return found, time.perf_counter() - start, torch.cuda.max_memory_allocated() / GIB if on_gpu else 0.0


def generate(backbone: Backbone, requests: list[Request], slots: int) -> tuple[list[Sample], Work, Work]:
    """Samples, and the work of reading prompts (and one token each) and of writing the rest."""
    generator = Generator(backbone, slots=slots, ignore_stop=True, share=False)
    first = [Request(r.key, r.prompt, 1) for r in requests]
    n, prompt, new = len(requests), len(requests[0].prompt), requests[0].max_new
    _, reading, peak = timed(backbone, lambda: generator.run(first))
    read = Work(reading, n * prompt, flops(backbone, n * prompt, n * prompt * (prompt + 1) / 2, n), peak)
    samples, both, peak = timed(backbone, lambda: generator.run(requests))
    later = new - 1
    pairs = n * (later * prompt + later * (later + 1) / 2)
    return samples, read, Work(both - reading, n * later, flops(backbone, n * later, pairs, n * later), peak)


def learn(backbone: Backbone, samples: list[Sample], settings: Settings) -> Callable[[], tuple[dict[str, float], Work]]:
    """An update, to be called again and again with the same optimizer."""
    rng = np.random.default_rng(0)
    rows = [Row(s, "generator", np.full(len(s.output), rng.normal(), np.float32)) for s in samples]
    length = np.array([len(s.prompt) + len(s.output) - 1 for s in samples], float)
    output = sum(len(s.output) for s in samples)
    optimizer = adamw([p for p in backbone.parameters() if p.requires_grad], 5e-7)

    def update() -> tuple[dict[str, float], Work]:
        told, seconds, peak = timed(
            backbone, lambda: ppo.update(backbone, None, optimizer, rows, settings, np.random.default_rng(0))
        )
        work = 3 * settings.epochs * flops(backbone, length.sum(), (length * (length + 1) / 2).sum(), output)
        return told, Work(seconds, int(told["tokens"]), work, peak)

    return update


def matmul_rate(device: str, size: int = 8192) -> float:
    """FLOP/s of a bf16 matrix product."""
    size = size if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(12):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        rates.append(2 * size**3 / (time.perf_counter() - start))
    return statistics.median(rates[3:])


def profiled(console: Console, title: str, backbone: Backbone, do: Callable[[], Any]) -> None:
    """The kernels that take the longest, and how much of the time the GPU works at all."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        _, seconds, _ = timed(backbone, do)
    events = [e for e in profiler.key_averages() if e.self_device_time_total > 0 and e.device_type.name == "CUDA"]
    busy = sum(e.self_device_time_total for e in events) / 1e6
    table = Table(title=f"{title}: kernels run {busy / seconds:.0%} of {seconds:.2f} s (profiler on)")
    for column in ("kernel", "calls", "share of kernels"):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for event in sorted(events, key=lambda e: -e.self_device_time_total)[:10]:
        table.add_row(event.key[:80], f"{event.count:,}", f"{event.self_device_time_total / 1e6 / busy:.1%}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(KNOWN), default="Qwen/Qwen2.5-0.5B-Instruct")
    parser.add_argument("--layers", type=int, default=0, help="fewer than the model has, to try the script out")
    parser.add_argument("--turns", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=3072)
    parser.add_argument("--new", type=int, default=1024)
    parser.add_argument("--slots", type=int, nargs="+", default=[128])
    parser.add_argument("--budget", type=int, nargs="+", default=[16_384], help="tokens in the model at once")
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument(
        "--repeats", type=int, default=3, help="updates after one to warm up; the (lower) median counts"
    )
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations")
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--peak", type=float, default=989.0, help="TFLOP/s of the datasheet (H100 and H200 SXM, dense bf16: 989)"
    )
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if min(args.turns, args.prompt, args.new - 1, args.repeats, args.minibatches, *args.slots, *args.budget) < 1:
        parser.error("numbers are at least 1, and --new at least 2")
    device = pick_device(args.device)
    console = Console(width=130)
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    ceiling = matmul_rate(device)
    backbone = random_model(args.model, args.layers, args.dtype, device)
    if args.checkpointing:
        backbone.causal.gradient_checkpointing_enable({"use_reentrant": False})
    requests = requests_of(backbone, args.turns, args.prompt, args.new)
    weights = sum(p.numel() for p in backbone.causal.parameters())
    console.print(
        f"{card}, torch {torch.__version__}; {args.model}, {weights / 1e6:.0f} M random weights in {args.dtype}; {args.turns} "
        f"turns of {args.prompt} + {args.new} tokens; a large matrix product runs at {ceiling / 1e12:.0f} TFLOP/s"
    )
    table = Table(title=f"a PPO step of the policy: one epoch, {args.minibatches} minibatches")
    for column in ("phase", "seconds", "tokens / s", "TFLOP/s", "of the product", "of the datasheet", "GiB at most"):
        table.add_column(column, justify="left" if column == "phase" else "right")

    def add(phase: str, work: Work) -> None:
        rate = work.flop / work.seconds
        of_peak = f"{rate / 1e12 / args.peak:.1%}" if device == "cuda" and args.dtype == "bf16" else ""
        shares = f"{rate / ceiling:.1%}", of_peak
        table.add_row(
            phase,
            f"{work.seconds:.2f}",
            f"{work.tokens / work.seconds:,.0f}",
            f"{rate / 1e12:.1f}",
            *shares,
            f"{work.peak:.1f}",
        )

    samples: list[Sample] = []
    for slots in args.slots:
        generate(backbone, requests_of(backbone, min(slots, args.turns), args.prompt, 4), slots)  # warm
        samples, read, written = generate(backbone, requests, slots)
        add(f"prompts, {slots} slots", read)
        add(f"outputs, {slots} slots", written)
    for budget in args.budget:
        update = learn(backbone, samples, Settings(minibatches=args.minibatches, token_budget=budget))
        update()
        works = [update()[1] for _ in range(args.repeats)]
        add(f"update, {budget:,} tokens at once", sorted(works, key=lambda work: work.seconds)[(len(works) - 1) // 2])
    console.print(table)
    if args.profile and device == "cuda":
        few = requests_of(backbone, min(args.turns, args.slots[-1]), args.prompt, 32)
        generator = Generator(backbone, slots=args.slots[-1], ignore_stop=True, share=False)
        profiled(console, "32 tokens of each turn", backbone, lambda: generator.run(few))
        some = learn(
            backbone, samples[: max(1, args.turns // 8)], Settings(minibatches=1, token_budget=args.budget[-1])
        )
        some()
        profiled(console, "an update from an eighth of the turns", backbone, some)


if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        sys.exit(f"large_step: {error}")
    except torch.OutOfMemoryError as error:
        sys.exit(
            f"large_step: out of memory: lower --slots or --budget, or take --checkpointing ({str(error).splitlines()[0]})"
        )
