"""YAML that users write: found by name or path, overridden by dotted keys, validated; every refusal names file and key.

Knows pydantic models only through their fields; the models themselves live elsewhere (agent.py, scenario.py, recipe.py, ...).
"""

from __future__ import annotations

import difflib
import importlib
import re
import typing
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from jade_env.errors import ConfigError, JadeError

Kind = Literal["agents", "policies", "scenarios", "studies"]
_TELLING: Mapping[Kind, frozenset[str]] = {
    "agents": frozenset(("writes", "prompts")),
    "policies": frozenset(("learner", "extends")),
    "scenarios": frozenset(("data", "retriever", "team", "workflows")),
    "studies": frozenset(("arms",)),
}
"""Keys by which a file tells of which kind it is: only files of that kind have them."""
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of everything a user may write: immutable; unknown keys, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, given: Any) -> Any:
        return {key: _tuples(value) for key, value in given.items()} if isinstance(given, Mapping) else given


def _tuples(value: Any) -> Any:
    """What YAML has as a list is a tuple in settings, which do not change."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(item) for key, item in value.items()} if type(value) is dict else value


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of the last one winning."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        name = str(key.value)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is given twice", key.start_mark)
        seen.add(name)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_implicit_resolver(  # YAML 1.1, which PyYAML reads, takes 1e-3 for text
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def names(kind: Kind) -> list[str]:
    """The names of all shipped files of one kind, sorted."""
    folder = resources.files(importlib.import_module(f"jade_env.{kind}"))
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def nearest(word: str, allowed: Iterable[str], cutoff: float = 0.5) -> str:
    """A hint `; did you mean 'x'?`, or nothing where no allowed word is near."""
    match = difflib.get_close_matches(word, list(allowed), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


FileState = tuple[str, int, int]


def file_state(path: str | Path) -> FileState:
    """Which file a path means, and when and how large it was last written: what a cache of its contents goes by."""
    full = Path(path).absolute()
    try:
        stat = full.stat()
    except OSError:
        return str(full), 0, 0
    return str(full), stat.st_mtime_ns, stat.st_size


def is_path(name_or_path: str | Path) -> bool:
    """Whether a file is meant, and not a name that ships with the package."""
    return "/" in str(name_or_path) or str(name_or_path).endswith((".yaml", ".yml"))


def beside(file: str | Path, named: Any) -> Any:
    """What a file names by path: from the file's own folder if it is there, else as it is, from the working directory."""
    if isinstance(named, str) and is_path(file) and is_path(named) and (path := Path(file).parent / named).is_file():
        return str(path)
    return named


def load_tree(kind: Kind, name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """Read one YAML file of a kind by shipped name or by path.

    Returns:
        The parsed mapping and the label that errors about it should begin with.

    Raises:
        ConfigError: there is no such name or file, it is not readable, not a YAML mapping, or a file of another kind.
    """
    text, label = _read_text(kind, name_or_path)
    tree = _parsed(text, label)
    told = _told(tree)
    if told and kind not in told:
        other, key = next(iter(told.items()))
        raise ConfigError(f"{label}: {key!r} is a key of {other}, and a file of {kind} is wanted here")
    return tree, label


def kinds_told(path: str | Path) -> dict[Kind, str]:
    """Of which kinds a file's keys tell, each with such a key: one as a rule, none of a file that says little.

    Raises:
        ConfigError: there is no such file, or as `load_tree`.
    """
    return _told(_parsed(*_read_file(str(path))))


def _told(tree: Mapping[str, Any]) -> dict[Kind, str]:
    return {kind: min(keys.intersection(tree)) for kind, keys in _TELLING.items() if keys.intersection(tree)}


def _parsed(text: str, label: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{label}:{mark.line + 1}" if mark else label
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{place}: not valid YAML: {problem}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{label}: expected keys and values, found {_found(tree)}")
    return tree


def _read_text(kind: Kind, name_or_path: str | Path) -> tuple[str, str]:
    given = str(name_or_path)
    if is_path(given):
        return _read_file(given)
    known = names(kind)
    if given not in known:
        singular = {"agents": "agent", "policies": "policy", "scenarios": "scenario", "studies": "study"}[kind]
        hint = nearest(given, known)
        raise ConfigError(
            f"there is no {singular} {given!r}{hint or ';'} shipped: {', '.join(known)}; a file of your own is given by path"
        )
    file = resources.files(importlib.import_module(f"jade_env.{kind}")) / f"{given}.yaml"
    return file.read_text(encoding="utf-8"), f"{kind}/{given}.yaml"


def _read_file(given: str) -> tuple[str, str]:
    try:
        return Path(given).read_text(encoding="utf-8"), given
    except FileNotFoundError:
        raise ConfigError(f"{given}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{given}: cannot be read: {error}") from None


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn `["reward.round_cost=0.1", ...]` into `{"reward.round_cost": 0.1, ...}`; values are YAML."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override {pair!r}: expected KEY=VALUE, such as reward.round_cost=0.1")
        try:
            result[key.strip()] = yaml.load(value, Loader=_StrictLoader)
        except yaml.YAMLError:
            raise ConfigError(f"override {pair!r}: the value is not valid YAML") from None
    return result


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The tree's leaves by their dotted keys, as overrides name them; a list is a leaf, and so is an empty mapping."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) and value else {f"{before}{key}": value}
    return leaves


def apply_overrides(
    tree: Mapping[str, Any], overrides: Mapping[str, Any] | None, label: str, by_agent: Collection[str] = ()
) -> dict[str, Any]:
    """Return a copy of `tree` with the dotted keys of `overrides` set; a mapping value replaces the whole key.

    Args:
        tree: what was written.
        overrides: by dotted key, applied in their order.
        label: what errors begin with.
        by_agent: keys whose plain value becomes the `default` of a table where an override names one agent.

    Raises:
        ConfigError: an override goes below a value that holds no keys.
    """
    result: dict[str, Any] = _copy(tree)
    for dotted, value in (overrides or {}).items():
        *parents, last = str(dotted).split(".")
        place = result
        for depth, key in enumerate(parents):
            child = place.setdefault(key, {})
            if child is None:
                child = place[key] = {}
            if not (depth or isinstance(child, dict)) and key in by_agent:
                child = place[key] = {"default": child}
            if not isinstance(child, dict):
                raise ConfigError(f"{label}: override {dotted!r}: {'.'.join(parents[: depth + 1])} holds no keys")
            place = child
        place[last] = _copy(value)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def validate(model: type[Model], tree: Mapping[str, Any], label: str) -> Model:
    """Make the typed form of a mapping.

    Raises:
        ConfigError: one line for each wrong key: file, key path, what was found and what is allowed.
    """
    try:
        return model.model_validate(dict(tree))
    except ValidationError as error:
        lines = dict.fromkeys(_explain(model, problem) for problem in error.errors())
        raise ConfigError("\n".join(f"{label}: {line}" for line in _said_once(lines))) from None


def _said_once(lines: Iterable[str]) -> Iterator[str]:
    """Lines in which the same list of allowed keys stands but once."""
    said: set[str] = set()
    for line in lines:
        problem, _, allowed = line.partition(" allowed: ")
        yield problem.rstrip(";") if allowed in said else line
        said |= {allowed} if allowed else set()


def _explain(model: type[BaseModel], problem: Any) -> str:
    location, allowed = _place(model, problem["loc"])
    path = ".".join(str(part) for part in location)
    if not path:
        return str(problem["ctx"]["error"]) if problem["type"] == "value_error" else str(problem["msg"])
    kind, found = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        hint = nearest(str(location[-1]), allowed) or _further_down(model, str(location[-1]), path)
        return f"{path}: unknown key{hint or ';'} allowed: {', '.join(allowed)}"
    if kind == "missing":
        return f"{path}: missing, and it has no default"
    if kind == "literal_error":
        allowed = [word.strip().strip("'") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{path}: {found!r} is not one of {', '.join(allowed)}{nearest(str(found), allowed)}"
    if kind == "union_tag_invalid":
        tags, tag = (
            [word.strip().strip("'") for word in problem["ctx"]["expected_tags"].split(",")],
            problem["ctx"]["tag"],
        )
        key = problem["ctx"]["discriminator"].strip("'")
        return f"{path}.{key}: {tag!r} is not one of {', '.join(tags)}{nearest(tag, tags)}"
    if kind == "too_short":
        return f"{path}: give at least {problem['ctx']['min_length']}"
    if kind == "value_error":
        return f"{path}: {problem['ctx']['error']}"
    said = problem["msg"].replace("valid tuple", "list").replace("valid dictionary", "mapping of keys to values")
    return f"{path}: {said[0].lower()}{said[1:]}, found {_found(found)}"


def _further_down(model: type[BaseModel], key: str, path: str) -> str:
    """A hint at a key of this name within one of the model's own keys, or at the variant of that key which knows it."""
    for name, field in model.model_fields.items():
        for inner in filter(_is_model, _types_in(field.annotation)):
            if key in inner.model_fields:
                if path != f"{name}.{key}":
                    return f"; did you mean '{name}.{key}'?"
                tags = [(tag, typing.get_args(own.annotation)) for tag, own in inner.model_fields.items()]
                return next((f": it goes with {name}.{tag}: {of[0]};" for tag, of in tags if len(of) == 1), "")
    return ""


def _is_variant_tag(part: str) -> bool:
    """Pydantic adds the tried member of a union to an error's place; a user never wrote it."""
    return part.endswith("]") or part in {"str", "int", "float", "bool", "constrained-str"} or part[:1].isupper()


def _place(model: type[BaseModel], location: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """A mistake's place as the user wrote it, and the keys allowed around it, found by walking the field types."""
    written: list[Any] = []
    models: list[type[BaseModel]] = [model]
    around = models
    table = False
    for part in location:
        if table:  # a name of the user's own, in a table of models
            written.append(part)
            table = False
            continue
        named = [one for one in models if len(models) > 1 and isinstance(part, str) and _is_tag_of(part, one)]
        if named:  # one of several models, called by its tag, which the user did not write as a key
            models = around = named
        elif isinstance(part, int):
            written.append(part)
        elif not _is_variant_tag(part):
            written.append(part)
            field = next((one.model_fields[part] for one in models if part in one.model_fields), None)
            around, models = models, [t for t in _types_in(field.annotation) if _is_model(t)] if field else []
            table = bool(models) and field is not None and typing.get_origin(field.annotation) is dict
    return written, list(around[0].model_fields) if around else []


def _is_tag_of(part: str, model: type[BaseModel]) -> bool:
    return any(typing.get_args(field.annotation) == (part,) for field in model.model_fields.values())


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _types_in(annotation: Any) -> list[Any]:
    inner = typing.get_args(annotation)
    return [annotation] if not inner else [t for part in inner for t in _types_in(part)]


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else f"{value!r}"


def first_line(kind: Kind, name: str) -> str:
    """The `summary` of one shipped file, for listings; a file that cannot be read says so instead of raising."""
    try:
        tree, _ = load_tree(kind, name)
    except JadeError as error:
        return str(error)
    return str(tree.get("summary", ""))


def answering(
    team: Mapping[str, Sequence[str]] | Sequence[str], wanted: Iterable[str], where: str, absent: Collection[str] = ()
) -> tuple[str, ...]:
    """The agents of a team that answer to one of the wanted names, in team order.

    Args:
        team: agents, or each agent with the names it answers to.
        wanted: names.
        where: what names them, for the error.
        absent: names that may be without anybody who answers to them.

    Raises:
        ConfigError: nobody answers to one of the other names.
    """
    names = team if isinstance(team, Mapping) else {agent: (agent,) for agent in team}
    known = list(dict.fromkeys(name for given in names.values() for name in given))
    chosen = set(wanted)
    for name in sorted(chosen):
        if name not in known and name not in absent:
            raise ConfigError(f"{where}: {name!r} is not in the team: {', '.join(known)}{nearest(name, known)}")
    return tuple(agent for agent, given in names.items() if chosen.intersection(given))
