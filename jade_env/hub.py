"""What a user calls a model: a folder in the Hugging Face layout, or an id of its hub (`owner/name`). Loads nothing."""

from __future__ import annotations

from os.path import expanduser
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

ModelName = Annotated[str, AfterValidator(expanduser)]
"""A folder, with `~` as the user's home, or an id of the hub."""


def is_missing_folder(name: str) -> bool:
    """Whether a folder is meant and is not there, so that the hub need not be asked: an id has at most one slash."""
    means_folder = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or Path(name).is_file()
    return means_folder and not Path(name).is_dir()
