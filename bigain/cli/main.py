"""The command line: verbs, and the Hydra runner for everything else (contracts C1 and C5).

    python -m bigain VERB ...                     doctor, status, collect, compare, joint, ...
    python -m bigain [-m] [--cfg job] key=value ...    one run, or a sweep

Exit codes: 0 done; 2 a mistake of the user, in one line on stderr; 143 ended by SIGTERM; 1 anything
else.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from bigain.config.messages import did_you_mean
from bigain.errors import FaultError, UserError
from bigain.machine import keep_freed_memory, wait_passively

__all__ = ["FAILED", "STOPPED", "USER_ERROR", "VERBS", "main"]

VERBS = {
    "doctor": "bigain.cli.doctor",
    "status": "bigain.cli.status",
    "collect": "bigain.cli.collect",
    "compare": "bigain.cli.compare",
    "analysis": "bigain.cli.analysis",
    "joint": "bigain.cli.joint",
    "pareto": "bigain.cli.pareto",
    "table": "bigain.cli.table",
    "figures": "bigain.cli.figures",
    "report": "bigain.cli.report",
    "sync-wandb": "bigain.cli.sync_wandb",
    "dashboard": "bigain.cli.dashboard",
    "gc": "bigain.cli.gc",
    "flops": "bigain.cli.flops",
    "fid": "bigain.cli.fid",
    "demo": "bigain.cli.demo",
    "calibrate": "bigain.cli.calibrate",
}
"""Verb -> the module whose `main(arguments)` carries it out."""

USER_ERROR = 2
FAILED = 1
STOPPED = 143
"""As `bigain.engine.stopping` has it, which not every verb needs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line `argv` (default: the process's); returns the exit code."""
    wait_passively()
    keep_freed_memory()
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else ""
    try:
        if first in VERBS:
            return int(import_module(VERBS[first]).main(arguments[1:]) or 0)
        if first and "=" not in first and first[0] not in "-~":
            allowed = f"{', '.join(VERBS)}, or key=value{did_you_mean(first, VERBS)}"
            raise UserError(f"{first}: no such verb; allowed: {allowed}")
        from bigain.launch.app import run_command_line  # noqa: PLC0415 -- loads Hydra

        return run_command_line(arguments)
    except (UserError, FaultError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return USER_ERROR if isinstance(error, UserError) else FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader, such as `head`, closed the pipe; Python flushes stdout once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except SystemExit as stop:
        if stop.code == STOPPED:
            print("stopped; the same command continues where it stopped", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else FAILED if stop.code else 0
