"""The page `results/benchmarks/README.md`, made of the CSV files beside it; no number is typed."""

import statistics
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pandas as pd
from growth import exponent
from timing import Spread, ratios, spread

__all__ = ["SECTIONS", "write_page"]

_TOP = """\
# Benchmarks on a CPU

Made by `make bench` from the CSV files in this folder; each row there has the commit, the time, the
processor and the threads. A + after a commit: the code differed from it. What is compared ran in
turn, and ratios are those of one round: median (smallest-largest). With one thread, times are
processor time, not time on the clock. Each section has the command that repeats it. Linear layers
can go through oneDNN since commit d017c5e; sections of older days (full size, operators, whole
U-Nets, Frechet distance, peak, growth) were measured without it. Files that have no section are
shown in `docs/`.
"""

Table = tuple[list[str], list[list[object]]]


def write_page(folder: Path) -> None:
    """Write the page of all sections whose CSV file is in `folder`."""
    parts = [_TOP]
    for name, (title, text, make) in SECTIONS.items():
        path = folder / f"{name}.csv"
        if path.exists():
            rows = pd.read_csv(path)
            header, lines = make(rows)
            parts.append(f"## {title}\n\n{text}\n")
            parts.append(_markdown(header, lines))
            command = rows.iloc[0]["command"]
            parts.append(f"`{command}`, [{name}.csv]({name}.csv); {_made(rows)}\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _made(rows: pd.DataFrame) -> str:
    """Commit, day, machine and threads of a file."""
    commits = ", ".join(sorted({str(each) for each in rows["commit"]}))
    threads = ", ".join(str(each) for each in sorted({int(each) for each in rows["threads"]}))
    first = rows.iloc[0]
    place = f"{first['device']}, {first['cores']} cores, threads: {threads}"
    return f"commit {commits}, {first['made'][:10]}, torch {first['torch']}, {place}."


def _markdown(header: list[str], lines: list[list[object]]) -> str:
    rows: list[list[object]] = [[*header], ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(str(cell) for cell in row)} |\n" for row in rows)


def _engine(rows: pd.DataFrame) -> Table:
    lines: list[list[object]] = []
    for backbone, every in rows.groupby("backbone", sort=False):
        own = every[every["process"] >= 0]
        plain = own[own["variant"] == "plain loop"]
        for variant, part in own.groupby("variant", sort=False):
            faster = [
                ratios(
                    plain[plain["process"] == process]["seconds"].tolist(),
                    here["seconds"].tolist(),
                )
                for process, here in part.groupby("process")
            ]
            rate = spread(part["images"] / part["seconds"])
            # Every round of every process has the same images.
            equal = f"{part['equal_predictions'].min()} of {part['images'].iloc[0]}"
            middles = spread(statistics.median(each) for each in faster)
            every_round = spread(chain.from_iterable(faster))
            lines.append(
                [
                    *(backbone, variant, part["batch_size"].iloc[0], f"{rate.median:.3g}"),
                    *(every_round, f"{middles.low:.3f}-{middles.high:.3f}", equal),
                ]
            )
    header = ["backbone", "variant", "batch", "images/s", "times the plain loop"]
    return [*header, "medians of the processes", "equal predictions"], lines


def _operators(rows: pd.DataFrame) -> Table:
    lines: list[list[object]] = []
    for _, row in rows.iterrows():
        shape = f"{row['batch']}, {row['tokens']}, {row['channels']}"
        ratio = [
            Spread(row[name], row[f"{name}_low"], row[f"{name}_high"])
            for name in ("of_tomesd", "of_attention")
        ]
        shown = ["" if pd.isna(each.median) else each for each in ratio]
        lines.append([shape, row["operator"], row["sum_ms"], *shown])
    header = ["batch, tokens, channels", "operator", "plan + reduce + restore, ms"]
    return [*header, "of tomesd's", "attention with it / plain"], lines


def _denoiser(rows: pd.DataFrame) -> Table:
    lines: list[list[object]] = []
    for operator, own in rows.groupby("operator", sort=False):
        middle = spread(own["over_baseline"])
        rounds = f"{own['over_baseline_low'].min():.3f}-{own['over_baseline_high'].max():.3f}"
        lines.append([operator, f"{own['ms'].median():.1f}", middle, rounds])
    return ["operator", "ms", "time / baseline, processes", "all rounds"], lines


def _frechet(rows: pd.DataFrame) -> Table:
    theirs = rows[rows["tool"] == "pytorch-fid"]["seconds"].tolist()
    lines: list[list[object]] = []
    for tool, own in rows.groupby("tool", sort=False):
        ratio = spread(ratios(own["seconds"].tolist(), theirs))
        first = own.iloc[0]
        values = (first["images"], f"{own['seconds'].median():.1f}", ratio, first["distance"])
        lines.append([tool, *values])
    return ["command", "images", "s", "of pytorch-fid's time", "distance"], lines


def _peak(rows: pd.DataFrame) -> Table:
    if "peak_of" not in rows:  # a file of older code
        rows = rows.assign(peak_of="torch.mm 2048 x 2048")
    lines: list[list[object]] = []
    for backbone, own in rows.groupby("backbone", sort=False):
        peak, first = own["peak_gflop_per_s"].median(), own.iloc[0]
        values = (first["batch"], first["forward_gflops"], f"{own['forward_s'].median():.3f}")
        fastest = ", ".join(sorted(set(own["peak_of"])))
        lines.append([backbone, *values, f"{peak:.0f}", fastest, spread(own["share_of_peak"])])
    header = ["backbone", "batch", "GFLOPs", "s", "peak, GFLOP/s", "of", "share of the peak"]
    return header, lines


def _growth(rows: pd.DataFrame) -> Table:
    if "process" not in rows:  # a file of older code
        rows = rows.assign(process=0)
    lines: list[list[object]] = []
    for axis, own in rows.groupby("axis", sort=False):
        seconds = own.groupby("value")["seconds"]
        shown = ", ".join(f"{value}: {spread(times)}" for value, times in seconds)
        powers = []
        for _, here in own.groupby("process"):
            medians = here.groupby("value")["seconds"].median()
            powers.append(exponent([float(v) for v in medians.index], medians.tolist()))
        lines.append([axis, shown, spread(powers)])
    return ["what grows", "value: s", "exponent, processes"], lines


def _harness(rows: pd.DataFrame) -> Table:
    lines = [
        [row["backbone"], row["part"], f"{row['cpu_ms']:.0f}", row["cpu_percent"], share]
        for _, row in rows.iterrows()
        for share in [f"{row['cpu_percent_low']:.2f}-{row['cpu_percent_high']:.2f}"]
    ]
    return ["backbone", "part", "CPU ms in a run of 400 images", "%", "range"], lines


def _precision(rows: pd.DataFrame) -> Table:
    lines: list[list[object]] = []
    for _, row in rows.iterrows():
        share = f"{row['equal_percent']} [{row['equal_low']}, {row['equal_high']}]"
        equal = f"{row['equal_predictions']} of {row['images']}"
        lines.append([row["backbone"], row["operator"], equal, share, row["largest_relative"]])
    header = ["backbone", "operator", "equal predictions", "%", "largest relative difference"]
    return header, lines


def _workers(rows: pd.DataFrame) -> Table:
    lines: list[list[object]] = []
    for (backbone, workers), own in rows.groupby(["backbone", "workers"], sort=False):
        rate = f"{own['images_per_s'].median():.3f}"
        lines.append([backbone, workers, rate, spread(own["times_one_worker"])])
    return ["backbone", "workers", "images/s", "times one worker"], lines


_OPERATOR_TEXT = (
    "With random weights; sites and settings as in the paper's tables (ratio 0.7, factor 2). "
    "`tomesd` acts at the same sites. Below 1 an operator saves time."
)

SECTIONS: dict[str, tuple[str, str, Callable[[pd.DataFrame], Table]]] = {
    "engine": (
        "The classifier beside a plain loop",
        "Ours and a loop over images, stages, classes and trials as published diffusion "
        "classifiers have it (`benchmarks/plain_loop.py`), each at the better of two batch sizes, "
        "10 and 32, and in a process of its own; ours without one part at a time, and with more. "
        "The end of a run, whose last batches are not full, and the time to compile do not count. "
        "*memory not kept*: freed memory goes back to the system. *no sharing*: what does not "
        "depend on the class is computed for each class. *linear layers by MKL*: not by oneDNN. "
        "*one image a time*: batches are not filled across images. "
        "Predictions are compared with those of the plain loop.",
        _engine,
    ),
    "full_size": (
        "The same at full size",
        "SD-2.0 and DiT-XL/2-512 with random weights, three classes and one trial: one batch.",
        _engine,
    ),
    "operators": (
        "Operators at one site, beside tomesd",
        "Ratio 0.7, factor 2. SiTo compares all pairs of tokens.",
        _operators,
    ),
    "mini_unet": ("Operators in the whole mini U-Net", _OPERATOR_TEXT, _denoiser),
    "sd20": ("Operators in the whole U-Net of SD-2.0", _OPERATOR_TEXT, _denoiser),
    "frechet": (
        "Frechet distance beside pytorch-fid",
        "Whole commands on the same images with the same random Inception weights. Ours also "
        "computes KID, precision and recall.",
        _frechet,
    ),
    "peak": (
        "Share of the machine's peak",
        "Peak: the fastest of the float32 products that were tried (column *of*), measured in turn "
        "with a forward of the denoiser. A share above 1 means that the machine can do more than "
        "that product shows.",
        _peak,
    ),
    "growth": (
        "Growth",
        "Time of classifying with the mini U-Net's architecture; time ~ value^exponent.",
        _growth,
    ),
    "precision": (
        "Decisions in bfloat16",
        "`dtype=bfloat16 compile=true` beside the committed runs in float32: images with the same "
        "prediction, with Wilson's 95 % interval, and errors of the true class.",
        _precision,
    ),
    "harness": (
        "What a mini run costs beside its denoiser",
        "Processor time by part, measured with few images and scaled to 400; imports happen once. "
        "The harness is all but the denoiser, the encoder, and torch and diffusers, which any loop "
        "around these denoisers imports. *equal rows* are copies that save the denoiser work, so "
        "they count as its time, not as the harness's.",
        _harness,
    ),
    "workers": ("Workers", "Processes with one thread each, on shards of one run.", _workers),
}
"""Name of a CSV file -> title, text, and what makes its table."""
