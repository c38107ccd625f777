"""Which encoder a dense retriever has: made as its settings say, or read back with its index. Knows no index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jade_env.errors import DataError
from jade_env.retrieval.encoders import ARRAYS, CARD, Encoder, TfidfSvd
from jade_env.retrieval.types import Document
from jade_env.retriever_settings import EMBEDDED, Dense


def make_encoder(settings: Dense, documents: Sequence[Document]) -> Encoder:
    """Make the encoder of a dense retriever; the embedded one is fitted on the documents.

    Raises:
        ConfigError: there is no such encoder, or it is of a kind that is not supported.
        MissingExtra: a package it needs is not installed.
    """
    if settings.encoder == EMBEDDED:
        return TfidfSvd.fit(documents, settings.dimensions, settings.normalize)
    from jade_env.retrieval.neural import NeuralEncoder

    return NeuralEncoder.of(settings)


def read_encoder(folder: Path, settings: Dense) -> Encoder:
    """Read the encoder saved with an index; a neural one is loaded from where `settings` say it is.

    Raises:
        DataError: the files are missing or broken, or the neural encoder is not the one that the index was built with.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["kind"] == EMBEDDED:
            with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
                return TfidfSvd(tuple(card["words"]), arrays["idf"], arrays["components"], bool(card["normalize"]))
        identity = str(card["identity"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: the encoder cannot be read ({error}); build the index anew") from error
    encoder = make_encoder(settings, ())
    if encoder.identity != identity:
        raise DataError(
            f"{folder}: the index was built with the encoder {identity}, but {settings.encoder} is {encoder.identity}; "
            "give the encoder it was built with, or build the index anew"
        )
    return encoder
