"""Count the FLOPs of the runs of tables and decomposition; writes bigain/assets/flops.json.

    python scripts/count_flops.py

Counts that are in the file are taken as they are: delete it to count all again (minutes).
"""

import json
import sys
from collections.abc import Iterator

from decomposition import planned

from bigain.errors import in_one_line
from bigain.files import replace_text
from bigain.launch.compose import compose_config, compose_configs
from bigain.runs.flops import SHIPPED_FLOPS, flops_name
from bigain.tables.dry_run import counted_flops
from bigain.tables.planner import PlannedRun, plan_table
from bigain.tables.render import load_table, table_numbers
from bigain.tables.spec import TableSpec


def main() -> int:
    """Write the file; the exit code."""
    known = json.loads(SHIPPED_FLOPS.read_text("utf-8")) if SHIPPED_FLOPS.is_file() else {}
    found = {}
    for number in table_numbers():
        spec = load_table(number)
        for run in _runs(spec) if isinstance(spec, TableSpec) else ():
            name = flops_name(run.config)
            if run.evaluations and name not in found:
                found[name] = known.get(name) or counted_flops(run.config)
        sys.stdout.write(f"table {number}: {len(found)} counts\n")
        sys.stdout.flush()
        replace_text(SHIPPED_FLOPS, json.dumps(known | found, indent=0, sort_keys=True) + "\n")
    for own in planned():
        config = compose_config(own.overrides)
        name = flops_name(config)
        if name not in found:
            found[name] = known.get(name) or counted_flops(config)
    replace_text(SHIPPED_FLOPS, json.dumps(found, indent=0, sort_keys=True) + "\n")
    return 0


def _runs(spec: TableSpec) -> Iterator[PlannedRun]:
    """Those of all profiles and grids."""
    for profile, own in spec.profiles.items():
        for grid in own.grids or ("default", "full"):
            yield from plan_table(spec, profile, grid, (), compose_configs).distinct()


if __name__ == "__main__":
    sys.exit(in_one_line(main))
