"""Any of the four kinds of YAML, named or given by path, with every default filled in. Knows no command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from jade_env.agent import load_agent
from jade_env.config import Kind, load_tree, names, nearest
from jade_env.errors import ConfigError
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario


def resolved(name: str, kind: Kind | None = None, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The mapping that a scenario, agent, policy or study comes to, with overrides applied.

    Raises:
        ConfigError: it does not exist, is not valid, or its kind cannot be told.
    """
    kind = kind or kind_of(name)
    if kind == "scenarios":
        return load_scenario(name, overrides).model_dump(mode="json")
    if kind == "policies":
        return load_recipe(name, overrides).resolved()
    if overrides:
        raise ConfigError("overrides go with a scenario or a policy; a card or a study is changed in a file of its own")
    if kind == "studies":
        from jade_env.research.study import load_study

        return load_study(name).model_dump(mode="json")
    return load_agent(name).model_dump(mode="json")


def kind_of(name: str) -> Kind:
    """Which kind of file a name or path means.

    Raises:
        ConfigError: none, several, or it cannot be told.
    """
    kinds: tuple[Kind, ...] = ("scenarios", "agents", "policies", "studies")
    if "/" in name or name.endswith((".yaml", ".yml")):
        tree, label = load_tree("scenarios", name)
        marks = {
            "learner": "policies",
            "extends": "policies",
            "writes": "agents",
            "team": "scenarios",
            "data": "scenarios",
            "arms": "studies",
        }
        found = [kind for kind in kinds if any(marks[key] == kind for key in tree if key in marks)]
        if len(found) != 1:
            raise ConfigError(f"{label}: cannot tell what it is: say --kind scenarios, agents, policies or studies")
        return found[0]
    meanings = [kind for kind in kinds if name in names(kind)]
    if len(meanings) > 1:
        raise ConfigError(f"{name!r} is found in {' and '.join(meanings)}: say which with --kind {meanings[0]}")
    if not meanings:
        hint = nearest(name, [known for kind in kinds for known in names(kind)])
        raise ConfigError(
            f"there is no scenario, agent, policy or study {name!r}, and a file of your own is given by path{hint}"
        )
    return meanings[0]


def as_yaml(tree: Mapping[str, Any]) -> str:
    """YAML in the order of the tree, short lists on one line and long text as it is."""

    class Dumper(yaml.SafeDumper):
        pass

    def sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
        flat = not any(isinstance(item, list | dict) for item in value)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(list, sequence)
    Dumper.add_representer(str, text)
    return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
