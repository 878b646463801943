"""The claims of the paper, from the committed runs: files, and the tables of README and docs.

    python scripts/claims.py            # or: make claims
    python scripts/claims.py --check    # exit code 1 and their names if files would change

Writes `results/mini/claims.csv`, the part of docs/results.md between the marks
`<!-- claims:begin -->` and `<!-- claims:end -->`, and the one of README.md between those of
`results`.  What is tested stands in configs/claims.yaml.  It starts no run.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from marks import between

from bigain.config.paper import load_paper
from bigain.errors import UserError
from bigain.files import replace_text
from bigain.launch.compose import compose_configs
from bigain.tables.claim_page import claims_csv, claims_markdown, rivals_markdown
from bigain.tables.claim_results import measure_claims, read_registered
from bigain.tables.claim_runs import ClaimRuns
from bigain.tables.claims import ClaimsSpec, load_claims
from bigain.tables.planner import plan_table, remembering
from bigain.tables.render import families_of_all, load_spec

__all__ = ["main", "texts"]

ROOT = Path(__file__).parents[1]


def texts(root: Path) -> Mapping[Path, str]:
    """The files with what they should contain.

    Raises:
        UserError: Records are damaged, a claim names a page that is not there, or a file has no
            marks.

    """
    results = root / "results"
    compose = remembering(compose_configs)
    extra = (f"paths.results={results}",)
    plan = plan_table(load_spec(4), "mini", "default", extra, compose)
    tables = families_of_all(compose).of(plan)
    spec, runs = load_claims(), ClaimRuns(results, compose)
    _check_pages(spec, root / "docs")
    registered = read_registered(results / "mini" / "decomposition.csv")
    found = measure_claims(spec, runs, load_paper(), tables, registered)
    page, readme = root / "docs" / "results.md", root / "README.md"
    return {
        results / "mini" / "claims.csv": claims_csv(found),
        page: between(page, "claims", claims_markdown(spec, found)),
        readme: between(readme, "results", rivals_markdown(spec, runs)),
    }


def _check_pages(spec: ClaimsSpec, docs: Path) -> None:
    for claim in spec.claims:
        page = docs / claim.page.partition("#")[0]
        if claim.page and not page.is_file():
            raise UserError(f"configs/claims.yaml: {claim.id}: page={claim.page}: no such file")


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; 1 if a checked one differs, 2 and one line for a mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    options = parser.parse_args(arguments)
    try:
        found = texts(ROOT)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    other = [
        path
        for path, text in found.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in other:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if not options.check:
            replace_text(path, found[path])
    return 1 if options.check and other else 0


if __name__ == "__main__":
    sys.exit(main())
