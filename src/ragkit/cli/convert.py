"""``ragkit convert``: what others saved to ragkit's folders, and a model back.

A thin dress over `ragkit.convert`: what may be typed here may be typed there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragkit.cli import terminal
from ragkit.cli.options import decoding

if TYPE_CHECKING:
    from ragkit.convert.report import Report

Out = Annotated[Path, typer.Option("--out", "-o", help="The new folder.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Faiss = Annotated[
    Path | None,
    typer.Option("--faiss", help="A faiss index, for its vectors where the passages have none."),
]
Index = Annotated[str, typer.Option(help="Index component of the knowledge base.")]
IndexOption = Annotated[
    list[str] | None,
    typer.Option("--index-option", "-i", help="As in factory=HNSW32; repeatable."),
]
Dtype = Annotated[str, typer.Option(help="Of the stored vectors: float32 or float16.")]


def register(app: typer.Typer) -> None:
    convert = typer.Typer(
        help="From Hugging Face RAG, DPR and FiD, and back: hf-rag, to-hf-rag, dpr, kb, retrieval."
    )
    for name, verb in (
        ("hf-rag", hf_rag),
        ("to-hf-rag", to_hf_rag),
        ("dpr", dpr),
        ("kb", kb),
        ("retrieval", retrieval),
    ):
        convert.command(name)(verb)
    app.add_typer(convert, name="convert", no_args_is_help=True)


def hf_rag(
    folder: Annotated[str, typer.Argument(help="A checkpoint's folder, or its hub name.")],
    out: Out,
    passage_encoder: Annotated[
        str | None,
        typer.Option(
            "--passage-encoder",
            help="Folder or hub name of the encoder of the passages, if the checkpoint has none.",
        ),
    ] = None,
    kb: Annotated[
        Path | None, typer.Option("--kb", help="A ragkit knowledge base to answer from.")
    ] = None,
    passages: Annotated[
        Path | None,
        typer.Option(help="Passages with embeddings to make one of; by default the checkpoint's."),
    ] = None,
    faiss: Faiss = None,
    index: Index = "exact",
    index_option: IndexOption = None,
    dtype: Dtype = "float32",
    marginalizer: Annotated[
        str | None, typer.Option(help="rag-sequence or rag-token; by default the checkpoint's.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Decoding default, as in num_beams=4; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """A checkpoint of transformers' RAG (facebook/rag-token-nq …) to a ragkit model."""
    from ragkit.convert import from_hf_rag

    generation = decoding(option, "--option")
    table = {"name": index, **decoding(index_option, "-i", "factory=HNSW32")}
    with terminal.status("reading the checkpoint"):
        report = from_hf_rag(
            folder,
            out,
            passage_encoder=passage_encoder,
            knowledge_base=kb,
            passages=passages,
            faiss=faiss,
            index=table,
            dtype=dtype,
            marginalizer=marginalizer,
            generation=generation,
        )
    _show(report, json)


def to_hf_rag(
    model: Annotated[str, typer.Argument(help="Folder of a saved RAG, or its name.")],
    out: Out,
    kb: Annotated[
        Path | None, typer.Option("--kb", help="Another knowledge base than the model's own.")
    ] = None,
    passages: Annotated[
        bool, typer.Option(help="Write the knowledge base, as a datasets folder and faiss index.")
    ] = True,
    k: Annotated[int, typer.Option("-k", "--k", help="n_docs: passages to read.")] = 5,
    factory: Annotated[str, typer.Option(help="Of the faiss index.")] = "Flat",
    json: Json = False,
) -> None:
    """A ragkit model to a folder that transformers' RAG opens."""
    from ragkit.convert import to_hf_rag as convert

    with terminal.status("opening the model"):
        report = convert(model, out, knowledge_base=kb, passages=passages, k=k, factory=factory)
    _show(report, json)


def dpr(
    file: Annotated[Path, typer.Argument(help="A biencoder checkpoint of DPR (.cp).")],
    out: Out,
    base: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of the BERT it was trained from, with tokenizer."),
    ] = None,
    json: Json = False,
) -> None:
    """A DPR checkpoint, question and passage encoder, to an encoder folder."""
    from ragkit.convert import from_dpr

    with terminal.status("reading the checkpoint"):
        report = from_dpr(file, out, base=base)
    _show(report, json)


def kb(
    passages: Annotated[
        Path,
        typer.Argument(help="Folder of a dataset with embeddings, parquet, or a file (--faiss)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the knowledge base goes.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model that shall answer from it.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="An encoder component in place of a model's; dpr if only -e.")
    ] = None,
    encoder_option: Annotated[
        list[str] | None,
        typer.Option("--encoder-option", "-e", help="As in model=FOLDER; repeatable."),
    ] = None,
    faiss: Faiss = None,
    split: Annotated[str | None, typer.Option(help="Of a dataset that has several.")] = None,
    column: Annotated[str, typer.Option(help="Of the vectors.")] = "embeddings",
    index: Index = "exact",
    index_option: IndexOption = None,
    dtype: Dtype = "float32",
    sample: Annotated[
        int, typer.Option(help="Passages that are encoded again and compared; 0 for none.")
    ] = 16,
    resume: Annotated[bool, typer.Option(help="Go on where an interrupted one was.")] = True,
    json: Json = False,
) -> None:
    """Passages with ready vectors (wiki_dpr …) to a knowledge base; nothing is encoded anew."""
    from ragkit.cli.kb import _encoder
    from ragkit.convert import to_knowledge_base

    table = {"name": index, **decoding(index_option, "-i", "factory=HNSW32")}
    made, generator = _encoder(model, encoder, encoder_option)
    report = to_knowledge_base(
        passages,
        out,
        made,
        faiss=faiss,
        split=split,
        column=column,
        index=table,
        generator=generator,
        dtype=dtype,
        sample=sample,
        resume=resume,
    )
    _show(report, json)


def retrieval(
    file: Annotated[Path, typer.Argument(help="Results or training file of DPR, or data of FiD.")],
    out: Out,
    k: Annotated[
        int | None, typer.Option("-k", "--k", help="Passages kept of each question.")
    ] = None,
    json: Json = False,
) -> None:
    """Questions with retrieved passages (DPR, FiD) to examples and predictions."""
    from ragkit.convert import from_retrieval

    _show(from_retrieval(file, out, k=k), json)


def _show(report: Report, json: bool) -> None:
    if json:
        terminal.json_object(report.as_dict())
        return
    said: dict[str, Any] = {"made": report.made, "note": report.notes, "dropped": report.dropped}
    for what, lines in said.items():
        for line in lines:
            terminal.show(f"{what:8} {line}", style=None if what == "made" else "dim")
