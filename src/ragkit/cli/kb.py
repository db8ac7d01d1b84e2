"""``ragkit kb``: build, look into, check, search and tidy up knowledge bases."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from ragkit import shipped
from ragkit.cli import terminal
from ragkit.cli.options import MODEL_HELP, decoding, opened

Folder = Annotated[Path, typer.Argument(help="The knowledge base.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Encoder = Annotated[
    str | None, typer.Option(help="An encoder component in place of a model's; dpr if only -e.")
]
EncoderOption = Annotated[
    list[str] | None,
    typer.Option("--encoder-option", "-e", help="As in model=FOLDER; repeatable."),
]


def register(app: typer.Typer) -> None:
    kb = typer.Typer(help="Knowledge bases: build, info, verify, search, gc.")
    for verb in (build, info, verify, search, gc):
        kb.command(verb.__name__)(verb)
    app.add_typer(kb, name="kb", no_args_is_help=True)


def build(
    files: Annotated[
        list[Path], typer.Argument(help="jsonl, tsv (also .gz), txt, md, or folders of texts.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the knowledge base goes.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL_HELP)] = None,
    encoder: Encoder = None,
    encoder_option: EncoderOption = None,
    index: Annotated[str, typer.Option(help="Index component.")] = "exact",
    index_option: Annotated[
        list[str] | None,
        typer.Option("--index-option", "-i", help="As in factory=HNSW32; repeatable."),
    ] = None,
    split: Annotated[str, typer.Option(help="words, sentences or none.")] = "words",
    words: Annotated[int, typer.Option(help="Words a passage at most.")] = 100,
    dtype: Annotated[str, typer.Option(help="Of the vectors: float16 or float32.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Passages encoded at once.")] = 64,
    resume: Annotated[
        bool, typer.Option(help="Go on where an interrupted build of the same options was.")
    ] = True,
    json: Json = False,
) -> None:
    """Build a knowledge base from files, for the model that shall answer from it.

    An interrupted build goes on where it was.
    """
    from ragkit import KnowledgeBase

    passages = _passages(files, split, words)
    index_table = {"name": index, **decoding(index_option, "-i", "factory=HNSW32")}
    made, generator = _encoder(model, encoder, encoder_option)
    try:
        base = KnowledgeBase.build(
            passages,
            made,
            index_table,
            out,
            generator=generator,
            dtype=dtype,
            batch_size=batch_size,
            resume=resume,
        )
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it was", err=True)
        raise
    _describe(base, json)


def info(folder: Folder, json: Json = False) -> None:
    """Say what a knowledge base holds, and how well its index finds it."""
    from ragkit import KnowledgeBase

    _describe(KnowledgeBase.open(folder), json)


def verify(folder: Folder, json: Json = False) -> None:
    """Compare every file with its checksum."""
    from ragkit import KnowledgeBase

    base = KnowledgeBase.open(folder)
    with terminal.status("reading every file"):
        base.verify()
    if json:
        terminal.json_object({"ok": True, "generation": base.generation, "passages": len(base)})
    else:
        terminal.show(f"{folder}: {len(base):,} passages, every file is what was written")


def search(
    folder: Folder,
    question: Annotated[str, typer.Argument(help="What to look for.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL_HELP)] = None,
    encoder: Encoder = None,
    encoder_option: EncoderOption = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many.")] = 5,
    json: Json = False,
) -> None:
    """The passages nearest to a question, by exact scores.

    The encoder must be the one that built the knowledge base.
    """
    import torch

    from ragkit import KnowledgeBase
    from ragkit.errors import EncoderMismatch

    base = KnowledgeBase.open(folder)
    made = _encoder(model, encoder, encoder_option)[0]
    try:
        base.check_encoder(made)
    except EncoderMismatch as error:
        if model or encoder or encoder_option:
            raise
        raise EncoderMismatch(
            f"{error}. None was named, so it is that of {shipped.DEFAULT}; name it by --model, or "
            "by --encoder and -e"
        ) from error
    with torch.no_grad():
        query = made.questions([question]).float().cpu().numpy()
    hits = base.search(query, k)
    rows = [int(row) for row in hits.ids[0] if row >= 0]
    found = [
        {"score": round(float(score), 4), "id": p.id, "title": p.title, "text": p.text}
        for p, score in zip(base.passages(rows), hits.scores[0], strict=False)
    ]
    if json:
        terminal.json_object({"question": question, "passages": found})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for heading in ("score", "id", "passage"):
        table.add_column(heading, overflow="fold")
    for one in found:
        title = f"{one['title']}\n" if one["title"] else ""
        table.add_row(str(one["score"]), str(one["id"]), f"{title}{one['text']}")
    terminal.show(table)


def gc(folder: Folder, json: Json = False) -> None:
    """Delete old generations that nobody is reading."""
    from ragkit import KnowledgeBase

    gone = KnowledgeBase.open(folder).gc()
    if json:
        terminal.json_object({"deleted": gone})
    else:
        names = ", ".join(map(str, gone)) or "nothing to delete"
        terminal.show(f"{folder}: {names}")


def _passages(files: list[Path], split: str, words: int) -> Iterator[Any]:
    from ragkit.errors import ConfigError
    from ragkit.knowledge import read, split_sentences, split_words

    # Each file is looked for now: a missing one is better known before a model is opened.
    stream = chain.from_iterable([read(file) for file in files])
    if split == "words":
        return split_words(stream, words)
    if split == "sentences":
        return split_sentences(stream, words)
    if split != "none":
        raise ConfigError(f"--split is {split!r}; choose words, sentences or none")
    return stream


def _encoder(
    model: str | None, encoder: str | None, encoder_option: list[str] | None
) -> tuple[Any, Any]:
    """The encoder that is named, or a model's, with the generator whose tokens are kept."""
    from ragkit import config
    from ragkit.errors import ConfigError

    options = decoding(encoder_option, "-e", "model=FOLDER")
    with terminal.status("opening the encoder"):
        if model is None and (encoder or options):
            return config.build("encoder", {"name": encoder or "dpr", **options}), None
        rag = opened(model)
    found = getattr(rag.retriever, "encoder", None)
    if found is None:
        raise ConfigError(f"the retriever of {str(model)!r} has no encoder; give --encoder")
    return found, rag.generator


def _describe(base: Any, json: bool) -> None:
    manifest = base.manifest
    size = sum(entry["bytes"] for entry in manifest.files.values())
    facts = {
        "directory": str(base.directory),
        "generation": base.generation,
        "passages": len(base),
        "dimension": base.dimension,
        "dtype": manifest.dtype,
        "encoder": manifest.encoder,
        "generator tokens": bool(manifest.tokenization),
        "index": manifest.index,
        "recall of the index": base.recall,
        "bytes": size,
        "made by": manifest.created_by,
    }
    if json:
        terminal.json_object(facts)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items() if one not in (None, {}))
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        table.add_row(name, str(value))
    terminal.show(table)
