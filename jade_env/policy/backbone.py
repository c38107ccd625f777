"""A backbone: one causal language model with its tokenizer and a value head, as one thing that plays and learns.

Knows transformers, peft and chat templates. Knows no game, no role and no learning rule; a prompt is a list of messages.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal, cast

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from jade_env.errors import ConfigError, DataError
from jade_env.game.prompts import Message
from jade_env.hub import SHIPPED, located, shipped_folder
from jade_env.policy.control_tokens import ControlTokens
from jade_env.policy.wording import sendable

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: Mapping[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PLAIN = "{system}\n\n{user}\n\nOutput:"
"""How a prompt reads for a model without a chat template."""
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>")
TOLERANCE = 1e-3
HEAD = "value_head.safetensors"

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters in place of full training.

    Attributes:
        rank: of the update of each matrix.
        alpha: its scale is alpha / rank.
        modules: names of the layers to adapt; all linear layers but the output head where empty.
    """

    rank: int = 16
    alpha: float = 32.0
    modules: tuple[str, ...] = ()


class Backbone(nn.Module):
    """A causal language model, its tokenizer and a value head.

    Args:
        causal: any decoder of transformers.
        tokenizer: its tokenizer.
        name: what errors call it.
        lora: trains adapters and leaves the model itself as it is.
        groups: agent by agent the name of its adapter; one adapter for all where empty.

    Attributes:
        head: the value head, Linear(D -> 1) in float32, zero at first.
        context: the longest sequence, in tokens.
        stop_ids: tokens that end an output.
        pad_id: what fills up shorter rows; nothing real ever reads it.
        bears_batches: whether it has been tried, and found, that many rows can be written at once.
    """

    causal: Any
    head: nn.Linear

    def __init__(
        self,
        causal: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "this backbone",
        lora: Lora | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.tokenizer, self.lora = name, tokenizer, lora
        self._groups = dict(groups or {})
        self._adapters = tuple(sorted(set(self._groups.values()))) or ("default",)
        self._adapter: str | None = None
        self.causal = causal if lora is None else with_adapters(causal, lora, self._adapters, name)
        if lora is not None:
            self.use(self._adapters[0])  # the one put in last is active otherwise
        config = causal.config
        self.head = nn.Linear(int(config.hidden_size), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head.to(causal.device)
        self.context = int(getattr(config, "max_position_embeddings", 0) or 2048)
        self._cap = float(getattr(config, "final_logit_softcapping", None) or 0.0)
        self.bears_batches = False
        self.stop_ids = _stop_ids(causal, tokenizer)
        self._control = ControlTokens(tokenizer, self.stop_ids)
        pad = tokenizer.pad_token_id
        self.pad_id = int(pad) if pad is not None and pad < int(config.vocab_size) else min(self.stop_ids)
        self._check()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return cast(torch.device, self.causal.device)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return cast(torch.dtype, self.causal.dtype)

    # ---- text -------------------------------------------------------------------------------------------------------

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a prompt, ready to be answered."""
        return self.encode_batch([messages])[0]

    def encode_batch(self, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The token ids of many prompts in one call of the tokenizer. Tokens of control come from the chat template alone."""
        if not prompts:
            return []
        texts = [sendable(self._as_text(self._control.defused(messages))) for messages in prompts]
        ids = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # of prompts that are too long: who asks for them is told by `LanguageModelPolicy`
        )
        return cast(list[list[int]], ids["input_ids"])

    def encode_output(self, text: str) -> list[int]:
        """The token ids of an output that somebody wrote, with the token that ends it: what supervised learning aims at."""
        ids = self.tokenizer(sendable(self._control.defuse(text)), add_special_tokens=False)["input_ids"]
        return [*cast(list[int], ids), self.end_id]

    def can_write(self, text: str) -> bool:
        """Whether its tokens can say a text: a small vocabulary may have no word for a tag."""
        return self.decode(self.encode_output(text)[:-1]).strip() == text

    @property
    def end_id(self) -> int:
        """The token that ends an output where the model is taught to write one."""
        eos = self.tokenizer.eos_token_id
        return int(eos) if eos in self.stop_ids else min(self.stop_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _as_text(self, messages: Sequence[Message]) -> str:
        if not self.tokenizer.chat_template:
            system = "\n".join(m["content"] for m in messages if m["role"] == "system")
            user = "\n".join(m["content"] for m in messages if m["role"] != "system")
            return (self.tokenizer.bos_token or "") + PLAIN.format_map({"system": system, "user": user})
        return self._templated(messages if self._has_system_role else _merged(messages))

    @cached_property
    def _has_system_role(self) -> bool:
        """Whether the chat template says what the system has to say; some refuse it, and some leave it out."""
        probe = "what the role is"
        try:
            return probe in self._templated([{"role": "system", "content": probe}, {"role": "user", "content": "?"}])
        except TemplateError:
            return False

    def _templated(self, messages: Sequence[Message]) -> str:
        chat = [dict(message) for message in messages]
        # templates that can switch thinking off are told to: outputs are tags, and short
        return str(
            self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    # ---- tensors ----------------------------------------------------------------------------------------------------

    def hidden(self, input_ids: Tensor, **inputs: Any) -> Tensor:
        """The decoder's last hidden state [B, T, D] for ids [B, T]; further inputs go to it as they are."""
        return cast(Tensor, self.causal.base_model(input_ids=input_ids, **inputs).last_hidden_state)

    @cached_property
    def cache_name(self) -> str:
        """What the decoder calls a cache of keys and values that it is given: transformers is renaming it."""
        return "cache" if "cache" in signature(self.causal.base_model.forward).parameters else "past_key_values"

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., V] of hidden states [..., D]."""
        logits = self.causal.get_output_embeddings()(hidden).float()
        return torch.tanh(logits / self._cap) * self._cap if self._cap else logits

    def values(self, hidden: Tensor) -> Tensor:
        """Float32 values [...] of hidden states [..., D]."""
        return cast(Tensor, self.head(hidden.float()).squeeze(-1))

    # ---- adapters ---------------------------------------------------------------------------------------------------

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters; one where all agents share it."""
        return self._adapters

    def adapter_of(self, agent: str) -> str | None:
        """The adapter that plays an agent; None where there is one for all, or none at all."""
        return self._groups.get(agent, self._adapters[0]) if self.lora and len(self._adapters) > 1 else None

    def use(self, adapter: str | None) -> None:
        """Switch to an adapter; None leaves all as it is."""
        if adapter is not None and adapter != self._adapter:
            with self._learning_as_before():
                for module in self.causal.modules():
                    if hasattr(module, "set_adapter") and hasattr(module, "lora_A"):
                        module.set_adapter(adapter)
            self._adapter = adapter

    @contextlib.contextmanager
    def without_adapters(self) -> Iterator[None]:
        """The model as it was before it learned, where adapters learn."""
        layers: list[Any] = [m for m in self.causal.modules() if hasattr(m, "enable_adapters") and hasattr(m, "lora_A")]
        with self._learning_as_before():
            for layer in layers:
                layer.enable_adapters(False)
            try:
                yield
            finally:
                for layer in layers:
                    layer.enable_adapters(True)

    @contextlib.contextmanager
    def _learning_as_before(self) -> Iterator[None]:
        """Which tensors of adapters learn is not for peft to say, which lets only those learn that are in use."""
        before = [(p, p.requires_grad) for name, p in self.causal.named_parameters() if "lora_" in name]
        try:
            yield
        finally:
            for parameter, learns in before:
                parameter.requires_grad_(learns)

    def learned(self) -> dict[str, Tensor]:
        """The tensors that training changes, by name: all, or the adapters', and the value head's."""
        tensors = self.state_dict()
        if self.lora is not None:
            return {name: t for name, t in tensors.items() if "lora_" in name or name.startswith("head.")}
        tied = getattr(self.causal, "_tied_weights_keys", None) or {}
        skipped = {f"causal.{name}" for name in tied} if self.causal.config.tie_word_embeddings else set()
        return {name: tensor for name, tensor in tensors.items() if name not in skipped}

    def load_learned(self, tensors: Mapping[str, Tensor]) -> None:
        """Put `learned` back.

        Raises:
            ConfigError: the tensors are of another model.
        """
        missing = set(self.learned()) ^ set(tensors)
        if missing:
            raise ConfigError(f"{self.name}: the checkpoint is of another model: {sorted(missing)[0]} is in one only")
        try:
            self.load_state_dict(dict(tensors), strict=False)
        except RuntimeError as error:
            raise ConfigError(f"{self.name}: the checkpoint is of another model: {error}") from None

    def save(self, folder: Path) -> None:
        """Write the model and tokenizer as a Hugging Face folder, and the value head beside them, whole or not at all.

        Raises:
            DataError: the folder cannot be written.
        """
        with _whole(folder) as partial:
            self.causal.save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)
            save_file(dict(self.head.state_dict()), partial / HEAD)

    def save_adapters(self, folder: Path) -> None:
        """Write the adapters as peft lays them out, for any program that puts one over its base model; each in a folder of its name
        where there are several.

        Raises:
            DataError: the folder cannot be written.
        """
        assert self.lora is not None
        layers = {name.rpartition(".")[2] for name, m in self.causal.named_modules() if hasattr(m, "lora_A")}
        config = lora_config(self.lora, sorted(layers))
        base = shipped_folder() if self.name == SHIPPED else Path(self.name)
        config.base_model_name_or_path = str(base.absolute()) if base.is_dir() else self.name
        config.inference_mode = True
        with _whole(folder) as partial:
            for adapter in self._adapters:
                place = partial / adapter if len(self._adapters) > 1 else partial
                config.save_pretrained(str(place))
                marked = f".{adapter}.weight"
                own = {
                    f"base_model.model.{name.removesuffix(marked)}.weight": tensor.detach().contiguous()
                    for name, tensor in self.causal.named_parameters()
                    if "lora_" in name and name.endswith(marked)
                }
                save_file(own, place / "adapter_model.safetensors")

    def load_head(self, file: Path) -> None:
        """Take the value head that `save` has written.

        Raises:
            ConfigError: it is of another model, or broken.
        """
        try:
            self.head.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            raise ConfigError(f"backbone: {file} is not the value head of this model: {error}") from None

    def _check(self) -> None:
        """Refuse a model whose logits are not those of its last hidden state and output head."""
        ids = torch.arange(4, device=self.device).unsqueeze(0) % int(self.causal.config.vocab_size)
        with torch.no_grad():
            mine, own = self.logits(self.hidden(ids, use_cache=False)), self.causal(ids, use_cache=False).logits.float()
        close = TOLERANCE if self.dtype == torch.float32 else 30 * TOLERANCE
        if not torch.allclose(mine, own, atol=close * max(1.0, float(own.abs().max()))):
            raise ConfigError(f"{self.name}: its architecture changes the logits in a way that is not supported here")


def load_backbone(
    place: str | Path,
    *,
    dtype: Dtype = "fp32",
    device: str = "auto",
    lora: Lora | None = None,
    groups: Mapping[str, str] | None = None,
    gradient_checkpointing: bool = False,
) -> Backbone:
    """Load a backbone from a folder, the shipped name `jade-tiny`, or an id of the Hugging Face hub.

    Code that comes with a model is never run.

    Raises:
        ConfigError: there is no such model, or it cannot be used.
    """
    folder = located(str(place), "backbone")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        causal: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"backbone: {place} cannot be loaded: {first}; give a folder, an id of the hub, or {SHIPPED}"
        ) from None
    causal.to(torch.device(pick_device(device)))
    if gradient_checkpointing:
        enable_checkpointing(causal)
        if lora is not None:
            causal.enable_input_require_grads()
    try:
        backbone = Backbone(causal, tokenizer, str(place), lora, groups)
    except (AttributeError, TypeError) as error:  # of a model that is more, or other, than a decoder of text
        raise ConfigError(
            f"backbone: {place} is a {type(causal).__name__}, which cannot be used here: {error}"
        ) from None
    if (head := Path(folder) / HEAD).is_file():
        backbone.load_head(head)
    return backbone.eval()


def pick_device(device: str) -> str:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: {device!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return device


def enable_checkpointing(causal: Any) -> None:
    """Let a model compute its activations twice where it is told to; versions of transformers call it by two names."""
    getattr(causal, "activation_checkpointing_enable", causal.gradient_checkpointing_enable)({"use_reentrant": False})


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of another one at the end, or leaves nothing."""
    partial = folder.with_name(f".partial-{folder.name}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: cannot be written: {error}; nothing half-written is left") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def lora_config(lora: Lora, modules: Sequence[str] | str) -> Any:
    """Adapters as peft is told of them."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float is as good
        target_modules=modules,  # type: ignore[arg-type]
        task_type="CAUSAL_LM",
    )


def with_adapters(causal: Any, lora: Lora, adapters: Sequence[str], name: str) -> Any:
    """A model with adapters of these names put into its layers; only they learn.

    Raises:
        ConfigError: it has no layers of the names that `lora.modules` gives.
    """
    from peft import inject_adapter_in_model

    config = lora_config(lora, list(lora.modules) or "all-linear")
    layers = [n for n, _ in causal.named_modules()]
    unknown = [wanted for wanted in lora.modules if not any(f".{n}".endswith(f".{wanted}") for n in layers)]
    try:
        if unknown:
            raise ValueError("it has no such layer")
        for adapter in adapters:
            causal = inject_adapter_in_model(config, causal, adapter)
    except ValueError as error:
        linear = sorted({n.rsplit(".", 1)[-1] for n, m in causal.named_modules() if isinstance(m, nn.Linear)})
        wanted = ", ".join(unknown or lora.modules)
        raise ConfigError(f"lora.modules: {wanted}: {name} has {', '.join(linear)} ({error})") from None
    for tensor_name, parameter in causal.named_parameters():
        parameter.requires_grad_("lora_" in tensor_name)
    return causal


def _stop_ids(causal: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    found: set[int] = set()
    for ids in (tokenizer.eos_token_id, getattr(causal.generation_config, "eos_token_id", None)):
        found.update([ids] if isinstance(ids, int) else ids or [])
    known = tokenizer.get_vocab()
    found.update(known[token] for token in END_OF_TURN if token in known)
    if not found:
        raise ConfigError("backbone: its tokenizer has no token that ends an output (eos_token)")
    return frozenset(found)


def _merged(messages: Sequence[Message]) -> list[Message]:
    """A system message moved into the user's, for templates that know none."""
    text = "\n\n".join(message["content"] for message in messages)
    return [{"role": "user", "content": text}]
