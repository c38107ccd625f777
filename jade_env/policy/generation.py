"""Generation for many agents at once: one batch over all open rows, whatever the role; rows leave when done, others enter.

    generator = Generator(backbone, slots=256)
    generator.submit(requests)
    while generator.pending:
        for request, sample in generator.advance(): ...

What prompts begin with in common is computed once and kept until the weights change. An output depends on the weights, the prompt
and the request's key, never on what else is in the batch. Knows no game, no role and no learning rule.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch

from jade_env.errors import ConfigError
from jade_env.policy.backbone import Backbone
from jade_env.policy.decoding import ROUND, Batch, Chooser
from jade_env.policy.sampling import Request, Sample

CLOSE = 1e-2
"""Log-probabilities of a row in a batch may differ so much from those of the row alone."""
Finished = list[tuple[Request, Sample]]


class Generator:
    """Continuous batching over a backbone.

    Args:
        backbone: who writes.
        slots: rows in the batch at once.
        greedy: take the likeliest token; log-probabilities are those of the distribution all the same.
        refill: waiting rows enter when so large a share of the slots is free, or nothing is running.
        share: compute common beginnings of prompts once.
        kept_tokens: at most about so many tokens of common beginnings are kept.
        chunk: tokens of prompts, padding included, in one forward pass; chosen by device where None.
        ignore_stop: never end an output before `max_new`; for measurements.
        bare: the model as it was before its adapters learned.

    Attributes:
        limit: the most tokens that a prompt and its output may have, all together.

    Raises:
        ConfigError: an argument is not valid, or the backbone's architecture does not bear batches of this kind.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        slots: int = 128,
        greedy: bool = False,
        refill: float = 0.25,
        share: bool = True,
        kept_tokens: int = 32_768,
        chunk: int | None = None,
        ignore_stop: bool = False,
        bare: bool = False,
    ) -> None:
        if slots < 1:
            raise ConfigError(f"slots: {slots} is not at least 1")
        if not 0 <= refill <= 1:
            raise ConfigError(f"refill: {refill} is not a share between 0 and 1")
        self.backbone, self._bare = backbone, bare
        self._choose = Chooser(backbone, greedy, ignore_stop)
        self._options = (slots, refill, kept_tokens if share else 0, chunk or (2048 if _on_cpu(backbone) else 16_384))
        self.limit = longest(backbone)
        _refuse_what_cannot_be_batched(backbone)
        self._batches: dict[str | None, Batch] = {}
        self._turn: deque[str | None] = deque()
        self._weights = self._version()

    @property
    def pending(self) -> int:
        """Rows that run or wait."""
        return sum(batch.pending for batch in self._batches.values())

    def submit(self, requests: Iterable[Request]) -> None:
        """Queue requests; those of one call may enter in any order, those of later calls after them.

        Raises:
            ConfigError: a prompt is empty, it and its output would not fit into the backbone's context, or a temperature is
                not above 0.
        """
        sorted_out: dict[str | None, list[Request]] = {}
        for request in requests:
            self._check(request)
            sorted_out.setdefault(request.adapter, []).append(request)
        for adapter, some in sorted_out.items():
            if adapter not in self._batches:
                self._batches[adapter] = Batch(self.backbone, self._choose, *self._options)
                self._turn.append(adapter)
            self._batches[adapter].submit(some)

    def advance(self) -> Finished:
        """Decode until at least one row has finished; empty only if none is left.

        Rows of different adapters take turns: a call goes on with one adapter.
        """
        with self._ready():
            for _ in range(len(self._turn)):
                adapter = self._turn[0]
                self._turn.rotate(-1)
                if self._batches[adapter].pending:
                    self.backbone.use(adapter)
                    return self._batches[adapter].advance()
        return []

    def run(self, requests: Iterable[Request]) -> list[Sample]:
        """The samples of requests, in their order.

        Raises:
            ConfigError: other requests are still pending, or as `submit`.
        """
        if self.pending:
            raise ConfigError(f"run: {self.pending} requests are still pending; advance until they are done")
        wanted = list(requests)
        self.submit(wanted)
        found: dict[int, Sample] = {}
        try:
            while self.pending:
                found.update((id(request), sample) for request, sample in self.advance())
        finally:
            self.drop()
        return [found[id(request)] for request in wanted]

    def reset(self) -> None:
        """Forget what was computed for common beginnings, as after a change of weights.

        Changes in place (an optimizer's step, a loaded state) are noticed without it. Running rows go on as they are.
        """
        for batch in self._batches.values():
            batch.forget()

    def drop(self) -> None:
        """Give up the requests that are pending, if there are any."""
        if self.pending:
            self._batches.clear()
            self._turn.clear()

    def release(self) -> None:
        """Give back the memory of rows, if none is pending."""
        if not self.pending:
            self._batches.clear()
            self._turn.clear()

    def _check(self, request: Request) -> None:
        size = len(request.prompt)
        if not size or request.max_new < 1:
            raise ConfigError(f"request {request.key}: a prompt and max_new need at least one token each")
        if not 0 < request.temperature < math.inf:
            raise ConfigError(
                f"request {request.key}: temperature {request.temperature} is not above 0; use greedy for the likeliest token"
            )
        if size + request.max_new > self.limit:
            raise ConfigError(
                f"request {request.key}: the prompt has {size} tokens, and with {request.max_new} new ones it is longer than"
                f" {self.backbone.name} can read ({self.limit}); shorten the documents or lower max_new"
            )

    def _version(self) -> tuple[int, int]:
        parameters = list(self.backbone.causal.parameters())
        return sum(p._version for p in parameters if not p.is_inference()), sum(map(torch.Tensor.data_ptr, parameters))

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Evaluation mode, no gradients, and nothing remembered of other weights."""
        version = self._version()
        if version != self._weights:
            self.reset()
            self._weights = version
        training = self.backbone.training
        if training:
            self.backbone.eval()
        try:
            with torch.inference_mode(), self.backbone.without_adapters() if self._bare else nullcontext():
                yield
        finally:
            if training:
                self.backbone.train()


def longest(backbone: Backbone) -> int:
    """The longest sequence that can be read: the context, or a sliding window of attention where that is shorter."""
    config = backbone.causal.config
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        unknown = sorted(kinds - {"full_attention", "sliding_attention"})
        raise ConfigError(f"{backbone.name}: layers of {', '.join(unknown)} are not supported in generation")
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or (not kinds and getattr(config, "use_sliding_window", True))
    if "local" in (getattr(config, "attention_layers", None) or ()):
        window, slides = int(config.window_size) // ROUND * ROUND, True  # GPT-Neo's, which counts from the batch's end
    return min(backbone.context, int(window)) if window and slides else backbone.context


@torch.inference_mode()
def _refuse_what_cannot_be_batched(backbone: Backbone) -> None:
    """Try out two rows of different lengths in slots: some architectures ignore masks or caches, or want them otherwise.

    Raises:
        ConfigError: what comes out is not what the model says of each row alone.
    """
    if backbone.bears_batches:
        return
    lengths, new, vocabulary = (11, 4), 3, int(backbone.causal.config.vocab_size)
    requests = [Request(("probe", str(n)), tuple(7 * i % vocabulary for i in range(n)), new) for n in lengths]
    close = CLOSE if backbone.dtype == torch.float32 else 30 * CLOSE
    try:
        batch = Batch(backbone, Chooser(backbone, greedy=True, ignore_stop=True), len(lengths), 0.25, 0, 64)
        batch.submit(requests)
        found: Finished = []
        while batch.pending:
            found += batch.advance()
        for request, sample in found:
            ids = torch.tensor([[*request.prompt, *sample.output]], device=backbone.device)
            said = backbone.logits(backbone.hidden(ids, use_cache=False)[0, -new - 1 : -1]).log_softmax(-1)
            alone = said.gather(1, ids[0, -new:, None])[:, 0].cpu()
            if not torch.allclose(torch.from_numpy(sample.logprobs), alone, atol=close * max(1.0, float(-alone.min()))):
                raise ValueError("its rows do not obey a mask of their own")
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        kind = type(backbone.causal).__name__
        raise ConfigError(f"{backbone.name}: a {kind} cannot write many rows at once here: {error}") from None
    backbone.bears_batches = True


def out_of_memory(error: Exception) -> bool:
    """Whether an error of the tensor library says that memory has run out."""
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def _on_cpu(backbone: Backbone) -> bool:
    return backbone.device.type == "cpu"
