"""Once: give every published run of the mini profile a manifest, and runs.csv its new columns.

The 17 runs without a manifest were published before there were manifests.  A run id is a hash of
the configuration, so the configuration that has the run id is the right one.  What is not known,
such as the machine and the time, is not in a rebuilt manifest.
"""

import json
from pathlib import Path
from typing import Any

from bigain.files import replace_text
from bigain.launch.published import published_config
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import ADDED_COLUMNS
from bigain.runs.files import METRIC_COLUMNS, csv_text
from bigain.runs.identity import EXCLUDED, baseline_id, family_id, run_id
from bigain.runs.manifests import portable
from bigain.runs.store import SCHEMA_VERSION

ARCHIVE = Archive(Path(__file__).parents[1] / "results", "mini")


def main() -> None:
    """Write the files."""
    names = ARCHIVE.run_ids()
    for name in names:
        if not ARCHIVE.published_manifest_path(name).is_file():
            text = json.dumps(rebuilt(name), indent=2, sort_keys=True) + "\n"
            replace_text(ARCHIVE.published_manifest_path(name), text)
    rows = []
    for name in names:
        manifest = ARCHIVE.manifest(name)
        assert manifest is not None
        added = {key: manifest["config"]["operator"].get(key) for key in ADDED_COLUMNS}
        rows += [{**row.plain, **added} for row in ARCHIVE.published_rows(name)]
    replace_text(ARCHIVE.runs_csv, csv_text(METRIC_COLUMNS, rows))


def rebuilt(name: str) -> dict[str, Any]:
    """What is known of a run from its rows, its records and its run id."""
    rows, samples = ARCHIVE.published_rows(name), ARCHIVE.published_samples(name)
    assert samples is not None
    columns = {key: cell or None for key, cell in rows[0].columns.items()}
    config = published_config(columns, sorted({row.metric.n for row in rows}, reverse=True))
    assert config is not None
    known = portable({"config": {k: v for k, v in config.items() if k not in EXCLUDED}})["config"]
    assert run_id(known) == name
    assert known["dataset"]["limit"] in (None, len(samples))
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": name,
        "family_id": family_id(config),
        "baseline_id": baseline_id(config),
        "status": "done",
        "columns": {key: _typed(key, cell) for key, cell in columns.items()},
        "config": known,
        "seed": config["seed"],
        "dtype": config["dtype"],
        "n_images": len(samples),
        "rebuilt": True,
    }


def _typed(key: str, cell: str | None) -> str | int | float | None:
    numbers = ("ratio", "factor", "alpha", "sparsity", "seed")
    return json.loads(cell) if cell is not None and key in numbers else cell


if __name__ == "__main__":
    main()
