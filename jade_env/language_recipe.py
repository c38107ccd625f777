"""The typed form of recipes for language models: `learner: sft` (a warm start) and `learner: ppo` (joint training).

Knows what may be written, with units and defaults; the learners that obey it are in `learning/`. A *step* collects episodes
of some questions and updates on all of their turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from jade_env.agent import PromptStyle, load_agent
from jade_env.config import Settings, answering, names
from jade_env.errors import ConfigError
from jade_env.hub import ModelName

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(gt=0, le=4)]
Dtype = Literal["fp32", "bf16", "fp16"]
Credit = Literal["episode_gae", "broadcast", "group", "leave_one_out", "tied_group"]

DEFAULT = "default"
"""In a table by agent: what holds for those it does not name."""
OWN, LANGUAGE_MODEL = "self", "language_model:"
"""In `policies`: the recipe's own backbone, and what stands before the name of another one."""
BY_AGENT = ("temperature", "max_prompt")
"""Knobs of joint training that are one number or a table by agent; `temperature.planner` makes a table of a number."""
GROUPED: tuple[Credit, ...] = ("group", "leave_one_out", "tied_group")
"""Credit rules that compare episodes of one question, and need no critic."""

Number = TypeVar("Number")


def _form(given: object) -> str:
    return "Table" if isinstance(given, Mapping) else "One"


ByAgent = Annotated[
    Annotated[Number, Tag("One")] | Annotated[dict[str, Number], Tag("Table")],
    Discriminator(_form),
]
"""One number for all, or a table by agent, role or team with a `default`. Errors are those of the form that was written."""


def said_of(names: Iterable[str], setting: Number | Mapping[str, Number] | None) -> Number | None:
    """What a setting says of an agent: the one number, or what its table has under the first of the names, or by default.

    Args:
        names: the agent answers to them, its own first.
        setting: of a knob in `BY_AGENT`.

    Returns:
        None where nothing is said.
    """
    if not isinstance(setting, Mapping):
        return setting
    return next((setting[name] for name in (*names, DEFAULT) if name in setting), None)


class LoraSettings(Settings):
    """Low-rank adapters in place of full training."""

    rank: Positive = 16
    """Of the update of each matrix."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Its scale is alpha / rank."""
    modules: tuple[str, ...] = ()
    """Names of the layers to adapt; all linear layers but the output head where empty."""


class KlSettings(Settings):
    """What it costs to leave the policy that the training began with, in nats a token."""

    start: Weight = 0.0
    """Coefficient at the first step."""
    end: Weight = 0.0
    """Coefficient from `until` on, reached along a geometric line (a straight one if either is 0)."""
    until: Share = 0.75
    """Share of the training after which it stays at `end`."""


class LanguageSettings(Settings):
    """What both learners need to know of the model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = Field(min_length=1, max_length=200)
    """One line for listings."""
    backbone: ModelName = "jade-tiny"
    """`jade-tiny`, `fresh` (an untrained one, for a warm start), a folder in the Hugging Face layout (such as RUN/backbone of a
    warm start), or an id of its hub."""
    prompt: PromptStyle = "full"
    """Which of a card's prompts the model reads."""
    dtype: Dtype = "fp32"
    """What the model computes in."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""
    gradient_checkpointing: bool = False
    """Computes activations twice to keep fewer of them."""
    token_budget: Positive = 4096
    """Tokens in one forward and backward pass, padding counted; gradients are accumulated over passes."""
    overlong: Literal["error", "truncate"] = "error"
    """What happens to a longer prompt: the run stops, naming role and question, or its passages are cut from the end,
    and the prompt is counted."""
    learning_rate: Rate = 3e-4
    """AdamW's step size."""
    weight_decay: Weight = 0.0
    """AdamW's."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this global norm."""
    steps: Positive = 100
    """Updates of a warm start, or rounds of collecting and updating; may be raised when a run is resumed."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises from 0."""
    decay: Share = 1.0
    """Share of the steps, at the end, over which it falls linearly to `final` times its value."""
    final: Share = 0.1
    """What is left of the learning rate at the end."""
    eval_every: Positive = 20
    """Steps between evaluations on the dev split."""
    eval_episodes: Positive = 100
    """Questions in each of them, at most the split."""
    checkpoint_every: Positive = 10
    """Steps between checkpoints."""
    keep: Positive = 2
    """How many checkpoints stay in the run folder: the newest ones, and the best one beside them."""
    threads: Positive = 1
    """Threads of the tensor library. Runs are identical to the last bit for one number of threads."""

    def rate(self, step: int) -> float:
        """What the learning rate is multiplied by at a step: up over the warm-up, down over the decay."""
        up = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        falling = self.decay * self.steps
        down = min(1.0, (self.steps - step) / falling) if falling else 1.0
        return up * (self.final + (1 - self.final) * down)

    def resolved(self) -> dict[str, Any]:
        """Every knob with its value; `load_recipe` reads it back."""
        return self.model_dump(mode="json")


class WarmStartRecipe(LanguageSettings):
    """Supervised learning from a teacher: executors imitate it, the planner learns to write any legal workflow."""

    learner: Literal["sft"]
    max_prompt: Positive | None = None
    """Longest prompt in tokens; what the model's context leaves where not given."""
    batch_size: Positive = 128
    """Turns in an update."""
    chapter: Positive = 600
    """Episodes the teacher plays at a time; in the embedded world each time in a new world."""
    prompt_weight: Share = 0.1
    """Weight of a prompt's tokens in the loss, against 1 for an output's."""
    practice: Annotated[int, Field(ge=0)] = 0
    """First steps, on strings of random words that are to be copied: for a backbone that knows nothing yet."""
    muon: Weight = 0.0
    """Step size of Muon for hidden matrices; 0 trains them by AdamW like the rest."""


class PpoRecipe(LanguageSettings):
    """One language model plays every role and learns all of them with PPO from one reward (the JADE paper, algorithm 2)."""

    learner: Literal["ppo"]
    train: Literal["all", "none"] | tuple[str, ...] = "all"
    """The agents that learn: `all`, `none`, or a list such as `[planner]`; the others are played by the backbone as it began."""
    policies: dict[str, str] = Field(default_factory=dict)
    """Who plays whom in a heterogeneous team, by agent, role or team, with a `default`: `self` (this backbone, where nothing is
    said), `language_model:PLACE` (another one, which learns beside it with an optimizer of its own where `train` says so), or a
    policy that stays as it is: `sb3:RUN`, a run of any kind, `remote_chat:FILE`, a script."""
    fixed_plan: tuple[str, ...] = ()
    """Workflows of original and of sub-questions, such as [QDP, "R,AG"]: no model plans, and no planner learns."""
    sharing: Literal["all", "per_role", "groups"] = "all"
    """With LoRA: one adapter for all, one a role, or one a group."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """With `sharing: groups`: the agents of each adapter by its name; those of no group share one more."""
    lora: LoraSettings | None = None
    """Adapters in place of full training; none trains the whole model."""

    offload: bool = False
    """Keeps the optimizer's moments and float32 copies in the host's memory: 12 bytes a weight less on a GPU, slower steps."""
    train_embeddings: bool = True
    """Whether the embeddings of words learn, too; rare words are moved by noise. A model that writes with the weights it reads
    with (tied, as jade-tiny) has no say over its last layer, then."""
    questions: Positive = 32
    """Questions played in a step."""
    plans: Positive = 2
    """Plans made for each question: episodes whose original question is planned apart."""
    executions: Positive = 3
    """Times each plan is carried out. An episode is one execution, so a step has questions x plans x executions of them."""
    slots: Positive = 192
    """Turns generated side by side."""
    temperature: ByAgent[Temperature] = 1.0
    """Logits are divided by it before a token is drawn: one number, or a table by agent with a `default` (1 where it has none)."""
    max_prompt: ByAgent[Positive] | None = None
    """Longest prompt in tokens: one number, or a table by agent with a `default`; else what the model's context leaves."""
    constrained: tuple[str, ...] = ()
    """Agents whose outputs are held to their grammar while they are generated (planner, document_selector)."""

    credit: Credit = "tied_group"
    """How the reward is shared out over the turns."""
    gamma: Share = 1.0
    """Discount: per turn for episode_gae, per token for broadcast."""
    gae_lambda: Share = 0.95
    """Generalised advantage estimation: 0 trusts the critic, 1 the return."""
    critic: Literal["none", "head", "separate"] = "none"
    """Value head on the backbone, or on a model of its own that begins as a copy; needed by episode_gae and broadcast."""
    critic_learning_rate: Rate = 1e-3
    """AdamW's step size for a separate critic: reached along a line over the first five steps, then kept."""
    critic_epochs: Positive = 1
    """Passes of a separate critic over a step's turns."""
    critic_warmup: Annotated[int, Field(ge=0)] = 0
    """First steps in which only the critic learns; of a value head on the backbone, the head alone."""
    normalize: Literal["none", "all", "per_role", "per_part"] = "per_part"
    """Advantages are scaled over all turns, each role's, or each part's (planner, sub-planner,
    executors); with a critic they are centred too."""
    loss_weights: dict[str, Weight] = Field(default_factory=lambda: {DEFAULT: 1.0})
    """Weight of each agent's turns in the loss, with a `default` (1 where it has none); `sub_planner` for plans of
    sub-questions."""
    average: Literal["token", "turn"] = "token"
    """Whether each token or each turn weighs the same in the loss."""
    epochs: Positive = 1
    """Passes over a step's turns."""
    minibatches: Positive = 8
    """Updates in a pass over a step's turns."""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """PPO's clipping of the probability ratio."""
    value_clip: Annotated[float, Field(gt=0)] | None = 0.2
    """The value may move so far from what it was in one update; freely where not given."""
    vf_coef: Weight = 0.5
    """Weight of the value loss of a head on the backbone."""
    entropy: dict[str, Weight] = Field(default_factory=lambda: {DEFAULT: 0.0})
    """Weight of the entropy bonus by agent, with a `default`."""
    kl: dict[str, KlSettings] = Field(default_factory=lambda: {DEFAULT: KlSettings()})
    """KL to the policy that the training began with, by agent, with a `default`; `sub_planner` is the planner below the root."""
    kl_loss: Literal["k2", "k3"] = "k2"
    """How it enters the loss: k2 is half the squared log-ratio; k3, GRPO's, grows exponentially where a token gets unlikely."""
    target_kl: Annotated[float, Field(gt=0)] | None = None
    """A step's update stops early beyond this divergence from the policy that played, in nats a token."""
    traces: Annotated[int, Field(ge=0)] = 3
    """Sample episodes written at each checkpoint."""

    @field_validator("train", mode="before")
    @classmethod
    def _all_or_a_list(cls, given: Any) -> Any:
        if given in ("all", "none") or (
            isinstance(given, list | tuple) and given and all(isinstance(a, str) for a in given)
        ):
            return given
        raise ValueError(f"expected all, none, or a list of agents such as [planner], found {given!r}")

    @model_validator(mode="after")
    def _hangs_together(self) -> PpoRecipe:
        if self.credit in GROUPED:
            if self.plans * self.executions < 2:
                raise ValueError(
                    f"credit: {self.credit} compares episodes of a question: plans x executions must be 2 or more"
                )
            if self.critic != "none":
                raise ValueError(
                    f"critic: {self.credit} asks none; give critic: none, or credit: episode_gae or broadcast"
                )
        elif self.critic == "none":
            raise ValueError(f"critic: {self.credit} needs one: head or separate")
        if self.critic == "none" and self.critic_warmup:
            raise ValueError("critic_warmup: there is no critic to warm up, and nobody else learns meanwhile; give 0")
        if self.critic == "head" and not self.vf_coef:
            raise ValueError("vf_coef: 0 never trains the critic (critic: head); give more, or choose critic: separate")
        if len(self.fixed_plan) > 2:
            raise ValueError("fixed_plan: expected one workflow for original questions and one for sub-questions")
        if self.sharing != "all" and self.lora is None:
            raise ValueError(f"sharing: {self.sharing} is a matter of adapters: give lora, or choose all")
        if (self.sharing == "groups") != bool(self.groups):
            raise ValueError("groups: go with sharing: groups, and it needs them")
        members = [agent for group in self.groups.values() for agent in group]
        if len(set(members)) < len(members):
            raise ValueError("groups: an agent stands twice")
        if isinstance(self.train, tuple) and len(set(self.train)) < len(self.train):
            raise ValueError("train: an agent stands twice")
        return self

    @property
    def episodes(self) -> int:
        """Episodes of a step."""
        return self.questions * self.plans * self.executions

    def trained(self, team: Mapping[str, Sequence[str]] | Sequence[str]) -> tuple[str, ...]:
        """The agents of a team that learn, in team order; `team` as `Rules.names` gives it, or agents alone.

        Roles that ship may be named though a team lacks them: a recipe serves many teams. Not all of `train` may be lacking.

        Raises:
            ConfigError: an agent is named that is none, or nobody of `train` is in the team.
        """
        tables: dict[str, Iterable[str]] = {
            "constrained": self.constrained,
            "loss_weights": self.loss_weights,
            "entropy": self.entropy,
            "kl": self.kl,
        }
        for key, agents in tables.items():
            answering(team, _without_below(agents), f"recipe {self.name}: {key}", names("agents"))
        shipped = set(names("agents")).intersection(self.constrained)
        if free := [agent for agent in sorted(shipped) if load_agent(agent).writes not in ("workflow", "document_ids")]:
            raise ConfigError(
                f"recipe {self.name}: constrained: {free[0]} may write any text; only planners and document_selector are held"
            )
        for key in BY_AGENT:
            if isinstance(setting := getattr(self, key), Mapping):
                answering(team, set(setting) - {DEFAULT}, f"recipe {self.name}: {key}", names("agents"))
        if self.train == "none":
            return ()
        if self.train == "all":
            return tuple(team)
        found = answering(team, self.train, f"recipe {self.name}: train", names("agents"))
        return found or answering(team, self.train, f"recipe {self.name}: train")

    def adapters(self, team: Sequence[str]) -> dict[str, str]:
        """Which adapter plays each agent; empty where there is one for all."""
        if self.sharing == "per_role":
            return {agent: agent for agent in team}
        of = {agent: name for name, group in self.groups.items() for agent in group}
        return {agent: of.get(agent, DEFAULT) for agent in team} if of else {}

    def needs_reference(self, everybody: bool) -> bool:
        """Whether the model as it began is kept beside it; `everybody`: all whom it plays learn. With adapters it is the same."""
        return self.lora is None and (not everybody or any(kl.start or kl.end for kl in self.kl.values()))


def refuse_uneven(recipe: PpoRecipe, processes: int) -> None:
    """Several processes share a step question by question.

    Raises:
        ConfigError: they cannot do so evenly.
    """
    if recipe.questions % processes:
        raise ConfigError(
            f"processes: {processes} cannot share a step's {recipe.questions} questions evenly (recipe key questions)"
        )


def refuse_fp16(recipe: PpoRecipe | WarmStartRecipe) -> None:
    """Refuse to learn in fp16: small gradients are 0 in it where the loss is not scaled up. Playing in it is fine.

    Raises:
        ConfigError: the recipe trains somebody in fp16.
    """
    if recipe.dtype == "fp16" and (isinstance(recipe, WarmStartRecipe) or recipe.train != "none"):
        raise ConfigError(
            f"recipe {recipe.name}: dtype: fp16 is for playing, as small gradients vanish in it: train with dtype=bf16"
        )


SUB_PLANNER = "sub_planner"
"""In a table by agent: the planner where it plans a sub-question; `TEAM_sub_planner` that of one side of a duel."""


def _without_below(table: Iterable[str]) -> set[str]:
    """The names of a table that agents answer to: `red_sub_planner` is `red_planner`, say, as a name of `red` is checked."""
    ends = f"_{SUB_PLANNER}"
    return {name.removesuffix(ends) if name.endswith(ends) else name for name in table} - {DEFAULT, SUB_PLANNER}
