"""The command line: one module per verb; `main(arguments)` returns the exit code."""
