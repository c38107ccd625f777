"""New tokens per CPU second of our generation, beside Hugging Face's `generate`: the same model, prompts and greedy outputs.

    OMP_NUM_THREADS=1 python benchmarks/generation.py [--turns 600] [--repeats 5]

The prompts are those of a rollout of scenario `cooperative` played by the teacher: all roles, all lengths, in order of play.
The model is an untrained jade-tiny, so each output is given the length of the teacher's: stop tokens are ignored and `max_new`
is set row by row. `generate` knows one length a batch and writes as many as the longest needs; only wanted tokens are counted.
Before each repeat our generator forgets what prompts have in common, as after an update of the weights. One thread; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig

import jade_env
from jade_env.policy import make_policy, tiny
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.generation import Generator
from jade_env.policy.sampling import Request

Outputs = list[tuple[int, ...]]


def rollout(backbone: Backbone, turns: int) -> list[Request]:
    """Requests of the first turns of 64 episodes at once, played by the teacher."""
    scenario = jade_env.load_scenario("cooperative", {"prompt": "brief"})
    pool = jade_env.make_pool(scenario, n=64, seed=0, mode="text")
    policy = make_policy("teacher", scenario)
    requests: list[Request] = []
    while len(requests) < turns:
        open_turns = pool.turns()
        actions = policy.act(open_turns)
        prompts = backbone.encode_batch([turn.messages for turn in open_turns])
        for turn, prompt, action in zip(open_turns, prompts, actions, strict=True):
            length = len(backbone.encode_output(turn.format(turn.output(action).value)))
            requests.append(Request(turn.id, tuple(prompt), length))
        pool.step({turn.id: action for turn, action in zip(open_turns, actions, strict=True)})
    return requests[:turns]


def ours(generator: Generator, requests: Sequence[Request]) -> Outputs:
    generator.reset()
    return [sample.output for sample in generator.run(requests)]


@torch.inference_mode()
def theirs(backbone: Backbone, requests: Sequence[Request], batch: int) -> Outputs:
    """`generate` on batches of prompts sorted by length and padded on the left."""
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt)) if batch > 1 else range(len(requests))
    outputs: Outputs = [()] * len(requests)
    for start in range(0, len(requests), batch):
        some = list(order)[start : start + batch]
        width = max(len(requests[i].prompt) for i in some)
        longest = max(requests[i].max_new for i in some)
        ids = torch.full((len(some), width), backbone.pad_id)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(some):
            prompt = requests[i].prompt
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        config = GenerationConfig(
            do_sample=False,
            min_new_tokens=longest,
            max_new_tokens=longest,
            pad_token_id=backbone.pad_id,
            eos_token_id=None,
        )
        made = backbone.causal.generate(ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
        for row, i in enumerate(some):
            outputs[i] = tuple(made[row][: requests[i].max_new])
    return outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--backbone", default="", help="a folder or a hub id; an untrained jade-tiny where not given")
    args = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone(args.backbone, device="cpu") if args.backbone else tiny.make_tiny()
    backbone.causal.generation_config.eos_token_id = None
    requests = rollout(backbone, args.turns)
    wanted = sum(request.max_new for request in requests)
    read = sum(len(request.prompt) for request in requests)
    mine = Generator(backbone, slots=args.slots, greedy=True, ignore_stop=True)
    alone = Generator(backbone, slots=args.slots, greedy=True, ignore_stop=True, share=False)
    ways: dict[str, Callable[[], Outputs]] = {
        f"ours, {args.slots} slots": lambda: ours(mine, requests),
        f"ours, {args.slots} slots, nothing shared": lambda: ours(alone, requests),
        "generate, sorted batches of 256": lambda: theirs(backbone, requests, 256),
        "generate, sorted batches of 64": lambda: theirs(backbone, requests, 64),
        "generate, turn by turn": lambda: theirs(backbone, requests, 1),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    outputs: dict[str, Outputs] = {}
    for generate in ways.values():
        generate()  # warm
    for _ in range(args.repeats):
        for way, generate in ways.items():  # interleaved, so that a busy machine slows all alike
            start = time.process_time()
            outputs[way] = generate()
            seconds[way].append(time.process_time() - start)
    first = next(iter(ways))
    base = statistics.median(seconds[first])
    table = Table(
        title=f"{len(requests)} turns, {read:,} prompt tokens, {wanted:,} new tokens; median of {args.repeats} (min - max)"
    )
    for column in ("way", "new tokens / CPU s", "min - max", "ours is x faster", "equal outputs"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, took in seconds.items():
        equal = sum(a == b for a, b in zip(outputs[way], outputs[first], strict=True)) / len(requests)
        median = statistics.median(took)
        table.add_row(
            way,
            f"{wanted / median:,.0f}",
            f"{wanted / max(took):,.0f} - {wanted / min(took):,.0f}",
            f"{median / base:.2f}",
            f"{equal:.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
