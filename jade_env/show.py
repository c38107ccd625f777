"""Any of the four kinds of YAML, named or given by path, with every default filled in. Knows no command line."""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jade_env.agent import load_agent
from jade_env.config import Kind, is_path, kinds_told, names, nearest
from jade_env.errors import ConfigError
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario


def resolved(name: str, kind: Kind | None = None, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The mapping that a scenario, agent, policy or study comes to, with overrides applied.

    Raises:
        ConfigError: it does not exist, is not valid, or its kind cannot be told.
    """
    return _loaded(name, kind, overrides)[1]


def explained(name: str, kind: Kind | None = None, overrides: Mapping[str, Any] | None = None) -> str:
    """The same as YAML, with a comment above each key: what it means, and what it may be where that is a list.

    Raises:
        ConfigError: as `resolved`.
    """
    return "\n".join(_lines(*_loaded(name, kind, overrides), "", True)) + "\n"


def _loaded(name: str, kind: Kind | None, overrides: Mapping[str, Any] | None) -> tuple[BaseModel, dict[str, Any]]:
    """A file as it was read, and the mapping that it comes to."""
    kind = kind or kind_of(name)
    if kind == "policies":
        recipe = load_recipe(name, overrides)
        return recipe, recipe.resolved()
    if kind == "scenarios":
        found: BaseModel = load_scenario(name, overrides)
    elif overrides:
        raise ConfigError("overrides go with a scenario or a policy; a card or a study is changed in a file of its own")
    elif kind == "studies":
        from jade_env.research.study import load_study

        found = load_study(name)
    else:
        found = load_agent(name)
    return found, found.model_dump(mode="json")


def _lines(model: BaseModel, tree: Mapping[str, Any], indent: str, comments: bool) -> Iterator[str]:
    """A mapping as lines of YAML, its keys explained if there are to be `comments`."""
    for key, value in tree.items():
        typed = getattr(model, key)
        if comments:
            said = _meaning(type(model).model_fields[key], typed)
            yield from textwrap.wrap(
                said, 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
            )
        if isinstance(typed, BaseModel):
            yield f"{indent}{key}:"
            yield from _lines(typed, value, f"{indent}  ", comments)
        elif isinstance(typed, Mapping) and any(isinstance(entry, BaseModel) for entry in typed.values()):
            yield f"{indent}{key}:"
            for number, (name, entry) in enumerate(typed.items()):  # the keys of the first speak for all
                yield f"{indent}  {name}:"
                yield from _lines(entry, value[name], f"{indent}    ", comments and not number)
        else:
            yield textwrap.indent(as_yaml({key: value}).rstrip("\n"), indent)


def _meaning(field: FieldInfo, value: object) -> str:
    """What is said of a key, or of what it holds, and the few values that it may have."""
    about = field.description or (type(value).__doc__ or "" if isinstance(value, BaseModel) else "")
    allowed = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    choice = f"One of {', '.join(map(str, allowed))}." if len(allowed) > 1 else ""
    return " ".join([*about.split("\n\n")[0].split(), choice]).strip()


def kind_of(name: str) -> Kind:
    """Which kind of file a name or path means.

    Raises:
        ConfigError: none, several, or it cannot be told.
    """
    kinds: tuple[Kind, ...] = ("scenarios", "agents", "policies", "studies")
    if is_path(name):
        found = list(kinds_told(name))
        if len(found) != 1:
            raise ConfigError(f"{name}: cannot tell what it is: say --kind scenarios, agents, policies or studies")
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
