"""jade-env: retrieval-augmented question answering as a multi-agent game.

    import jade_env
    env = jade_env.env("cooperative", mode="discrete")     # PettingZoo AEC
    par = jade_env.parallel_env()                          # PettingZoo parallel
    pool = jade_env.make_pool("cooperative", n=64)         # many episodes at once

The manual page of the environment is the docstring of `jade_env.envs`. Importing this package loads no learning library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jade_env import game, learning, metrics
    from jade_env.envs.aec import env, raw_env
    from jade_env.envs.check import check_scenario
    from jade_env.envs.parallel import parallel_env
    from jade_env.envs.pool import make_pool
    from jade_env.errors import JadeError
    from jade_env.policy.single_agent import single_agent_env
    from jade_env.scenario import load_scenario

__version__ = "0.1.0"

_HOMES = {
    "JadeError": "jade_env.errors",
    "check_scenario": "jade_env.envs.check",
    "env": "jade_env.envs.aec",
    "load_scenario": "jade_env.scenario",
    "make_pool": "jade_env.envs.pool",
    "parallel_env": "jade_env.envs.parallel",
    "raw_env": "jade_env.envs.aec",
    "single_agent_env": "jade_env.policy.single_agent",
}
_ROOMS = ("envs", "game", "learning", "metrics", "policy", "questions", "research", "retrieval")

__all__ = [
    "JadeError", "check_scenario", "env", "game", "learning", "list_scenarios", "load_scenario", "make_pool", "metrics",
    "parallel_env", "raw_env", "single_agent_env",
]  # fmt: skip


def list_scenarios() -> list[str]:
    """The names of the scenarios that ship with the package."""
    from jade_env.config import names

    return names("scenarios")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _ROOMS:
        value = import_module(f"jade_env.{name}")
    else:
        raise AttributeError(f"module 'jade_env' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})


def _register() -> None:
    """Tell Gymnasium and PettingZoo about every shipped scenario and, for `cooperative`, every role."""
    import gymnasium
    import pettingzoo

    for scenario in list_scenarios():
        for api, entry in (("aec", "jade_env:env"), ("parallel", "jade_env:parallel_env")):
            pettingzoo.register(api, f"jade/{scenario}-v0", entry_point=entry, kwargs={"scenario": scenario})
    for role in (
        "planner", "query_rewriter", "serial_decomposer", "parallel_decomposer", "document_selector", "answer_generator",
        "answer_summarizer",
    ):  # fmt: skip
        name = "".join(part.capitalize() for part in role.split("_"))
        # the heuristic's one workflow gives nobody else a turn
        partners = "heuristic" if role in ("planner", "answer_generator") else "random"
        kwargs = {"agent": role, "partners": partners}
        gymnasium.register(f"jade/{name}-v0", entry_point="jade_env:single_agent_env", kwargs=kwargs)


_register()
