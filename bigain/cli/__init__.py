"""The verbs of the command line, one module each; `main(arguments)` returns the exit code."""
