"""Knowledge bases: passages with their vectors and an index, on disk, in generations."""

from ragkit.knowledge.base import KnowledgeBase
from ragkit.knowledge.readers import read
from ragkit.knowledge.splitter import split_sentences, split_words

__all__ = ["KnowledgeBase", "read", "split_sentences", "split_words"]
