"""The report: `scripts/report.py --profile mini` is `python -m bigain report --profile mini`."""

import sys

from bigain.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
