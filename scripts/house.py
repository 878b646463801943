"""Draw the floors of the package, from the import contract that `lint-imports` checks.

    python scripts/house.py                            print the picture
    python scripts/house.py --write docs/design.md     put it between the file's two markers
    python scripts/house.py --check docs/design.md     exit code 1 if the file shows another one

The floors come from the layers contract in pyproject.toml, the purpose of each package or module
from the first line of its docstring.
"""

import argparse
import ast
import sys
import tomllib
from pathlib import Path

from bigain.errors import in_one_line

__all__ = ["floors", "main", "picture", "purpose", "with_picture"]

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- house:begin -->", "<!-- house:end -->"


def floors(pyproject: Path = ROOT / "pyproject.toml") -> list[list[str]]:
    """Names of the packages and modules of each floor, the top floor first."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    return [[name.strip(" ()") for name in layer.split("|")] for layer in layers]


def purpose(name: str, package: Path = ROOT / "bigain") -> str:
    """First line of the docstring of `bigain.<name>`, without its full stop."""
    path = package / name / "__init__.py"
    path = path if path.is_file() else package / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].removesuffix(".")


def picture() -> str:
    """One box per floor and one line per package, as text."""
    house = floors()
    lines = [[(name, purpose(name)) for name in names] for names in house]
    width = max(len(name) for names in house for name in names)
    length = max(len(text) for floor in lines for _, text in floor)
    rule = f"+---+-{'-' * width}-+-{'-' * length}-+"
    drawn = [rule]
    for number, floor in zip(range(len(house), 0, -1), lines, strict=True):
        labels = [str(number), *[" "] * (len(floor) - 1)]
        for label, (name, text) in zip(labels, floor, strict=True):
            drawn.append(f"| {label} | {name:{width}} | {text:{length}} |")
        drawn.append(rule)
    return "\n".join(drawn)


def with_picture(document: str) -> str:
    """`document` with the picture between its markers; exits if it lacks them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"no {BEGIN} ... {END} in the document")
    return f"{before}{BEGIN}\n```text\n{picture()}\n```\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Print, write or check the picture; the exit code."""
    parser = argparse.ArgumentParser(description="Draw the floors of the package.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="update the picture in FILE")
    parser.add_argument("--check", type=Path, metavar="FILE", help="fail if FILE shows another")
    options = parser.parse_args(arguments)
    if options.write is not None:
        options.write.write_text(with_picture(options.write.read_text("utf-8")), encoding="utf-8")
    elif options.check is None:
        print(picture())
    elif (text := options.check.read_text("utf-8")) != with_picture(text):
        print(f"{options.check}: run python scripts/house.py --write {options.check}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
