"""The command `jade serve`: finds what is meant by its argument and serves it. Decides nothing else."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jade_env.cli_options import DataOpt, scenario_named
from jade_env.clients import is_loopback
from jade_env.config import names, parse_overrides
from jade_env.errors import ConfigError

if TYPE_CHECKING:
    from jade_env.retrieval.types import Retriever


def serve(
    what: Annotated[
        str,
        typer.Argument(
            metavar="INDEX|SCENARIO|CORPUS.jsonl",
            help="An index folder, a scenario by name or path, or a corpus (BM25).",
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides of a scenario, such as retriever.k1=0.9.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on; only this machine unless given.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one and prints it.")] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes; an index folder is memory-mapped and shared by them.")
    ] = 1,
    split: Annotated[str, typer.Option("--split", help="Of a scenario: whose corpus.")] = "train",
    data: DataOpt = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Documents a query where a request does not say.")] = 5,
    max_top_k: Annotated[int, typer.Option("--max-top-k", min=1, help="Documents a query at most.")] = 100,
    batch_window_ms: Annotated[
        float, typer.Option("--batch-window-ms", min=0, max=1000, help="How long a request may wait for company.")
    ] = 2.0,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Queries searched together; 1 searches each request alone.")
    ] = 64,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Queries that may wait; beyond that clients are told to come back.")
    ] = 4096,
    max_body_mb: Annotated[float, typer.Option("--max-body-mb", min=0.001, help="Size of a request.")] = 8.0,
    token_env: Annotated[
        str | None,
        typer.Option(
            "--token-env", metavar="NAME", help="The environment variable with the token that clients must send."
        ),
    ] = None,
) -> None:
    """Serve a retriever over HTTP: POST /retrieve as Search-R1 does, POST /search as JADE does, and GET /healthz.

    Clients point at it with `retriever: {kind: remote, urls: \\[http://127.0.0.1:8000]}` in a scenario. SIGTERM and Ctrl-C
    let requests that are under way finish.

    Example: jade serve small_world --split test

    Example: jade serve indexes/wiki18 --workers 4 --port 8000

    Example: curl -d '{"queries": ["who founded Oslo?"], "topk": 3, "return_scores": true}' http://127.0.0.1:8000/retrieve
    """
    from jade_env.retrieval.serve import serve as run
    from jade_env.retrieval.server import Limits

    if top_k > max_top_k:
        raise ConfigError(f"--top-k {top_k} is more than --max-top-k {max_top_k}")
    token = _token(token_env, host)
    limits = Limits(
        top_k=top_k,
        max_top_k=max_top_k,
        max_body=int(max_body_mb * 1_000_000),
        window=batch_window_ms / 1000,
        max_batch=max_batch,
        max_queue=queue,
    )
    opening = partial(open_served, what, tuple(overrides or ()), split, data)
    run(opening, host, port, workers, limits, token)


def _token(variable: str | None, host: str) -> str | None:
    """What clients must send; None where nothing is asked of them."""
    token = None if variable is None else os.environ.get(variable, "")
    if token == "":
        raise ConfigError(f"--token-env {variable}: the environment has no such variable, or it is empty")
    if token is None and not is_loopback(host):
        typer.echo(f"warning: everyone who reaches {host} can search; --token-env NAME asks them for a token", err=True)
    return token


def open_served(
    what: str, overrides: tuple[str, ...] = (), split: str = "train", data: Path | None = None
) -> Retriever:
    """Open what an argument of `jade serve` names.

    Raises:
        ConfigError: it names nothing, or overrides are given for what is no scenario.
        DataError: it cannot be read.
    """
    path = Path(what)
    given = parse_overrides(list(overrides))
    other = path.is_file() and path.suffix not in (".yaml", ".yml") and what not in names("scenarios")
    corpus = path.suffix == ".jsonl" or other
    if given and (corpus or (path.is_dir() and given.keys() != {"encoder"})):
        raise ConfigError(
            f"{overrides[0]}: overrides go with a scenario, and {what} is none (of an index: encoder=FOLDER)"
        )
    if path.is_dir():
        from jade_env.retrieval.folder import open_index

        return open_index(path, encoder=None if "encoder" not in given else str(given["encoder"]))
    if corpus:
        from jade_env.retrieval.bm25 import BM25Retriever

        return BM25Retriever.cached(path)
    from jade_env.envs.source import open_source

    source = open_source(scenario_named(what, overrides), data)
    source.questions(split)  # a split that is not there is refused
    return source.retriever(split)
