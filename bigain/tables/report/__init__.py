"""One page for a reviewer: tables, figures, runs, where they ran, and what did not run.

`page` writes it from what the neighbours found: `listed` the runs, `pictures` the figures,
`origins` the machines and software, `coverage` what is there of each table.  `sources` says which
tables.
The page is a pure function of files under `<results>`: the same files give the same bytes.
"""

__all__: list[str] = []
