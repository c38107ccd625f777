"""New tokens per CPU second of our generation, beside Hugging Face's `generate`: the same model, prompts and greedy outputs.

    OMP_NUM_THREADS=1 python benchmarks/generation.py [--turns 600] [--repeats 5]

The prompts are those of two rollouts of scenario `cooperative` played by the teacher: all roles, all lengths, in order of play.
In the first each question is played once, in the second as joint training plays it: 3 plans x 2 executions, with a tenth of the
outputs another candidate's, so that siblings part as a learner's would.
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
from jade_env import streams
from jade_env.policy import make_policy, tiny
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.generation import Generator
from jade_env.policy.sampling import Request

Outputs = list[tuple[int, ...]]


def rollout(backbone: Backbone, turns: int, group_size: tuple[int, int] = (1, 1), noise: float = 0.0) -> list[Request]:
    """Requests of the first turns of 192 or 64 episodes at once, played by the teacher."""
    scenario = jade_env.load_scenario("cooperative", {"prompt": "brief"})
    episodes = 64 if group_size == (1, 1) else 192
    pool = jade_env.make_pool(scenario, n=episodes, seed=0, mode="text", group_size=group_size)
    policy = make_policy("teacher", scenario)
    requests: list[Request] = []
    while len(requests) < turns:
        open_turns = pool.turns()
        actions = list(policy.act(open_turns))
        for i, turn in enumerate(open_turns):
            draw = streams.generator("noise", *turn.id)
            if draw.random() < noise:
                actions[i] = turn.format(turn.candidates[int(draw.integers(len(turn.candidates)))])
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
    compare(backbone, rollout(backbone, args.turns), "each question once", args)
    compare(backbone, rollout(backbone, 3 * args.turns, (3, 2), 0.1), "3 plans x 2 executions", args)


def compare(backbone: Backbone, requests: Sequence[Request], what: str, args: argparse.Namespace) -> None:
    """Time every way of generating on the same requests."""
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
    different = len({request.prompt for request in requests})
    table = Table(
        title=f"{what}: {len(requests)} turns, {different} different prompts, {read:,} prompt tokens, {wanted:,} new tokens; "
        f"median of {args.repeats} (min - max)"
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
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


if __name__ == "__main__":
    main()
