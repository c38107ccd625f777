"""The commands `jade index build|info|search`: arguments in, one call into `retrieval`, a table or one JSON object out."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jade_env.config import parse_overrides, validate
from jade_env.errors import ConfigError

if TYPE_CHECKING:
    from jade_env.retrieval.builder import Progress
    from jade_env.retrieval.folder import Manifest

index_app = typer.Typer(
    no_args_is_help=True,
    help="Build, look at and search an index of a corpus too large to index anew for every run.",
)

IndexArg = Annotated[Path, typer.Argument(metavar="INDEX", help="A folder made by jade index build.")]
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SHOWN = 200


@index_app.command()
def build(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Passages as JSON lines: id, and contents or text.")],
    out: Annotated[Path, typer.Option("--out", metavar="INDEX", help="The folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Further keys of the retriever block, such as k1=1.2 or dtype=fp16."),
    ] = None,
    retriever: Annotated[Literal["bm25", "dense"], typer.Option("--retriever", help="What kind of index.")] = "bm25",
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="dense: tfidf-svd, or a neural encoder's folder or id.")
    ] = None,
    index: Annotated[
        str | None, typer.Option("--index", metavar="FACTORY", help="dense: Flat, HNSW32, IVF4096,PQ64, SQ8, ...")
    ] = None,
    memory: Annotated[str, typer.Option("--memory", help="What building may take, at least 1G.")] = "4G",
) -> None:
    """Build an index of a corpus. The corpus is streamed; a build that was stopped goes on when called again the same way.

    Example: jade index build corpus.jsonl --out index-bm25

    Example: jade index build corpus.jsonl --retriever dense --encoder intfloat/e5-base-v2 --index IVF4096,PQ64 --out index-e5
    """
    from jade_env.retrieval.builder import build_index
    from jade_env.retriever_settings import Bm25, Dense

    given: dict[str, Any] = {"encoder": encoder, "index": index}
    tree = {"kind": retriever, **parse_overrides(overrides or [])} | {k: v for k, v in given.items() if v is not None}
    kind: type[Bm25 | Dense] = Bm25 if retriever == "bm25" else Dense
    settings = validate(kind, tree, "retriever")
    try:
        with _progress() as progress:
            manifest = build_index(corpus, settings, out, memory=_bytes(memory), progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    rate = manifest.corpus.passages / max(manifest.seconds, 0.01)
    typer.echo(
        f"{manifest.corpus.passages:,} passages in {out}: {manifest.bytes / 1e6:,.1f} MB, built in {manifest.seconds:.0f} s "
        f"({rate:,.0f} passages/s)"
    )
    typer.echo(f"next: {shlex.join(['jade', 'index', 'search', str(out), 'a question'])}")


@index_app.command()
def info(
    index: IndexArg,
    check: Annotated[bool, typer.Option("--check", help="Compare every file with its hash.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of the table.")] = False,
) -> None:
    """Print what an index holds: corpus, settings, encoder, sizes, versions.

    Example: jade index info index-bm25
    """
    from jade_env.retrieval.folder import check_files, read_manifest

    manifest = read_manifest(index)
    if check:
        check_files(index, manifest)
    if as_json:
        typer.echo(
            json.dumps({"identity": manifest.identity, "bytes": manifest.bytes, **manifest.model_dump(mode="json")})
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in _facts(manifest):
        table.add_row(key, value)
    Console(highlight=False, markup=False).print(table)


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    settings = manifest.retriever.model_dump(exclude={"kind", "top_k", "cache", "path", "device"}, exclude_none=True)
    passages = manifest.corpus.passages
    yield "identity", manifest.identity
    yield "corpus", f"{manifest.corpus.name}, {passages:,} passages, sha256 {manifest.corpus.file.sha256[:16]}"
    yield "settings", ", ".join(f"{key}={value}" for key, value in settings.items() if value != {})
    if manifest.encoder:
        yield "encoder", f"{manifest.encoder}, vectors of length {manifest.dimensions}"
    yield "size", f"{manifest.bytes / 1e6:,.1f} MB, {manifest.bytes / passages:,.0f} bytes a passage"
    for name, facts in manifest.files.items():
        yield "", f"{name} {facts.bytes / 1e6:,.1f} MB"
    yield "built", f"in {manifest.seconds:.0f} s with {', '.join(f'{k} {v}' for k, v in manifest.versions.items())}"


@index_app.command()
def search(
    index: IndexArg,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.")],
    top_k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Passages to find.")] = 5,
    nprobe: Annotated[int | None, typer.Option("--nprobe", min=1, help="Clusters an IVF index looks at.")] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="DIR", help="Where its encoder lies now, if it has been moved.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of the list.")] = False,
) -> None:
    """Print the passages an index finds for a question, best first.

    Example: jade index search index-bm25 "Which river flows through Basel?" -k 3
    """
    from jade_env.retrieval.folder import open_index

    retriever = open_index(index, search={"nprobe": nprobe} if nprobe else None, encoder=encoder)
    if isinstance(place := getattr(retriever, "place", None), str):
        typer.echo(place, err=True)
    (hits,) = retriever.search([question], top_k)
    if as_json:
        found = [
            {"id": h.document.id, "title": h.document.title, "text": h.document.text, "score": h.score} for h in hits
        ]
        typer.echo(json.dumps({"question": question, "hits": found}))
        return
    for place, hit in enumerate(hits, start=1):
        text = _one_line(hit.document.text)
        typer.echo(f"{place}. {hit.score:.3f}  [{hit.document.id}] {_one_line(hit.document.title)}\n   {text}")
    if not hits:
        typer.echo("nothing found")


def _one_line(text: str) -> str:
    """A passage's text fit for a terminal: without control characters, and short."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text[: 4 * _SHOWN].split()))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise ConfigError(f"--memory {text}: expected a number with K, M, G or T after it, such as 4G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar a stage, with the rate, on stderr; none where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}
        firsts: dict[str, int] = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage], firsts[stage] = bar.add_task(stage, total=total, rate=""), done
            elapsed = bar.tasks[tasks[stage]].elapsed or 0.0
            rate = f"{(done - firsts[stage]) / elapsed:,.0f}/s" if elapsed > 1 else ""
            bar.update(tasks[stage], completed=done, total=total, rate=rate)

        yield tell
