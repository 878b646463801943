"""Run ids, the run store, and how finished runs are published and compared.

A run is a pure function of its resolved configuration, so the configuration's hash is its name.
The folder `<results>/runs/<run_id>/` is the truth; trackers and tables are views of it.
"""

__all__: list[str] = []
