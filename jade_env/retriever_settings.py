"""The typed form of a scenario's `retriever:` block: which retriever, and its knobs. Opens nothing and imports no index.

`retrieval/make.py` turns these into retrievers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from jade_env.config import Settings
from jade_env.hub import ModelName

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
OnFailure = Literal["truncate", "raise"]

EMBEDDED = "tfidf-svd"
"""The encoder that needs no weights: it is fitted on the corpus itself."""


class Bm25(Settings):
    """BM25 with the parameters that `docs/benchmarks.md` measures."""

    kind: Literal["bm25"] = "bm25"
    top_k: Positive = 5
    """Documents a retrieval returns."""
    stem: bool = True
    """Snowball English stemming."""
    stopwords: bool = True
    """Drop English stopwords."""
    k1: Share = 1.5
    """How much a word counts that occurs again in a document."""
    b: Annotated[float, Field(ge=0, le=1)] = 0.75
    """How much long documents are held back, from not at all to fully."""
    cache: Count = 200_000
    """Queries whose results are kept in memory; 0 keeps none."""


class Dense(Settings):
    """Nearest passages by their vectors, in an index of FAISS (extra `dense`)."""

    kind: Literal["dense"] = "dense"
    top_k: Positive = 5
    """Documents a retrieval returns."""
    index: str = Field(default="Flat", min_length=1)
    """Any string of `faiss.index_factory`: `Flat` (exact), `HNSW32`, `IVF4096,PQ64`, `SQ8`, `SQfp16`."""
    metric: Literal["ip", "l2"] = "ip"
    """Inner product (the cosine where vectors are normalised) or squared Euclidean distance."""
    encoder: ModelName = Field(default=EMBEDDED, min_length=1)
    """`tfidf-svd`, which needs no weights, or the folder or id of a Hugging Face or sentence-transformers encoder."""
    pooling: Literal["auto", "mean", "cls"] = "auto"
    """How a neural encoder's tokens become one vector; `auto` follows the encoder's own files, else the mean."""
    normalize: bool = True
    """Vectors of length one, as an encoder whose own files say so makes them anyway."""
    query_prefix: str | None = None
    """Put before every query; if not given, what the encoder asks for ("query: " for E5)."""
    passage_prefix: str | None = None
    """Put before every passage; if not given, what the encoder asks for ("passage: " for E5)."""
    dtype: Literal["fp32", "fp16"] = "fp32"
    """Precision a neural encoder computes in."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """Where a neural encoder and the index live; `auto` is a GPU where there is one and the index fits."""
    search: dict[Literal["nprobe", "efSearch"], Positive] = Field(default_factory=dict)
    """How hard an approximate index looks: `{nprobe: 16}` for IVF, `{efSearch: 64}` for HNSW."""
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 256
    """Length of the vectors of `tfidf-svd`."""
    path: str | None = None
    """The folder of an index made by `jade index build` from the same corpus; it brings its encoder and index type."""
    cache: Count = 200_000
    """Queries whose results are kept in memory; 0 keeps none."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Dense:
        if self.path is not None:
            own = ("index", "metric", "pooling", "normalize", "query_prefix", "passage_prefix", "dtype", "dimensions")
            changed = [name for name in own if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                raise ValueError(
                    f"path: the built index has its own {', '.join(changed)}; leave that out or build anew"
                )
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class Hybrid(Settings):
    """Several retrievers over the same corpus, their rankings fused. `top_k` and `cache` of the parts are not used.

    A part that fails fails the whole, and its `on_failure` says what comes of that.
    """

    kind: Literal["hybrid"] = "hybrid"
    top_k: Positive = 5
    """Documents a retrieval returns."""
    of: tuple[RetrieverSettings, ...]
    """The parts: retriever blocks."""
    fusion: Literal["rrf", "weighted"] = "rrf"
    """Reciprocal ranks, or scores brought to [0, 1] by each query's best and worst hit."""
    weights: tuple[Share, ...] | None = None
    """One for each part; equal if not given."""
    rrf_k: Positive = 60
    """A hit at rank r (from 1) adds weight / (rrf_k + r)."""
    depth: Positive | None = None
    """Hits asked of each part; max(50, top_k) if not given."""
    cache: Count = 200_000
    """Queries whose results are kept in memory; 0 keeps none."""

    @field_validator("of")
    @classmethod
    def _several(cls, given: tuple[RetrieverSettings, ...]) -> tuple[RetrieverSettings, ...]:
        if len(given) < 2:
            raise ValueError("a hybrid has at least two parts; give two retriever blocks or more")
        return given

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, given: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if given is not None and not any(given):
            raise ValueError("all are 0, so that nothing would be found; give one part a weight")
        return given

    @model_validator(mode="after")
    def _hangs_together(self) -> Hybrid:
        if self.weights is not None and len(self.weights) != len(self.of):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.of)} parts; give one for each part of `of`")
        if len(_said(self)) > 1:
            raise ValueError("of: one part says on_failure: raise and another truncate; give all remote parts the same")
        if _names_passages(self) == {False, True}:
            raise ValueError(
                "of: protocol jade sends no ids, so that its passages match no other part's; take search_r1"
            )
        return self

    @property
    def on_failure(self) -> OnFailure:
        """What the remote parts say, who all say the same; `truncate` where no part is remote."""
        return next(iter(_said(self)), "truncate")


class Remote(Settings):
    """A retrieval server (extra `remote`). It has its own corpus; the scenario's may be missing."""

    kind: Literal["remote"] = "remote"
    top_k: Positive = 5
    """Documents a retrieval returns."""
    urls: tuple[Url, ...]
    """Servers that answer alike, such as http://127.0.0.1:8000; another is asked where one fails."""
    protocol: Literal["search_r1", "jade"] = "search_r1"
    """`search_r1` is POST /retrieve, `jade` is POST /search."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds before a request counts as failed."""
    retries: Count = 3
    """Further tries of a failed request."""
    concurrency: Positive = 8
    """Requests under way at once."""
    batch: Positive = 64
    """Queries in one request."""
    max_response_mb: Annotated[float, Field(gt=0)] = 64.0
    """Larger answers are refused."""
    token_env: str | None = None
    """Name of the environment variable that holds a bearer token."""
    on_failure: OnFailure = "truncate"
    """A failure that lasts ends the waiting episodes as truncated, or stops the run; inside a hybrid, too."""
    cache: Count = 200_000
    """Queries whose results are kept in memory; 0 keeps none."""

    @field_validator("urls")
    @classmethod
    def _one_at_least(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            raise ValueError("name at least one server, such as [http://127.0.0.1:8000]")
        return given


def _said(settings: RetrieverSettings) -> set[OnFailure]:
    """What a retriever's remote parts say of failures, at any depth."""
    if isinstance(settings, Hybrid):
        return {said for part in settings.of for said in _said(part)}
    return {settings.on_failure} if isinstance(settings, Remote) else set()


def _names_passages(settings: RetrieverSettings) -> set[bool]:
    """Whether a retriever's parts give passages the corpus's ids, at any depth; protocol jade has none to give."""
    if isinstance(settings, Hybrid):
        return {named for part in settings.of for named in _names_passages(part)}
    return {not (isinstance(settings, Remote) and settings.protocol == "jade")}


def _bm25_unless_said(given: Any) -> Any:
    return {"kind": "bm25", **given} if isinstance(given, dict) else given


RetrieverSettings = Annotated[
    Bm25 | Dense | Hybrid | Remote, Field(discriminator="kind"), BeforeValidator(_bm25_unless_said)
]
Hybrid.model_rebuild()
