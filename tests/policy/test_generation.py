"""Claims on generation, made on small random models of three architectures with a tokenizer trained on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokenizers import ByteLevelBPETokenizer  # noqa: E402
from transformers import (  # noqa: E402
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from jade_env import streams  # noqa: E402
from jade_env.errors import ConfigError  # noqa: E402
from jade_env.policy.backbone import Backbone, Lora, load_backbone  # noqa: E402
from jade_env.policy.decoding import Batch  # noqa: E402
from jade_env.policy.generation import Generator  # noqa: E402
from jade_env.policy.prefixes import PrefixTree, common  # noqa: E402
from jade_env.policy.sampling import Request, Sample  # noqa: E402

TEXT = [
    "Question: where was the founder of the town born? <workflow>R,DS,AG</workflow>",
    "<id>Document0,Document2</id> <answer>in the north of the country, 1932</answer>",
    "split the question into parts that are solved side by side; write nothing else",
]
ROLES = (
    "plan the round : choose a workflow for the question and write nothing else : ",
    "select the helpful documents among these : ",
)
CONTEXT = 192
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Saved models by architecture."""
    place = tmp_path_factory.mktemp("models")
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(TEXT * 4, vocab_size=400, special_tokens=["<pad>", "<end>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trainer._tokenizer, pad_token="<pad>", eos_token="<end>")
    size = len(tokenizer)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, **ends}
    sizes |= {"max_position_embeddings": CONTEXT, "vocab_size": size, "initializer_range": 0.4}
    models = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=2)),
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(
                vocab_size=size, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, initializer_range=0.4, **ends
            )
        ),
    }

    def saved(name: str) -> Path:
        if not (place / name).exists():
            torch.manual_seed(3)
            models[name]().save_pretrained(place / name)
            tokenizer.save_pretrained(place / name)
        return place / name

    return saved


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def backbone(request: pytest.FixtureRequest, folder: Folder) -> Backbone:
    loaded = load_backbone(folder(request.param), device="cpu")
    torch.nn.init.normal_(loaded.head.weight)
    return loaded


@pytest.fixture(scope="module")
def llama(folder: Folder) -> Backbone:
    return load_backbone(folder("llama"), device="cpu")


def requests_for(
    backbone: Backbone, count: int = 30, max_new: int = 24, seed: int = 0, temperatures: tuple[float, ...] = (1.0,)
) -> list[Request]:
    """Prompts of two roles and very different lengths, at temperatures that take turns."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        words = " ".join(rng.choice(" ".join(TEXT).split(), rng.integers(1, 25)))
        prompt = backbone.tokenizer(ROLES[i % 2] + words)["input_ids"]
        length, temperature = int(rng.integers(1, max_new + 1)), temperatures[i % len(temperatures)]
        found.append(Request(("test", i), tuple(prompt), length, temperature=temperature))
    return found


def plain_logprobs(backbone: Backbone, sample: Sample) -> tuple[np.ndarray, float]:
    """Log-probabilities [N] of a sample, and its value, by one forward pass without cache."""
    ids = torch.tensor([sample.prompt + sample.output])
    with torch.no_grad():
        hidden = backbone.hidden(ids, use_cache=False)[0, len(sample.prompt) - 1 : -1]
        logprobs = torch.log_softmax(backbone.logits(hidden) / sample.temperature, -1)
        value = float(backbone.values(hidden[0]))
    return logprobs.gather(1, torch.tensor(sample.output)[:, None])[:, 0].numpy(), value


def same(left: list[Sample], right: list[Sample]) -> None:
    for a, b in zip(left, right, strict=True):
        assert (a.prompt, a.output, a.text, a.stopped) == (b.prompt, b.output, b.text, b.stopped)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        assert a.value == pytest.approx(b.value, abs=1e-3)


def test_greedy_output_is_that_of_generate_token_for_token(backbone: Backbone) -> None:
    requests = requests_for(backbone)
    samples = Generator(backbone, slots=7, greedy=True).run(requests)
    for request, sample in zip(requests, samples, strict=True):
        ids = torch.tensor([request.prompt])
        theirs = backbone.causal.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.max_new,
            do_sample=False,
            pad_token_id=backbone.pad_id,
            eos_token_id=sorted(backbone.stop_ids),
        )[0, len(request.prompt) :].tolist()
        assert list(sample.output) == theirs
        assert sample.stopped == (theirs[-1] in backbone.stop_ids)


@pytest.mark.parametrize("temperatures", [(1.0,), (0.7,), (1.0, 0.25, 3.0)])
def test_logprobs_and_values_are_those_of_one_plain_pass(backbone: Backbone, temperatures: tuple[float, ...]) -> None:
    requests = requests_for(backbone, temperatures=temperatures)
    for request, sample in zip(requests, Generator(backbone, slots=8).run(requests), strict=True):
        assert sample.temperature == request.temperature
        logprobs, value = plain_logprobs(backbone, sample)
        np.testing.assert_allclose(sample.logprobs, logprobs, atol=1e-4)
        assert sample.value == pytest.approx(value, abs=1e-3)
        assert sample.text == backbone.decode(sample.output)


def test_outputs_do_not_depend_on_slots_order_chunks_or_sharing(backbone: Backbone) -> None:
    requests = requests_for(backbone)
    samples = Generator(backbone, slots=64).run(requests)
    same(samples, Generator(backbone, slots=1, share=False).run(requests))
    same(samples, Generator(backbone, slots=5, refill=1.0, chunk=40).run(requests))
    same(samples, Generator(backbone, slots=5, refill=0.0).run(requests[::-1])[::-1])
    one_by_one = Generator(backbone, slots=3)
    same(samples, [one_by_one.run([request])[0] for request in requests])


def test_a_row_keeps_its_temperature_whatever_its_neighbours_and_its_slot(backbone: Backbone) -> None:
    mixed = requests_for(backbone, temperatures=(1.0, 0.3, 2.5))
    samples = Generator(backbone, slots=64).run(mixed)
    for slots in (1, 3, 7):
        same(samples, Generator(backbone, slots=slots, refill=0.0).run(mixed))
    plain = Generator(backbone, slots=7).run([replace(request, temperature=1.0) for request in mixed])
    changed = [one.output != other.output for one, other in zip(samples, plain, strict=True)]
    assert not any(changed[::3]) and sum(changed) > 10


def test_greedy_outputs_are_the_same_at_any_temperature_and_their_logprobs_are_not(backbone: Backbone) -> None:
    requests = requests_for(backbone, temperatures=(0.3, 3.0))
    plain = Generator(backbone, greedy=True).run([replace(request, temperature=1.0) for request in requests])
    for one, other in zip(Generator(backbone, greedy=True).run(requests), plain, strict=True):
        assert one.output == other.output
        np.testing.assert_allclose(one.logprobs, plain_logprobs(backbone, one)[0], atol=1e-4)
        assert not np.allclose(one.logprobs, other.logprobs, atol=1e-3)


def test_outputs_do_not_depend_on_what_was_submitted_meanwhile(backbone: Backbone) -> None:
    requests = requests_for(backbone)
    expected = Generator(backbone).run(requests)
    generator = Generator(backbone, slots=6)
    found: dict[tuple[object, ...], Sample] = {}
    for start in range(0, len(requests), 5):
        generator.submit(requests[start : start + 5])
        found.update((request.key, sample) for request, sample in generator.advance())
    while generator.pending:
        done = generator.advance()
        assert done
        found.update((request.key, sample) for request, sample in done)
    same(expected, [found[request.key] for request in requests])


def test_token_i_is_drawn_by_the_ith_uniform_of_the_keys_stream(llama: Backbone) -> None:
    request = requests_for(llama, 1, max_new=12)[0]
    request = Request(("a", 1), request.prompt, 12)
    sample = Generator(llama).run([request])[0]
    rng = streams.generator("lm", "a", 1)
    for i, token in enumerate(sample.output):
        ids = torch.tensor([request.prompt + sample.output[:i]])
        with torch.no_grad():
            mass = torch.softmax(llama.logits(llama.hidden(ids)[0, -1]).double(), -1).cumsum(-1)
        assert token == int(torch.searchsorted(mass, rng.random(), right=True))


def test_equal_keys_repeat_and_others_differ(llama: Backbone) -> None:
    prompt = requests_for(llama, 1)[0].prompt
    requests = [Request(("k", i), prompt, 20) for i in (0, 1, 2, 0)]
    outputs = [sample.output for sample in Generator(llama, slots=2).run(requests)]
    assert outputs[0] == outputs[3]
    assert len(set(outputs)) == 3


def test_sampled_frequencies_are_the_models_probabilities(llama: Backbone) -> None:
    prompt = requests_for(llama, 1)[0].prompt
    with torch.no_grad():
        chances = torch.softmax(llama.logits(llama.hidden(torch.tensor([prompt]))[0, -1]), -1).numpy()
    drawn = Generator(llama, slots=512).run([Request((i,), prompt, 1) for i in range(4000)])
    counts = np.bincount([sample.output[0] for sample in drawn], minlength=len(chances)) / len(drawn)
    assert np.abs(counts - chances).sum() < 2.5 * np.sqrt(chances * (1 - chances) / len(drawn)).sum()


def test_an_output_is_cut_at_max_new_or_ends_with_a_stop_token(llama: Backbone) -> None:
    requests = requests_for(llama, 60, temperatures=(1.5,))
    samples = Generator(llama).run(requests)
    for request, sample in zip(requests, samples, strict=True):
        assert len(sample.output) == len(sample.logprobs) <= request.max_new
        assert sample.stopped == (sample.output[-1] in llama.stop_ids)
        assert sample.stopped or len(sample.output) == request.max_new
        assert not llama.stop_ids.intersection(sample.output[:-1])
        assert sample.allowed == ()
    forced = Generator(llama, ignore_stop=True).run(requests)
    assert [len(sample.output) for sample in forced] == [request.max_new for request in requests]


def test_a_stop_string_ends_an_output_with_the_token_that_completes_it(llama: Backbone) -> None:
    plain = requests_for(llama, 12, max_new=30)
    free = Generator(llama, ignore_stop=True).run([Request(r.key, r.prompt, 30) for r in plain])
    stops = [sample.text[3:6] for sample in free]
    requests = [Request(r.key, r.prompt, 30, stop=(stop,)) for r, stop in zip(plain, stops, strict=True)]
    for stop, whole, sample in zip(stops, free, Generator(llama, slots=5, ignore_stop=True).run(requests), strict=True):
        assert sample.stopped
        assert sample.output == whole.output[: len(sample.output)]
        assert stop in sample.text
        assert stop not in llama.decode(sample.output[:-1])


def test_waiting_rows_enter_while_others_run(llama: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    admit = Batch._admit

    def watched(batch: Batch, requests: list[Request]) -> None:
        running.append(batch._n)
        admit(batch, requests)

    requests = requests_for(llama)
    Generator(llama, slots=8, ignore_stop=True)  # tries the architecture out, which is not to be counted
    monkeypatch.setattr(Batch, "_admit", watched)
    Generator(llama, slots=8, ignore_stop=True).run(requests)
    assert running[0] == 0 and len(running) > 4 and sum(n > 0 for n in running[1:]) >= len(running) - 2
    assert max(running) <= 6, "a quarter of the slots is free before others enter"


def test_what_prompts_begin_with_in_common_is_read_once(llama: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[bool, int] = {}
    forward = Batch._forward

    def watched(batch: Batch, ids_BT: np.ndarray, *rest: Any) -> Any:
        read[share] += ids_BT.size
        return forward(batch, ids_BT, *rest)

    opening, requests = min(len(llama.tokenizer(role)["input_ids"]) for role in ROLES), requests_for(llama)
    monkeypatch.setattr(Batch, "_forward", watched)
    for share in (True, False):
        read[share] = 0
        Generator(llama, slots=30, share=share, chunk=1, ignore_stop=True).run(
            requests
        )  # a row a chunk: nothing is padding
    saved = read[False] - read[True]
    assert saved >= (len(requests) - 2 * len(ROLES)) * (opening - 1)


def test_nothing_submitted_is_nothing_pending(llama: Backbone) -> None:
    generator = Generator(llama)
    generator.submit([])
    assert generator.pending == 0
    assert generator.advance() == []
    assert generator.run([]) == []


def test_what_cannot_be_generated_is_refused_by_name(llama: Backbone) -> None:
    generator = Generator(llama)
    whole = generator.run([Request(("fits",), (5,) * (CONTEXT - 4), 4)])[0]
    assert 1 <= len(whole.output) <= 4
    with pytest.raises(ConfigError, match=r"188 tokens, and with 5 new ones .* \(192\)"):
        generator.submit([Request(("long",), (5,) * (CONTEXT - 4), 5)])
    for prompt, max_new in (((), 3), ((5,), 0)):
        with pytest.raises(ConfigError, match="at least one token each"):
            generator.submit([Request(("empty",), prompt, max_new)])
    assert generator.pending == 0
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"request \('cold',\): temperature .* use greedy"):
            generator.submit([Request(("cold",), (5,), 3, temperature=temperature)])
    assert generator.pending == 0
    for options in ({"slots": 0}, {"refill": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            Generator(llama, **options)


def test_prompts_that_are_beginnings_of_each_other_share(backbone: Backbone) -> None:
    prompt = tuple(backbone.tokenizer(ROLES[0] + TEXT[0])["input_ids"])
    requests = [Request((i,), prompt[: len(prompt) - 5 * (i % 3)], 6) for i in range(9)]
    same(Generator(backbone).run(requests), Generator(backbone, share=False).run(requests))


def test_what_is_shared_is_forgotten_when_the_weights_change(folder: Folder) -> None:
    backbone = load_backbone(folder("llama"), device="cpu")
    requests = requests_for(backbone)
    generator = Generator(backbone)
    before = generator.run(requests)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.1)
    after = generator.run(requests)
    assert [s.output for s in before] != [s.output for s in after]
    same(after, Generator(backbone).run(requests))
    for parameter in backbone.parameters():
        parameter.data.mul_(1 / 1.1)  # not noticed by itself
    generator.reset()
    same(generator.run(requests), Generator(backbone).run(requests))


def test_a_full_memory_of_beginnings_changes_nothing(llama: Backbone) -> None:
    requests = requests_for(llama) + requests_for(llama, seed=1)
    generator = Generator(llama, slots=6, kept_tokens=10)
    for _ in range(2):
        same(generator.run(requests), Generator(llama, share=False).run(requests))


def test_training_mode_is_left_as_it_was_and_not_used(folder: Folder) -> None:
    backbone = load_backbone(folder("gpt2"), device="cpu")  # has dropout
    requests = requests_for(backbone)
    expected = Generator(backbone).run(requests)
    backbone.train()
    same(expected, Generator(backbone).run(requests))
    assert backbone.training


def test_each_adapter_answers_its_own_requests(folder: Folder) -> None:
    groups = {"planner": "first", "answer_generator": "second"}
    backbone = load_backbone(folder("llama"), device="cpu", lora=Lora(rank=4), groups=groups)
    for adapter in backbone.adapters[::-1]:
        backbone.use(adapter)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in backbone.causal.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    plain = requests_for(backbone)
    requests = [
        Request(r.key, r.prompt, r.max_new, adapter=("first", "second")[i % 3 > 0]) for i, r in enumerate(plain)
    ]
    samples = Generator(backbone, slots=4).run(requests)
    for request, sample in zip(requests, samples, strict=True):
        backbone.use(request.adapter)
        np.testing.assert_allclose(sample.logprobs, plain_logprobs(backbone, sample)[0], atol=1e-4)
        backbone.use({"first": "second", "second": "first"}[str(request.adapter)])
        assert np.abs(sample.logprobs - plain_logprobs(backbone, sample)[0]).max() > 1e-3


def test_bfloat16_generates_what_it_would_in_one_pass_within_its_precision(folder: Folder) -> None:
    backbone = load_backbone(folder("qwen2"), device="cpu", dtype="bf16")
    for sample in Generator(backbone, slots=8).run(requests_for(backbone)):
        logprobs, _ = plain_logprobs(backbone, sample)
        assert np.abs(sample.logprobs - logprobs).mean() < 0.5
        assert sample.logprobs.dtype == np.float32


def test_the_tree_knows_what_prompts_begin_with_in_common() -> None:
    tree = PrefixTree(100)
    for prompt in ((1, 2, 3, 4), (1, 2, 5), (1, 2), (7,)):
        tree.add(prompt)
    assert [(node.depth, node.count) for node in tree.path((1, 2, 3, 4))] == [(2, 3), (4, 1)]
    tree.remember(tree.path((1, 2, 3, 4)), "memory")
    assert [node.memory for node in tree.path((1, 2, 5))] == ["memory", None]
    assert [node.depth for node in tree.path((7,))] == [1]
    assert not tree.full
    for i in range(40):
        tree.add((9, i))
        tree.remember(tree.path((9, i)), i)
        tree.add((9, i, i))
    assert not tree.full
    tree.remember(tree.path((9, 3, 3))[:2] * 8 + tree.path((1, 2, 3, 4)), 0)
    tree.clear()
    assert tree.path(()) == []


@pytest.mark.parametrize(
    ("left", "right", "length"), [((), (1,), 0), ((1, 2), (1, 2), 2), ((1, 2, 3), (1, 2, 4, 5), 2), ((1,), (2,), 0)]
)
def test_common_is_the_length_of_the_common_beginning(left: tuple, right: tuple, length: int) -> None:
    assert common(left, right) == length
