"""All tables by a script: `scripts/tables.py 2 4 --no-run` is `bigain table 2 4 --no-run`."""

import sys

from bigain.cli.table import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
