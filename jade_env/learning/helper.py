"""A process that helps another one to train: it is told by its standard input what, and ends when that one does.

python -m jade_env.learning.helper < job.json          as `jade_env.learning.ranks` calls it
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import json
import sys
import traceback
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from jade_env.config import validate
from jade_env.errors import JadeError
from jade_env.language_recipe import PpoRecipe
from jade_env.learning import ranks
from jade_env.scenario import Scenario


def help_with(job: dict[str, Any]) -> None:
    """Join the others, and do what they do."""
    store = TCPStore(ranks.HOST, int(job["port"]), int(job["size"]), is_master=False)
    ranks.take_device(int(job["rank"]))
    store.set(f"ready {job['rank']}", "")
    with ranks.nobody_else():
        ranks.join(store, int(job["rank"]), int(job["size"]))
    from jade_env.learning.joint import help_training

    game, plan = validate(Scenario, job["scenario"], "scenario"), validate(PpoRecipe, job["recipe"], "recipe")
    help_training(game, plan, job["out"], job["seed"], job["data"])


if __name__ == "__main__":
    try:
        help_with(json.load(sys.stdin))
    except ranks.Lost:
        sys.exit(ranks.LOST)
    except Exception as error:
        if not isinstance(error, JadeError):
            traceback.print_exc()
        kind = "" if isinstance(error, JadeError) else f"{type(error).__name__}: "
        sys.exit(f"{kind}{' '.join(str(error).split())}")  # on one line, the last
