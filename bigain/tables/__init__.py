"""The paper's tables: the runs that each needs, its cells, its layout; the report.

A table is `configs/table/tableNN.yaml`.  `spec` reads it, `planner` lists the runs that it needs,
`execute` does the missing ones, `cells` turns their per-image records into numbers with intervals,
`markdown` and `tidy` are pure functions from those numbers and the paper's (`paper`) to text.
Nothing in here loads torch or Hydra by being imported.
"""

__all__: list[str] = []
