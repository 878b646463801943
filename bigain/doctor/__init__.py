"""Whether this machine has what runs need: checked before a sweep, without loading a weight.

Each module looks at one thing and returns findings; `bigain.cli.doctor` prints them.
"""
