"""Retrieval: documents, hits, retrievers."""

from jade_env.retrieval.types import Document, Hit, Retriever

__all__ = ["Document", "Hit", "Retriever"]
