"""GRPO on the pool: one language model plays every role, and a question's episodes are judged against each other.

    python examples/grpo.py 20                            # updates; needs jade-env[train]

`make_pool(group_size=8)` plays every question eight times. The tokens that were sampled are the ones trained on, each with its
log-probability at that time. `jade train small_world --policy jade_joint` is the grown-up form of this loop.
"""

import sys

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

import jade_env
from jade_env.learning import credit
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.sampling import Sample

GROUP, CLIP, LEARNING_RATE, MINIBATCHES = 8, 0.2, 3e-4, 2


def logprobs(backbone: Backbone, samples: list[Sample]) -> torch.Tensor:
    """The log-probability of every sampled token, one sample after another; prompts are read and not learned from."""
    ids = pad_sequence([torch.tensor(s.prompt + s.output) for s in samples], batch_first=True)
    written = torch.zeros_like(ids, dtype=torch.bool)
    for row, sample in zip(written, samples, strict=True):
        row[len(sample.prompt) : len(sample.prompt) + len(sample.output)] = True
    hidden = backbone.hidden(ids)[:, :-1][
        written[:, 1:]
    ]  # padding stands at the end, where a causal model cannot see it
    return -cross_entropy(backbone.logits(hidden), ids[:, 1:][written[:, 1:]], reduction="none")


def main(updates: int = 20, questions: int = 16) -> list[float]:
    torch.manual_seed(0)
    backbone = load_backbone("jade-tiny")  # or any Hugging Face model
    player = LanguageModelPolicy(backbone, Manner(prompt="brief"))
    optimizer = torch.optim.AdamW(backbone.parameters(), LEARNING_RATE)
    count, curve = questions * GROUP, []
    pool = jade_env.make_pool("small_world", n=count, group_size=GROUP, seed=0)
    for update in range(updates):
        last, samples, done = (update + 1) * count, {}, {}
        while len(done) < count:
            turns = [turn for turn in pool.turns() if turn.episode < last]
            drawn = dict(zip([t.id for t in turns], player.generator.run(player.requests(turns)), strict=True))
            samples |= drawn
            finished = pool.step({turn_id: sample.text for turn_id, sample in drawn.items()})
            done |= {episode.index: episode for episode in finished if episode.index < last}
        pool.seek(last)
        played = [(e, t, samples[e.index, t.path, t.step]) for e in done.values() for t in e.trace.played]
        outcome = [episode.result.value for episode, _, _ in played]
        penalty = [turn.penalty for _, turn, _ in played]
        number = np.array([episode.index for episode, _, _ in played])
        advantage = torch.tensor(credit.group(outcome, penalty, number, number // GROUP), dtype=torch.float32)
        for rows in torch.randperm(len(played)).chunk(MINIBATCHES):
            batch = [played[row][2] for row in rows]
            gain = advantage[rows].repeat_interleave(torch.tensor([len(sample.output) for sample in batch]))
            old = torch.from_numpy(np.concatenate([sample.logprobs for sample in batch]))
            ratio = (logprobs(backbone, batch) - old).exp()
            loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
            optimizer.step()
        curve.append(float(np.mean([episode.result.scores.f1 for episode in done.values()])))
        print(f"update {update + 1:3}: F1 {curve[-1]:.3f}, net {np.mean([e.result.value for e in done.values()]):+.3f}")
    return curve


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
