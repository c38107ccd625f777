"""Runs the server of `server.py` with uvicorn: one process or several on one socket, until SIGTERM or Ctrl-C.

Several processes open the retriever each for itself; what is memory-mapped, they share. Knows no index and no scenario.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from jade_env.errors import ConfigError, JadeError, MissingExtra
from jade_env.retrieval.server import Limits, make_app
from jade_env.retrieval.types import Retriever

try:
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess
except ImportError as error:
    raise MissingExtra(error.name or "uvicorn", "serve") from None

GRACE = 30
"""Seconds that requests under way get at the end."""
_KEPT_OPEN = 75  # seconds that an idle connection is kept; longer than clients keep theirs, so that none breaks in use
_WAITING_ROOM = 2048


def serve(
    open_retriever: Callable[[], Retriever],
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    limits: Limits | None = None,
    token: str | None = None,
) -> None:
    """Serve a retriever until the process is told to end; then finish what is under way.

    Every process that begins to serve prints a line with the address.

    Args:
        open_retriever: opens it; with several workers it is pickled and called in each.
        host: the address to listen on.
        port: 0 takes a free one.
        workers: processes.
        limits: what is refused.
        token: bearer token that every search must carry.

    Raises:
        ConfigError: the address cannot be listened on.
        JadeError: the retriever cannot be opened.
    """
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    ready = partial(_announce, f"http://{shown}:{listener.getsockname()[1]}")
    opened = _keep(open_retriever()) if workers == 1 else partial(_open_or_leave, open_retriever)
    config = uvicorn.Config(
        partial(make_app, opened, limits, token, ready),
        factory=True,
        workers=workers,
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEPT_OPEN,
        timeout_graceful_shutdown=GRACE,
    )
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [
        signal.signal(kind, _ignore) for kind in signals
    ]  # uvicorn hears them, and sends them on when it has ended
    try:
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
            return
        supervisor = Multiprocess(config, [listener])
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise JadeError("the server could not start; the line above says why")
    finally:
        listener.close()
        for kind, handler in zip(signals, before, strict=True):
            signal.signal(kind, handler)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; who comes early waits."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_WAITING_ROOM)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; --port 0 takes a free one") from None
    listener.set_inheritable(True)
    return listener


def _announce(address: str, identity: str, documents: int | None) -> None:
    held = "" if documents is None else f", {documents} documents"
    print(f"serving {identity}{held} at {address} (process {os.getpid()}; Ctrl-C ends it)", flush=True)


def _keep(retriever: Retriever) -> Callable[[], Retriever]:
    return lambda: retriever


def _open_or_leave(open_retriever: Callable[[], Retriever]) -> Retriever:
    """Open in a worker; one that cannot leaves with the status at which the others are not started again."""
    with suppress(ImportError):  # what builds an index has bars, whose lock for several processes would be left behind
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())
    try:
        return open_retriever()
    except JadeError as error:
        print(f"jade: {error}", file=sys.stderr, flush=True)
        os._exit(STARTUP_FAILURE)


def _ignore(*_: Any) -> None:
    """The server has ended by itself by the time this is called."""
