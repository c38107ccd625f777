"""Neural encoders: any Hugging Face encoder, and folders in the layout of sentence-transformers, whose library it does not need.

Knows no index. What a folder says of itself (`modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`, prompts) is
followed unless the settings say otherwise. Weights are read from safetensors only, and no code of the folder is run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jade_env.errors import ConfigError, MissingExtra
from jade_env.hub import located
from jade_env.retrieval.encoders import CARD, Vectors, unit
from jade_env.retrieval.types import Document
from jade_env.retriever_settings import Dense

for _package in ("torch", "transformers", "safetensors"):
    if find_spec(_package) is None:
        raise MissingExtra(_package, "train")

import torch  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

_TOKENS_A_BATCH = {"cpu": 4096, "cuda": 65_536}
_LETTERS_A_TOKEN = 20  # a text is cut to so many letters for each token the model reads, before it is tokenized
_MANY_TOKENS = 100_000  # transformers' tokenizers say 1e30 where they know no limit
_E5 = re.compile(r"(^|[-_/])e5([-_/]|$)", re.IGNORECASE)
_ACTIVATIONS = {"Tanh": torch.nn.Tanh, "Identity": torch.nn.Identity}


@dataclass(frozen=True, slots=True)
class Layout:
    """What an encoder's files say of how it is used; None and empty where they are silent."""

    transformer: str = ""
    pooling: str | None = None
    normalize: bool = False
    dense: tuple[str, ...] = ()
    max_length: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)


class NeuralEncoder:
    """A transformer encoder with pooling, optional linear layers, and vectors of length one if wanted."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        after: torch.nn.Module,
        *,
        pooling: str,
        normalize: bool,
        max_length: int,
        query_prefix: str,
        passage_prefix: str,
        device: str,
        dtype: str,
    ) -> None:
        """Take a loaded model and its tokenizer; see `of`."""
        self._device = torch.device(device)
        self._model = model.to(self._device, torch.float16 if dtype == "fp16" else torch.float32).eval()
        self._after = after.to(self._device, torch.float32).eval()
        self._tokenizer, self._pooling, self._normalize = tokenizer, pooling, normalize
        self._max_length, self._query_prefix, self._passage_prefix = max_length, query_prefix, passage_prefix
        facts = [pooling, normalize, max_length, query_prefix, passage_prefix, dtype]
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(tokenizer.backend_tokenizer.to_str().encode("utf-8", "surrogatepass"))
        for part in (self._model, self._after):
            for name, tensor in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        self._hash = digest.hexdigest()[:16]
        self._dimensions = int(self._encode(["a word"]).shape[1])

    @classmethod
    def of(cls, settings: Dense) -> NeuralEncoder:
        """Load the encoder that the settings name.

        Raises:
            ConfigError: it cannot be loaded, holds something unsupported, or its device is not there.
        """
        from transformers import AutoModel, AutoTokenizer

        if settings.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"retriever.device: {settings.device}: PyTorch sees no GPU; use device: auto or cpu")
        device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        name = located(settings.encoder, "retriever.encoder")
        layout = read_layout(name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, subfolder=layout.transformer, trust_remote_code=False)
            model = AutoModel.from_pretrained(
                name, subfolder=layout.transformer, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"retriever.encoder: {name} cannot be loaded ({reason}); give tfidf-svd, a folder, or the id of an encoder "
                "with safetensors weights"
            ) from error
        if not tokenizer.is_fast:
            raise ConfigError(f"retriever.encoder: {name} has no tokenizer.json, which is needed")
        tokenizer.padding_side = "right"
        own = str(getattr(model.config, "_name_or_path", ""))
        is_e5 = any(_E5.search(Path(place).name) for place in (name, own))
        return cls(
            model,
            tokenizer,
            torch.nn.Sequential(*(_linear(name, place) for place in layout.dense)),
            pooling=settings.pooling if settings.pooling != "auto" else layout.pooling or "mean",
            normalize=settings.normalize or layout.normalize,
            max_length=_max_length(layout, tokenizer, model),
            query_prefix=_prefix(settings.query_prefix, layout, ("query",), "query: " if is_e5 else ""),
            passage_prefix=_prefix(
                settings.passage_prefix, layout, ("passage", "document"), "passage: " if is_e5 else ""
            ),
            device=device,
            dtype=settings.dtype,
        )

    @property
    def identity(self) -> str:
        norm = ",normalize" if self._normalize else ""
        return f"neural({self.dimensions},{self._pooling}{norm}):{self._hash}"

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode([self._query_prefix + text if text.strip() else "" for text in texts])

    def passages(self, documents: Sequence[Document]) -> Vectors:
        return self._encode([self._passage_prefix + (d.contents if d.title else d.text) for d in documents])

    def save(self, folder: Path) -> None:
        """Note which encoder it is; its weights stay where they are."""
        (folder / CARD).write_text(json.dumps({"kind": "neural", "identity": self.identity}), encoding="utf-8")

    def _encode(self, texts: Sequence[str]) -> Vectors:
        """Encode in batches of texts of like length; blank texts are rows of zeros."""
        cut = [text[: self._max_length * _LETTERS_A_TOKEN].encode("utf-8", "replace").decode() for text in texts]
        tokens = self._tokenizer(cut, truncation=True, max_length=self._max_length)["input_ids"] if texts else []
        order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
        budget = _TOKENS_A_BATCH[self._device.type]
        vectors: Vectors | None = None
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, budget // max(1, len(tokens[order[start]])))]
            found = self._batch([tokens[i] for i in rows])
            if vectors is None:
                vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
            vectors[rows] = found
            start += len(rows)
        if vectors is None:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        vectors[[i for i, text in enumerate(texts) if not text.strip()]] = 0
        return unit(vectors) if self._normalize else vectors

    @torch.inference_mode()
    def _batch(self, tokens: list[list[int]]) -> Vectors:
        blank = [self._tokenizer.pad_token_id]  # has no tokens where no special ones are put around it
        read = [row or blank for row in tokens]
        padded = self._tokenizer.pad({"input_ids": read}, return_tensors="pt").to(self._device)
        hidden_NTD = self._model(**padded).last_hidden_state.float()
        if self._pooling == "cls":
            pooled_ND = hidden_NTD[:, 0]
        else:
            mask_NT1 = padded["attention_mask"][:, :, None].float()
            pooled_ND = (hidden_NTD * mask_NT1).sum(1) / mask_NT1.sum(1).clamp(min=1e-9)
        vectors: Vectors = self._after(pooled_ND).cpu().numpy()
        return vectors


def read_layout(name: str) -> Layout:
    """Read what an encoder's own files say; all silent for a plain Hugging Face encoder.

    Raises:
        ConfigError: a module or a pooling that is not supported.
    """
    modules = _read_json(name, "modules.json")
    if not isinstance(modules, list):
        return Layout()
    transformer, pooling, normalize, dense = "", None, False, list[str]()
    for module in modules:
        kind, place = str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))
        if kind == "Transformer":
            transformer = place
        elif kind == "Pooling":
            pooling = _pooling(name, _read_json(name, f"{place}/config.json"))
        elif kind == "Normalize":
            normalize = True
        elif kind == "Dense":
            dense.append(place)
        else:
            raise ConfigError(
                f"retriever.encoder: {name} has a module of type {kind}; only Transformer, Pooling, Dense and Normalize "
                "are supported"
            )
    limits = _read_json(
        name, f"{transformer}/sentence_bert_config.json" if transformer else "sentence_bert_config.json"
    )
    prompts = (_read_json(name, "config_sentence_transformers.json") or {}).get("prompts") or {}
    return Layout(
        transformer,
        pooling,
        normalize,
        tuple(dense),
        (limits or {}).get("max_seq_length"),
        {str(key): str(value) for key, value in prompts.items()},
    )


def _pooling(name: str, config: Any) -> str:
    chosen = {key for key, value in (config or {}).items() if key.startswith("pooling_mode_") and value is True}
    if isinstance(config, dict) and isinstance(config.get("pooling_mode"), str):  # the layout of later versions
        chosen = {f"pooling_mode_{config['pooling_mode']}"}
    for pooling, keys in (
        ("mean", {"pooling_mode_mean_tokens", "pooling_mode_mean"}),
        ("cls", {"pooling_mode_cls_token", "pooling_mode_cls"}),
    ):
        if chosen and chosen <= keys:
            return pooling
    raise ConfigError(
        f"retriever.encoder: {name} pools by {', '.join(sorted(chosen)) or 'nothing known'}; only the mean of all tokens "
        "and the first token (cls) are supported"
    )


def _linear(name: str, place: str) -> torch.nn.Module:
    from safetensors.torch import load_file

    config, file = _read_json(name, f"{place}/config.json") or {}, _file(name, f"{place}/model.safetensors")
    activation = str(config.get("activation_function", "")).rpartition(".")[2]
    if file is None or activation not in _ACTIVATIONS:
        raise ConfigError(
            f"retriever.encoder: {name}: its layer {place} is not a linear one in safetensors with Tanh or Identity"
        )
    layer = torch.nn.Linear(config["in_features"], config["out_features"], bool(config.get("bias", True)))
    layer.load_state_dict({key.removeprefix("linear."): value for key, value in load_file(file).items()})
    return torch.nn.Sequential(layer, _ACTIVATIONS[activation]())


def _max_length(layout: Layout, tokenizer: Any, model: Any) -> int:
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if positions and (padding := getattr(table, "padding_idx", None)) is not None:  # RoBERTa's kin count from behind it
        positions -= padding + 1
    limits = (layout.max_length, tokenizer.model_max_length, positions)
    return min([int(limit) for limit in limits if limit and limit < _MANY_TOKENS], default=512)


def _prefix(given: str | None, layout: Layout, keys: Sequence[str], usual: str) -> str:
    if given is not None:
        return given
    return next((layout.prompts[key] for key in keys if layout.prompts.get(key)), usual)


def _read_json(name: str, file: str) -> Any:
    path = _file(name, file)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"retriever.encoder: {path} is broken JSON: {error}") from error


def _file(name: str, file: str) -> Path | None:
    """A file of an encoder given by folder or id; None where it has no such file."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"retriever.encoder: {name} is no folder, and as an id it cannot be fetched ({reason}); give tfidf-svd, a folder "
            "or the id of an encoder"
        ) from error
    return Path(found) if found else None
