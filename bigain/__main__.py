"""`python -m bigain`."""

from bigain.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
