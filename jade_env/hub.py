"""What a user calls a model: the shipped one, a folder in the Hugging Face layout, or an id of its hub. Loads nothing."""

from __future__ import annotations

from importlib.resources import files
from os.path import expanduser
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from jade_env.config import nearest
from jade_env.errors import ConfigError

ModelName = Annotated[str, AfterValidator(expanduser)]
"""A model's name as settings have it, with `~` as the user's home."""
SHIPPED = "jade-tiny"
"""The name of the checkpoint that ships with the package."""


def shipped_folder() -> Path:
    """Where the shipped checkpoint is."""
    return Path(str(files("jade_env") / "backbones" / "jade_tiny"))


def located(name: str, key: str) -> str:
    """Where a model is loaded from: a folder, or an id of the hub, which has at most one slash.

    Args:
        name: the shipped model's name, a folder, or an id.
        key: what an error begins with.

    Raises:
        ConfigError: a folder is meant and is not there. A name whose first part is a folder here means one; one that is almost
            the shipped model's means that.
    """
    if name == SHIPPED:
        return str(shipped_folder())
    means_folder = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or Path(name).is_file()
    if means_folder and not Path(name).is_dir():
        raise ConfigError(f"{key}: there is no folder {name}")
    if name.count("/") == 1 and not Path(name).is_dir() and (above := Path(name).parent).is_dir():
        near = nearest(Path(name).name, [entry.name for entry in above.iterdir() if entry.is_dir()])
        raise ConfigError(f"{key}: there is no folder {name} in {above}{near}")
    if (
        "/" not in name
        and not Path(name).is_dir()
        and (near := nearest(name.lower().replace("_", "-"), [SHIPPED], cutoff=0.85))
    ):
        raise ConfigError(f"{key}: there is no folder {name}{near}")  # no hub is asked for a slip
    return name
