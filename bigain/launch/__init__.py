"""From `key=value` to a validated run; the only package that imports Hydra."""
