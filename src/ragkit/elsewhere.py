"""What is one ``pip install`` away: packages known to ragkit, and the names they bring.

Listed beside what is installed, so that a name from a configuration or a page leads to its
package. Knows nothing of whether they are installed; nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """A component of a package that may not be installed.

    role, name: as in configurations; a role may be ``model``. distribution: what to install.
    summary: one line.
    """

    role: str
    name: str
    distribution: str
    summary: str

    @property
    def install(self) -> str:
        """What to type."""
        return f"pip install {self.distribution}"


KNOWN = (
    Known(
        "encoder",
        "sentence-transformers",
        "ragkit-sentence-transformers",
        "any SentenceTransformer model, with its prompts; the question side learns",
    ),
    Known(
        "index",
        "hnswlib",
        "ragkit-hnswlib",
        "a graph (HNSW) that grows and forgets rows; filtered search",
    ),
    Known(
        "retriever",
        "bm25",
        "ragkit-bm25",
        "by words: BM25 scores as logits of the prior (section 4.6, Table 6)",
    ),
    Known(
        "retriever",
        "hybrid",
        "ragkit-bm25",
        "fuses any two retrievers by reciprocal rank or normalised sum",
    ),
    Known(
        "generator",
        "causal-lm",
        "ragkit-causal-lm",
        "any decoder-only model of transformers: prompts, chat templates, LoRA",
    ),
    Known(
        "generator",
        "fid",
        "ragkit-fid",
        "Fusion-in-Decoder: all passages of a question read as one (M = 1)",
    ),
    Known(
        "marginalizer",
        "none",
        "ragkit-fid",
        "p(y|x) = p(y|x, all passages): nothing is mixed; for generators that fuse",
    ),
    Known(
        "objective",
        "fid-distillation",
        "ragkit-fid",
        "-log p(y|x), and the prior drawn to where the reader looks",
    ),
)


def absent(role: str | None, installed: set[str]) -> list[Known]:
    """Those of a role (None: of all) whose distributions are not among the installed ones."""
    return [one for one in KNOWN if role in (None, one.role) and one.distribution not in installed]


def hint(away: list[Known]) -> str:
    """``". One install away: bm25, hybrid (pip install ragkit-bm25)"``; "" where there is none."""
    packages: dict[str, list[str]] = {}
    for one in away:
        packages.setdefault(one.install, []).append(one.name)
    said = [f"{', '.join(names)} ({install})" for install, names in packages.items()]
    return f". One install away: {'; '.join(said)}" if said else ""
