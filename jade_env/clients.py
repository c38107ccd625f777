"""What clients of servers have in common: a request that failed, whether that may pass, whose machine a host is. Sends nothing."""

from __future__ import annotations

import ipaddress
import time
from email.utils import parsedate_to_datetime


class Failure(Exception):
    """A request that brought no right answer; `pause` is what the server asked for, `passing` whether it may pass."""

    def __init__(self, reason: str, pause: float = 0.0, passing: bool = True) -> None:
        super().__init__(reason)
        self.pause, self.passing = pause, passing


def may_pass(status: int) -> bool:
    """Whether the same request may be answered later: the server is busy, or at fault."""
    return status >= 500 or status in (408, 425, 429)


def retry_after(header: str | None) -> float:
    """Seconds that a Retry-After header asks for, given in seconds or as a date; 0 for anything else."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return seconds if 0 <= seconds < float("inf") else 0.0


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, which no other reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
