"""Several tables: `scripts/tables.py 2 4 --no-run` is `python -m bigain table N` for each."""

import sys

from bigain.tables.command import main

if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [word for word in words if word.isdecimal()]
    rest = [word for word in words if not word.isdecimal()]
    sys.exit(max(main([number, *rest]) for number in numbers) if numbers else main(rest))
