"""Checks, before a sweep, that this machine has what its runs need.

Each module looks at one thing and returns findings; `bigain.cli.doctor` prints them.
"""
