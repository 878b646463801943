"""Read the CSV of finished runs into pandas, and plot what two operators cost over the merge ratio.

You learn the columns of `runs.csv`, which has one row per run and metric (`bigain collect`).
"""

import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt

# Those that come with the repository.  Yours: results/mini/runs.csv, after `bigain collect`.
published = Path(__file__).parents[1] / "results" / "mini" / "runs.csv"
rows = pd.read_csv(sys.argv[1] if len(sys.argv) > 1 else published)

chosen = rows[
    (rows.metric == "eps_error_rise")  # rise of the noise error over the baseline, %
    & (rows.backbone == "mini_unet")
    & (rows.dataset == "fashion_mnist")
    & rows.operator.isin(["tome", "lgtm"])
    & (rows.scope == "self")
    & (rows.score.isna() | (rows.score == "laplacian_l1"))
    & (rows.n == 400)  # all of the same images
    & ~rows.settings.str.contains("average=|destinations=", na=False)  # the plain variants
]
print(chosen.pivot_table(index="ratio", columns="operator", values="value"))

for operator, own in chosen.sort_values("ratio").groupby("operator"):
    interval = [own.value - own.ci_low, own.ci_high - own.value]
    plt.errorbar(own.ratio, own.value, yerr=interval, capsize=3, marker="o", label=operator)
plt.xlabel("merge ratio")
plt.ylabel("rise of the noise error, %")
plt.legend()
plt.savefig("error_rise.png")
