"""Claims on constrained outputs: what a grammar lets through, and with which probabilities."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokenizers import ByteLevelBPETokenizer  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast  # noqa: E402

import jade_env  # noqa: E402
from jade_env.envs.turn import Turn  # noqa: E402
from jade_env.game.outputs import KINDS  # noqa: E402
from jade_env.game.workflow import PAPER_WORKFLOWS  # noqa: E402
from jade_env.policy import make_policy, tiny  # noqa: E402
from jade_env.policy.backbone import Backbone  # noqa: E402
from jade_env.policy.generation import Generator  # noqa: E402
from jade_env.policy.grammar import Grammar, grammar_of, grammar_of_documents, grammar_of_texts  # noqa: E402
from jade_env.policy.sampling import Request, Sample  # noqa: E402

WORKFLOWS = [KINDS["workflow"].format(workflow) for workflow in PAPER_WORKFLOWS]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    made = tiny.make_tiny(seed=1, width=32, layers=2, inner=48)
    with torch.no_grad():
        for parameter in made.causal.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)  # far from uniform
    return made


@pytest.fixture(scope="module")
def spelling() -> Backbone:
    """A backbone whose tokenizer cuts words and numbers anywhere."""
    inside = ByteLevelBPETokenizer()
    inside.train_from_iterator(["<id>Document0,Document2</id>"], vocab_size=270, special_tokens=["<end>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inside._tokenizer, eos_token="<end>")
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=8, n_layer=1, n_head=1)
    return Backbone(GPT2LMHeadModel(config).eval(), tokenizer)


@pytest.fixture(scope="module")
def turns() -> list[Turn]:
    """Turns of all roles of real episodes."""
    scenario = jade_env.load_scenario("cooperative", {"prompt": "brief"})
    pool = jade_env.make_pool(scenario, n=24, mode="text")
    policy = make_policy("random", scenario)
    found: list[Turn] = []
    for _ in range(8):
        open_turns = pool.turns()
        found += open_turns
        pool.step({turn.id: action for turn, action in zip(open_turns, policy.act(open_turns), strict=True)})
    return found


def sequences(grammar: Grammar) -> list[tuple[int, ...]]:
    """Every output of a grammar."""
    found, open_ = [], [((), 0)]
    while open_:
        ids, state = open_.pop()
        for token, follow in zip(grammar.allowed[state], grammar.follow[state], strict=True):
            (open_ if follow >= 0 else found).append(((*ids, token), follow))
    return [ids for ids, _ in found]


def scored(backbone: Backbone, prompt: tuple[int, ...], output: tuple[int, ...], grammar: Grammar) -> np.ndarray:
    """Log-probabilities [N] of an output under a grammar, by one plain pass."""
    with torch.no_grad():
        logits = backbone.logits(backbone.hidden(torch.tensor([prompt + output]))[0, len(prompt) - 1 : -1])
    allowed = grammar.walk(output)
    assert allowed is not None
    found = [
        torch.log_softmax(row[list(ids)], -1)[ids.index(token)]
        for row, ids, token in zip(logits, allowed, output, strict=True)
    ]
    return torch.stack(found).numpy()


def test_a_grammar_has_exactly_its_texts(backbone: Backbone) -> None:
    grammar = grammar_of_texts(backbone, WORKFLOWS)
    found = sequences(grammar)
    assert sorted(backbone.decode(ids) for ids in found) == sorted(WORKFLOWS)
    assert all(ids[-1] in backbone.stop_ids for ids in found)
    assert all(grammar.walk(ids) and grammar.walk(ids[:2]) for ids in found)
    assert grammar.walk((*found[0], 5)) is None
    assert grammar.walk((backbone.end_id,)) is None


@pytest.mark.parametrize("count", [0, 1, 3, 5, 6, 8])
def test_document_ids_are_all_subsets_in_ascending_order(backbone: Backbone, count: int) -> None:
    texts = {backbone.decode(ids) for ids in sequences(grammar_of_documents(backbone, count))}
    assert len(texts) == 2**count
    values = [KINDS["document_ids"].parse(text, documents=count) for text in texts]
    assert all(valid for valid, _ in values)
    assert len({value for _, value in values}) == 2**count
    assert {KINDS["document_ids"].format(value) for _, value in values} == texts


def test_many_documents_need_few_states_whatever_the_tokens_of_their_ids(spelling: Backbone) -> None:
    grammar = grammar_of_documents(spelling, 24)  # 16 million outputs
    assert len(grammar.allowed) < 2000
    rng = np.random.default_rng(0)
    values = set()
    for _ in range(50):
        state, output = 0, []
        while state >= 0:
            i = int(rng.integers(len(grammar.allowed[state])))
            output.append(grammar.allowed[state][i])
            state = grammar.follow[state][i]
        valid, value = KINDS["document_ids"].parse(spelling.decode(output), documents=24)
        assert valid
        values.add(value)
    assert any(max(value, default=0) > 9 for value in values)


def test_the_grammar_of_a_turn_is_that_of_its_right_outputs(backbone: Backbone, turns: list[Turn]) -> None:
    kinds = {turn.kind for turn in turns}
    assert {"workflow", "document_ids", "answer"} <= kinds
    for turn in turns:
        documents = turn.game_turn.context.get("documents", 0)
        grammar = grammar_of(turn, backbone, documents)
        if turn.kind not in ("workflow", "document_ids"):
            assert grammar is None
            continue
        assert grammar is grammar_of(turn, backbone, documents)
        texts = [backbone.decode(ids) for ids in sequences(grammar)]
        assert all(turn.output(text).valid for text in texts)
        context = turn.game_turn.context
        expected = len(context["workflows"]) if turn.kind == "workflow" else 2 ** context["documents"]
        assert len(set(texts)) == len(texts) == expected


def test_outputs_never_leave_the_set_and_their_logprobs_are_those_of_one_pass(backbone: Backbone) -> None:
    grammars = [grammar_of_texts(backbone, WORKFLOWS), grammar_of_documents(backbone, 3), None]
    prompts = [tuple(backbone.encode([{"role": "user", "content": text}])) for text in ("plan", "select : who ?", "a")]
    requests = [Request(("g", i), prompts[i % 3], 16, grammars[i % 3]) for i in range(150)]
    samples = Generator(backbone, slots=16).run(requests)
    for request, sample in zip(requests, samples, strict=True):
        if request.grammar is None:
            assert sample.allowed == ()
            continue
        assert sample.stopped
        assert sample.allowed == request.grammar.walk(sample.output)
        expected = scored(backbone, sample.prompt, sample.output, request.grammar)
        np.testing.assert_allclose(sample.logprobs, expected, atol=1e-4)
    assert len({sample.output for sample in samples[::3]}) > 1
    free = Generator(backbone, slots=16).run([request for request in requests if request.grammar is None])
    assert [sample.output for sample in free] == [sample.output for sample in samples[2::3]]


def test_probabilities_of_the_set_sum_to_one_and_are_what_is_drawn(backbone: Backbone) -> None:
    grammar = grammar_of_documents(backbone, 3)
    prompt = tuple(backbone.encode([{"role": "user", "content": "select"}]))
    chances = {ids: np.exp(scored(backbone, prompt, ids, grammar).sum()) for ids in sequences(grammar)}
    assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
    drawn: list[Sample] = Generator(backbone, slots=256).run([Request((i,), prompt, 20, grammar) for i in range(3000)])
    for ids, chance in chances.items():
        share = sum(sample.output == ids for sample in drawn) / len(drawn)
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / len(drawn)) + 1e-3
        assert all(
            sample.logprobs.sum() == pytest.approx(np.log(chance), abs=1e-3) for sample in drawn if sample.output == ids
        )


def test_the_likeliest_token_is_taken_among_the_allowed(backbone: Backbone) -> None:
    grammar = grammar_of_texts(backbone, WORKFLOWS)
    prompt = tuple(backbone.encode([{"role": "user", "content": "plan"}]))
    sample = Generator(backbone, greedy=True).run([Request((0,), prompt, 20, grammar)])[0]
    assert sample.text in WORKFLOWS
    for i, (token, allowed) in enumerate(zip(sample.output, sample.allowed, strict=True)):
        with torch.no_grad():
            logits = backbone.logits(backbone.hidden(torch.tensor([prompt + sample.output[:i]]))[0, -1])
        assert token == max(allowed or (), key=lambda t: float(logits[t]))


def test_an_output_may_be_cut_inside_its_grammar(backbone: Backbone) -> None:
    grammar = grammar_of_texts(backbone, WORKFLOWS)
    sample = Generator(backbone).run([Request((0,), (5, 6), 2, grammar)])[0]
    assert not sample.stopped
    assert len(sample.output) == len(sample.allowed) == 2


def test_other_kinds_have_no_grammar(backbone: Backbone) -> None:
    for kind in KINDS.keys() - {"workflow", "document_ids"}:
        assert grammar_of(SimpleNamespace(kind=kind), backbone, 3) is None  # type: ignore[arg-type]
