"""Placeholder until the renderer is merged."""

from bigain.tables.document import Document

__all__ = ["render_latex"]


def render_latex(document: Document) -> str:
    """Only the title."""
    return document.title
