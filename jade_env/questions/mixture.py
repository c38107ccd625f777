"""The kinds of question that the embedded world asks, and in which shares. Plain Python: settings are checked with it."""

from __future__ import annotations

from collections.abc import Mapping

from jade_env.config import nearest
from jade_env.errors import ConfigError

MIXTURE: Mapping[str, float] = {
    "direct": 0.15,
    "single": 0.15,
    "bridge2": 0.15,
    "bridge3": 0.05,
    "list": 0.4,
    "compare_which": 0.05,
    "compare_yesno": 0.05,
}
"""The kinds of question, with the default share of each."""

KINDS: tuple[str, ...] = tuple(MIXTURE)
_MOST_YES_NO = 0.1


def check_mixture(mixture: Mapping[str, float]) -> None:
    """Refuse a mixture that cannot be asked.

    Raises:
        ConfigError: a kind that there is not, a weight that is none, or too many questions of yes and no.
    """
    for kind in mixture:
        if kind not in KINDS:
            raise ConfigError(f"mixture: {kind!r} is not one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    check_weights("mixture", mixture)
    share = mixture.get("compare_yesno", 0.0) / sum(mixture.values())
    if share > _MOST_YES_NO + 1e-9:
        raise ConfigError(
            f"mixture: compare_yesno has a share of {share:.2f}; at most {_MOST_YES_NO} is allowed,"
            " as a guess is right half the time"
        )


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    """Refuse weights that are no numbers of 0 or more, or all 0.

    Raises:
        ConfigError: there is such a weight.
    """
    for key, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"{name}: the weight of {key}, {weight}, is not a number of 0 or more")
    if not sum(weights.values()) > 0:
        raise ConfigError(f"{name}: no weight is above 0")
