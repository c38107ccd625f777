"""Run by `.ci/run` in an environment that holds nothing but the wheel: the package works without its checkout and extras."""

import importlib.util
import sys
from pathlib import Path

import jade_env
from jade_env.envs.lexicon import analyse
from jade_env.envs.reading import read

assert "site-packages" in str(Path(jade_env.__file__)), jade_env.__file__
assert not any(name in sys.modules for name in ("torch", "stable_baselines3", "matplotlib"))
for name in ("agents", "policies", "scenarios", "studies"):
    assert importlib.util.find_spec(name) is None, f"{name} must not be a package of its own"
assert "cooperative" in jade_env.list_scenarios()
par = jade_env.parallel_env(overrides={"data.passages": 300, "data.train": 50})
observations, infos = par.reset(seed=1)
while par.agents:
    actions = {agent: int(observations[agent]["action_mask"].argmax()) for agent in par.agents}
    observations, rewards, terminations, truncations, infos = par.step(actions)
assert jade_env.game.outputs.parse("answer", "<answer>x</answer>").value == "x"
assert jade_env.metrics.score("Paris", ["paris"]).f1 == 1.0
tokens, kinds, _, _ = analyse(["Kilava,", "U.S.-born", "3,000.5", "city's"])
assert tokens == ("Kilava", ", ", "U.", "S.", "-", "born ", "3,000.5 ", "city", "'s ") and kinds == "U,UU-lNls", tokens
read_query = read("Did Anna of Kilava, Bob and The City of Oslo (1950) live in St. Mary-le-Bow?")
assert read_query.names == ((1, 4), (5, 6), (8, 14), (16, 18)) and read_query.items == ((1, 4), (5, 6), (7, 14)), (
    read_query
)
assert (Path(jade_env.__file__).parent / "backbones" / "jade_tiny" / "model.safetensors").exists(), (
    "no shipped backbone"
)
print("the wheel plays an episode:", {agent: infos[agent]["f1"] for agent in list(infos)[:1]})
