"""Checks, before a sweep, that this machine has what its runs need.

Each module checks one kind of requirement and returns findings; `bigain.cli.doctor` prints them.
"""
