"""Placeholder until the renderer is merged."""

from bigain.tables.document import Document

__all__ = ["render_html"]


def render_html(document: Document) -> str:
    """Only the title."""
    return document.title
