"""jade-tiny: a small decoder that learns the embedded world's language on two cores, and its tokenizer of whole words.

Both are regular Hugging Face objects (a Llama-type model, a WordPiece tokenizer), saved to and loaded from a folder without code
of ours. Every word of every world is one token, so that copying a name is copying tokens; any other text is spelled out.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import string
from collections.abc import Collection
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from jade_env.agent import load_agent
from jade_env.config import names
from jade_env.game.outputs import KINDS, MAX_SUBQUESTIONS
from jade_env.game.workflow import CHAIN, DECOMPOSERS
from jade_env.hub import SHIPPED
from jade_env.policy.backbone import DTYPES, Backbone, Dtype, enable_checkpointing, load_backbone, pick_device
from jade_env.questions.world import vocabulary

FRESH = "fresh"
_Fast: Any = PreTrainedTokenizerFast
CONTEXT = 512
WIDTH, LAYERS, HEADS, INNER = 128, 4, 4, 256
PAD, UNKNOWN, END, GO = "<pad>", "<unk>", "<end>", "=>"
FIRST_YEAR, LAST_YEAR = 1860, 2010
_TAGS = ("workflow", "query", "id", "answer", "documents", *(f"q{i}" for i in range(1, MAX_SUBQUESTIONS + 1)))
_DOCUMENTS = 10
_CUT = r"<[^<>\s]*>|=>|#\d+|\d+|[^\W\d_]+\d*|_|[^\w\s]"
_GLUED = r" (?=[?.,;!)]|</)|(?<=>) |(?<=\() |(?<=,) (?=(Document\d+|000|QR|R|DS|AG)\b)| (?=<q\d)"
"""Spaces that a decoded text does not have: before a mark, behind and before a tag, between document ids."""
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }} {% endfor %}{% if add_generation_prompt %}"
    + GO
    + "{% endif %}"
)


def words(kinds: Collection[str] = ()) -> list[str]:
    """Every token, in the order of its id: special ones, tags, the words of worlds and prompts, years, and single characters.

    Behind them stand the tags of those output `kinds` that the paper's roles do not write, such as a solver's.
    """
    brief = " ".join(
        f"{card.prompts['brief'].system} {card.prompts['brief'].user}" for card in map(load_agent, names("agents"))
    )
    spoken = set(pre_tokenizers.Split(Regex(_CUT), "removed", invert=True).pre_tokenize_str(brief))
    known: dict[str, None] = dict.fromkeys((PAD, UNKNOWN, END, GO))
    known |= dict.fromkeys(f"<{slash}{tag}>" for tag in _TAGS for slash in ("", "/"))
    known |= dict.fromkeys((*CHAIN, *DECOMPOSERS, *(f"Document{i}" for i in range(_DOCUMENTS))))
    known |= dict.fromkeys(f"#{i}" for i in range(1, MAX_SUBQUESTIONS + 1))
    known |= dict.fromkeys(sorted(word for word, _ in spoken))
    known |= dict.fromkeys((*vocabulary(), "unknown"))
    known |= dict.fromkeys(str(year) for year in range(FIRST_YEAR, LAST_YEAR + 1))
    known |= dict.fromkeys(("000", *string.punctuation, *string.ascii_letters, *string.digits))
    known |= dict.fromkeys(f"##{mark}" for mark in (*string.ascii_letters, *string.digits))
    known |= dict.fromkeys(
        f"<{slash}{tag}>" for kind in sorted(kinds) for tag in KINDS[kind].tags for slash in ("", "/")
    )
    return list(known)


def make_tokenizer(kinds: Collection[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer: text is cut at spaces, marks and tags; a word that is not in the list is spelled, letter by letter."""
    inside = Tokenizer(
        WordPiece({word: i for i, word in enumerate(words(kinds))}, unk_token=UNKNOWN, max_input_chars_per_word=60)
    )
    inside.normalizer = normalizers.Replace("’", "'")
    inside.pre_tokenizer = pre_tokenizers.Split(Regex(_CUT), "removed", invert=True)
    inside.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), decoders.Replace(Regex(_GLUED), "")]
    )
    tokenizer: PreTrainedTokenizerFast = _Fast(
        tokenizer_object=inside, pad_token=PAD, unk_token=UNKNOWN, eos_token=END, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.model_max_length = CONTEXT
    return tokenizer


def begin(
    place: str,
    seed: int,
    *,
    kinds: Collection[str] = (),
    dtype: Dtype = "fp32",
    device: str = "auto",
    gradient_checkpointing: bool = False,
) -> Backbone:
    """What a warm start begins with: a jade-tiny made from the seed where `place` is `fresh`, else the model named.

    A fresh one has words for outputs of these `kinds`.

    Raises:
        ConfigError: there is no such model, or it cannot be used.
    """
    if place != FRESH:
        return load_backbone(place, dtype=dtype, device=device, gradient_checkpointing=gradient_checkpointing)
    made = make_tiny(seed, kinds=kinds, dtype=dtype).to(torch.device(pick_device(device)))
    if gradient_checkpointing:
        enable_checkpointing(made.causal)
    return made


def make_tiny(
    seed: int = 0,
    *,
    width: int = WIDTH,
    layers: int = LAYERS,
    inner: int = INNER,
    kinds: Collection[str] = (),
    dtype: Dtype = "fp32",
) -> Backbone:
    """An untrained jade-tiny for outputs of these `kinds` too; equal seeds make equal ones, rounded where `dtype` is shorter."""
    tokenizer = make_tokenizer(kinds)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = LlamaForCausalLM(config)
        _mimic(model)
        for parameter in model.parameters():  # and no buffer: positions stay in float32
            parameter.data = parameter.data.to(DTYPES[dtype])
        return Backbone(model, tokenizer, SHIPPED).eval()
    finally:
        torch.set_rng_state(state)


@torch.no_grad()
def _mimic(model: Any) -> None:
    """Begin with queries that match the keys of equal tokens, and embeddings large enough to be told apart.

    Copying is what all roles are made of, and learned sooner from here (mimetic initialisation, arXiv 2305.09828).
    """
    std = model.config.hidden_size**-0.5
    model.get_input_embeddings().weight.normal_(0.0, std)
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.q_proj.weight.normal_(0.0, std)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.v_proj.weight.normal_(0.0, std)
