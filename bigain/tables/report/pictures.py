"""The figures of a profile, inside the page."""

import base64
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

__all__ = ["figures_html", "find_figures"]

CAPTIONS = {
    "2": "Accuracy and Frechet distance against sparsity",
    "3": "Generated images under token merging, same seeds across operators",
    "4": "Generated images under token downsampling, same seeds across operators",
    "5": "Token importance, averaged over noise draws",
    "6": "Which tokens merging removes: ToMe against L-GTM",
}
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_NAME = re.compile(r"figure_?0*(\d+)(?:[_-](.*))?")


def find_figures(folder: Path) -> list[Path]:
    """The files `figure*.svg` and `figure*.png`, by number; of one name the smaller of the two."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("figure*")):
        if path.suffix in _KINDS and _NAME.fullmatch(path.stem):
            known = found.setdefault(path.stem, path)
            found[path.stem] = min(path, known, key=lambda each: (each.stat().st_size, each.name))
    return sorted(found.values(), key=_order)


def figures_html(folder: Path) -> str:
    """All figures with their captions, or a sentence if there are none."""
    paths = find_figures(folder)
    if not paths:
        return "<p>No figure has been drawn for this profile: <code>make figures</code>.</p>"
    return "\n".join(_figures(paths))


def _figures(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        caption = escape(_caption(path))
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        image = f'<img src="data:{_KINDS[path.suffix]};base64,{data}" alt="{caption}">'
        yield f'<figure id="{escape(path.stem)}">{image}<figcaption>{caption}</figcaption></figure>'


def _caption(path: Path) -> str:
    number, rest = _parts(path)
    of = f" ({rest.replace('_', ' ')})" if rest else ""
    told = f". {CAPTIONS[number]}" if number in CAPTIONS else ""
    return f"Figure {number}{told}{of}"


def _order(path: Path) -> tuple[int, str]:
    number, rest = _parts(path)
    return int(number), rest


def _parts(path: Path) -> tuple[str, str]:
    match = _NAME.fullmatch(path.stem)
    assert match is not None, "find_figures takes no other names"
    return match[1], match[2] or ""
