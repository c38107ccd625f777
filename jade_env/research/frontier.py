"""Performance against cost: which arms nobody beats at their price. Knows points, not what made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """What one arm reaches, and what it pays for it."""

    name: str
    cost: float
    score: float


def pareto(points: Sequence[Point]) -> list[str]:
    """Return the names on the frontier, cheapest first: no other point scores as much for less, or more for as little.

    Points that coincide are on it together.
    """
    best = [point for point in points if not any(_beats(other, point) for other in points)]
    return [point.name for point in sorted(best, key=lambda point: (point.cost, point.name))]


def _beats(one: Point, other: Point) -> bool:
    as_good = one.score >= other.score and one.cost <= other.cost
    return as_good and (one.score > other.score or one.cost < other.cost)
