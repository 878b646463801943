"""From `key=value` to runs: the one package that imports hydra."""
