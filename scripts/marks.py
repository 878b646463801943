"""Parts of documents that scripts write: `<!-- name:begin -->` ... `<!-- name:end -->`."""

from pathlib import Path

from bigain.errors import UserError

__all__ = ["between"]


def between(path: Path, name: str, text: str) -> str:
    """The file with another text between its marks.

    Raises:
        UserError: It has no such marks.

    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise UserError(f"{path}: has no marks {begin.strip()} and {end}")
    return f"{before}{begin}{text}{end}{after}"
