"""From the settings of an operator to the object: wrong values, places, foreign operators."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.config import SETTING_COLUMNS, OperatorConfig
from bigain.engine.build_operator import build_operator, check_operator
from bigain.errors import UserError
from bigain.launch.compose import compose_config, compose_configs
from bigain.locations import CONFIGS
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    DiPGO,
    Identity,
    KVSelect,
    LinearAlpha,
    MosaicDiff,
    SharedPlan,
    SiTo,
    ToDo,
    ToMA,
    ToMe,
)
from bigain.runs.identity import canonical, describing_columns, run_id

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (CONFIGS / "operator").glob("*.yaml"))
LATE = IEKVD(3, alpha=0.5, align="window", skip_final_step=True)
HARD = ToMA(0.5, tau=math.inf, one_map_per_stage=True)
HYBRID = "operator.ratio=0.6 operator.score=l1_norm operator.factor=3 operator.alpha=0.5"
HYBRID += " operator.align=window operator.skip_final_step=true"
OPERATORS = [
    ("dip_go operator.target=0.2 operator.objective=contrast", DiPGO(0.2, objective="contrast")),
    ("mosaic_diff operator.allocation=uniform", MosaicDiff(0.1, allocation="uniform")),
    ("none", Identity()),
    ("tome operator.ratio=0.3", ToMe(0.3)),
    ("tome operator.ratio=0.9 operator.cell=[4,4]", ToMe(0.9, cell=(4, 4))),
    ("tome operator.ratio=0.3 operator.random=false", ToMe(0.3, random=False)),
    ("tome operator.draws=per_forward", ToMe(0.5, draws="per_forward")),
    ("tome operator.draws=per_sample", ToMe(0.5, draws="per_sample")),
    ("sito operator.draws=per_sample", SiTo(0.5, draws="per_sample")),
    ("sito operator.draws=per_forward", SiTo(0.5, draws="per_forward")),
    ("lgtm operator.ratio=0.7", LGTM(0.7)),
    (
        "lgtm operator.score=cosine_neighbors operator.cell=[2,4]",
        LGTM(0.5, cell=(2, 4), score="cosine_neighbors"),
    ),
    ("cached operator.score=l2_norm", CachedAssignment(0.5, score="l2_norm")),
    (
        "lgtm operator.destinations=as_released operator.protect_ratio=0.2",
        LGTM(0.5, destinations="as_released", protect_ratio=0.2),
    ),
    (
        "cached operator.destinations=as_released operator.protect_ratio=0.1",
        CachedAssignment(0.5, destinations="as_released", protect_ratio=0.1),
    ),
    (
        "lgtm_enc_ie_kvd_dec operator.destinations=as_released operator.protect_ratio=0.05",
        ByStage(LGTM(0.7, destinations="as_released", protect_ratio=0.05), IEKVD(2)),
    ),
    (
        "ie_kvd_enc_lgtm_dec operator.destinations=as_released operator.protect_ratio=0.05",
        ByStage(IEKVD(2), LGTM(0.7, destinations="as_released", protect_ratio=0.05)),
    ),
    ("tome operator.average=mlerp", ToMe(0.5, average="mlerp")),
    ("lgtm operator.destinations=representative", LGTM(0.5, destinations="representative")),
    (
        "cached operator.average=mlerp operator.destinations=representative",
        CachedAssignment(0.5, average="mlerp", destinations="representative"),
    ),
    (
        "lgtm_enc_ie_kvd_dec operator.average=mlerp operator.destinations=representative",
        ByStage(LGTM(0.7, average="mlerp", destinations="representative"), IEKVD(2)),
    ),
    (
        "ie_kvd_enc_lgtm_dec operator.average=mlerp",
        ByStage(IEKVD(2), LGTM(0.7, average="mlerp")),
    ),
    ("lgtm operator.padding=replicate", LGTM(0.5, padding="replicate")),
    (
        "cached operator.padding=replicate operator.score=laplacian_l2",
        CachedAssignment(0.5, score="laplacian_l2", padding="replicate"),
    ),
    ("abm operator.padding=replicate", ABM(0.5, padding="replicate")),
    ("kv_select operator.padding=replicate", KVSelect(padding="replicate")),
    (
        "lgtm_enc_ie_kvd_dec operator.padding=replicate",
        ByStage(LGTM(0.7, padding="replicate"), IEKVD(2)),
    ),
    (
        "ie_kvd_enc_lgtm_dec operator.padding=replicate",
        ByStage(IEKVD(2), LGTM(0.7, padding="replicate")),
    ),
    *(
        (f"{name} operator.plan=shared", SharedPlan(operator))
        for name, operator in (
            *(("lgtm", LGTM(0.5)), ("cached", CachedAssignment(0.5)), ("abm", ABM(0.5))),
            *(("tome", ToMe(0.5)), ("sito", SiTo(0.5)), ("kv_select", KVSelect())),
            ("toma", ToMA(0.5)),
            ("lgtm_enc_ie_kvd_dec", ByStage(LGTM(0.7), IEKVD(2))),
            ("ie_kvd_enc_lgtm_dec", ByStage(IEKVD(2), LGTM(0.7))),
        )
    ),
    ("abm operator.aggregate=sum", ABM(0.5, aggregate="sum")),
    ("abm operator.score=dft_amplitude operator.cell=[1,2]", ABM(0.5, (1, 2), "dft_amplitude")),
    ("sito operator.noise_alpha=0 operator.sim_beta=2", SiTo(0.5, sim_beta=2, noise_alpha=0)),
    ("toma operator.ratio=0.7 operator.tile=4 operator.tau=50", ToMA(0.7, 4, 50)),
    ("toma operator.tau=hard operator.one_map_per_stage=true", HARD),
    ("todo operator.factor=3 operator.skip_final_step=true", ToDo(3, skip_final_step=True)),
    ("avg_pool operator.factor=4", AvgPool(4)),
    ("ie_kvd operator.alpha=0.5", IEKVD(2, alpha=0.5)),
    ("ie_kvd operator.alpha=-0.5", IEKVD(2, alpha=-0.5)),
    (
        "ie_kvd operator.align=window operator.alpha={start:0.8,end:1.2}",
        IEKVD(2, alpha=LinearAlpha(start=0.8, end=1.2), align="window"),
    ),
    ("kv_select operator.strategy=high_frequency", KVSelect(0.75, "high_frequency")),
    ("kv_select operator.score=l1_norm operator.sparsity=0.5", KVSelect(0.5, score="l1_norm")),
    (f"lgtm_enc_ie_kvd_dec {HYBRID}", ByStage(LGTM(0.6, score="l1_norm"), LATE)),
    (f"ie_kvd_enc_lgtm_dec {HYBRID}", ByStage(LATE, LGTM(0.6, score="l1_norm"))),
]


@pytest.mark.parametrize(("settings", "operator"), OPERATORS, ids=lambda x: str(x)[:40])
def test_settings_become_the_operator_they_name(settings: str, operator: object) -> None:
    name, *rest = settings.split()
    config = compose_config([f"operator={name}", "backbone=mini_unet", *rest])
    assert build_operator(config.operator) == operator
    check_operator(config)


def test_every_option_is_built_with_its_defaults() -> None:
    assert {settings.partition(" ")[0] for settings, _ in OPERATORS} == set(NAMES)
    commands = [[f"operator={name}", "backbone=mini_unet"] for name in NAMES]
    for config in compose_configs(commands):
        check_operator(config)


def test_ie_kvd_takes_the_alpha_of_its_backbone_and_task() -> None:
    tasks = ("classification", "generation")
    commands = [
        [f"backbone={backbone}", "operator=ie_kvd", f"task={task}"]
        for backbone in ("mini_unet", "mini_dit")
        for task in tasks
    ]
    schedule = LinearAlpha(start=0.8, end=1.2)
    assert [build_operator(config.operator) for config in compose_configs(commands)] == [
        *(IEKVD(2, alpha=0.9), IEKVD(2, alpha=schedule), IEKVD(2, alpha=0.0), IEKVD(2, alpha=0.0))
    ]


@pytest.mark.parametrize(
    ("settings", "key", "allowed"),
    [
        ("tome operator.ratio=0.8", "operator.ratio=0.8", "0.75 = 1 - 1/4"),
        ("tome operator.ratio=-0.1", "operator.ratio=-0.1", "from 0"),
        ("tome operator.ratio=abc", "operator.ratio=abc", "a number"),
        ("tome operator.ratio=null", "operator.ratio=None", "a number"),
        ("sito operator.ratio=0.8", "operator.ratio=0.8", "0.75"),
        ("abm operator.ratio=0.94 operator.cell=[4,4]", "operator.ratio=0.94", "0.9375"),
        ("lgtm_enc_ie_kvd_dec operator.ratio=0.8", "operator.ratio=0.8", "0.75"),
        ("tome operator.cell=[2]", "operator.cell=[2]", "two integers"),
        ("tome operator.cell=[2,0]", "operator.cell=[2,0]", "two integers"),
        ("tome operator.cell=2", "operator.cell=2", "two integers"),
        ("abm operator.cell=[1,1]", "operator.cell=[1,1]", "two tokens"),
        ("tome operator.random=1", "operator.random=1", "true or false"),
        ("tome operator.draws=each", "operator.draws=each", "paired, per_sample, per_forward"),
        ("tome operator.draws=per_forward operator.random=false", "operator.draws=", "random=true"),
        ("tome operator.draws=per_sample operator.random=false", "operator.draws=", "random=true"),
        (
            "sito operator.draws=per_forward operator.noise_alpha=0",
            "operator.draws=",
            "noise_alpha",
        ),
        ("tome operator.scope=cross", "operator.scope=cross", "self+cross+mlp"),
        ("tome operator.scope=mlp+self", "operator.scope=mlp+self", "self+mlp"),
        ("lgtm operator.score=laplacian", "operator.score=laplacian", "laplacian_l1, "),
        ("cached operator.destinations=eq8", "operator.destinations=eq8", "eq7, as_released"),
        ("lgtm operator.protect_ratio=0.3", "operator.protect_ratio=0.3", "0.25 = 1 - 1/4 - ratio"),
        ("abm operator.padding=reflect", "operator.padding=reflect", "zero, replicate"),
        *(
            (
                f"{name} operator.padding=replicate operator.score=l1_norm",
                "operator.padding=replicate",
                "zero with score=l1_norm; replicate with laplacian_l1, laplacian_l2",
            )
            for name in ("lgtm", "cached", "abm", "kv_select", "ie_kvd_enc_lgtm_dec")
        ),
        ("dip_go operator.target=1.0", "operator.target=1.0", "from 0 to below 1"),
        ("mosaic_diff operator.allocation=even", "operator.allocation=even", "score, uniform"),
        ("lgtm operator.plan=mean", "operator.plan=mean", "each_class, shared"),
        ("tome operator.plan=shared operator.draws=per_forward", "operator.plan=shared", "each_"),
        ("abm operator.aggregate=median", "operator.aggregate=median", "max, sum, mean"),
        ("sito operator.sim_beta='\"1\"'", "operator.sim_beta=", "finite number"),
        ("todo operator.scope=self+mlp", "operator.scope=self+mlp", "self, because"),
        ("ie_kvd_enc_lgtm_dec operator.scope=self+cross", "operator.scope=self+cross", "self, "),
        ("todo operator.skip_final_step=0", "operator.skip_final_step=0", "true or false"),
        ("kv_select operator.sparsity=1.0", "operator.sparsity=1.0", "below 1"),
        ("kv_select operator.strategy=mid", "operator.strategy=mid", "low_frequency, high_freq"),
        ("ie_kvd operator.factor=0", "operator.factor=0", "integer >= 1"),
        ("ie_kvd operator.factor=2.0", "operator.factor=2.0", "integer >= 1"),
        ("ie_kvd operator.alpha=half", "operator.alpha=half", "finite number"),
        ("ie_kvd operator.align=left", "operator.align=left", "reference, window"),
        # no place in the backbone
        ("abm operator.cell=[2,17] operator.ratio=0.1", "operator.cell=[2,17]", "at most 16"),
        ("todo operator.factor=16", "operator.factor=16", "1 to 15, below the sides of the 16x16"),
        ("kv_select operator.sparsity=0.999", "operator.sparsity=0.999", "at most 0.996"),
        ("todo operator.factor=8 backbone.sites.levels=[0,1]", "operator.factor=8", "8x8 tokens"),
        ("lgtm operator.scope=self+cross backbone=mini_dit", "operator.scope=", "self or self+mlp"),
        ("tome operator.scope=sa+ca backbone=mini_dit", "operator.scope=self+cross", "no cross"),
        ("lgtm_enc_ie_kvd_dec backbone=mini_dit", "operator=lgtm_enc", "encoder and decoder"),
        (
            "lgtm_enc_ie_kvd_dec backbone.sites.stages=[encoder,mid] backbone.sites.levels=[0,1]",
            "backbone.sites.stages=[encoder,mid]",
            "encoder, decoder",
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_what_is_allowed(
    settings: str, key: str, allowed: str
) -> None:
    name, *rest = settings.split()
    config = compose_config(["backbone=mini_unet", f"operator={name}", *rest])
    with pytest.raises(UserError) as caught:
        check_operator(config)
    line = str(caught.value)
    assert line.startswith(key)
    assert allowed in line.partition("allowed: ")[2]
    assert "\n" not in line


@pytest.mark.parametrize(
    "settings",
    [
        "lgtm operator.scope=self+mlp backbone=mini_dit",
        "tome operator.scope=sa+ca+mlp",
        "abm operator.cell=[16,16]",
        "todo operator.factor=15",
        "kv_select operator.sparsity=0.99",
        "todo operator.factor=8 backbone.sites.blocks=[0] backbone.sites.levels=[0,1]",
    ],
)
def test_what_has_a_place_is_allowed(settings: str) -> None:
    name, *rest = settings.split()
    check_operator(compose_config(["backbone=mini_unet", f"operator={name}", *rest]))


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("bigain.operators.TopHalf", "imported .*TopHalf"),
        ("no_such_package.Thing", "imported .*no_such_package"),
        ("pathlib.Path", "bigain.operators.Compression"),
        ("bigain.operators.LGTM", "what bigain.operators.LGTM takes .*share"),
    ],
)
def test_a_class_that_is_no_operator_is_one_line(target: str, told: str) -> None:
    arguments = {} if target == "pathlib.Path" else {"share": 0.5}
    config = OperatorConfig.model_validate({"_target_": target, "name": "x", **arguments})
    with pytest.raises(UserError, match=rf"allowed: .*{told}"):
        build_operator(config)


def test_settings_fill_the_columns_of_the_metrics() -> None:
    config = compose_config(
        ["operator=ie_kvd", "backbone=mini_unet", "operator.alpha={start:0.8,end:1.2}"]
    )
    columns = describing_columns(config)
    assert columns["alpha"] == "0.8->1.2"
    assert (columns["factor"], columns["ratio"], columns["scope"]) == (2, None, "self")
    baseline = describing_columns(compose_config(["operator=none"]))
    assert {baseline[key] for key in SETTING_COLUMNS} == {None}


def documented_files() -> dict[str, str]:
    """File name -> content, as the diffs in docs/extending.md add them."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```diff\n(.*?)```", text, flags=re.DOTALL)
    files = {}
    for block in blocks:
        _, name, *lines = block.splitlines()
        files[name.removeprefix("+++ b/")] = "".join(f"{line[1:]}\n" for line in lines)
    return files


def test_a_new_operator_is_one_module_and_one_yaml(tmp_path: Path) -> None:
    """From the command line to the results, with a setting changed there."""
    (tmp_path / "operator").mkdir()
    files = documented_files()
    assert set(files) == {"top_rows.py", "operator/top_rows.yaml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = [f"hydra.searchpath=[file://{tmp_path}]", "operator=top_rows"]
    config = compose_config([*found, "operator.share=0.25"])
    assert config.operator.arguments == {"share": 0.25}
    assert "top_rows.TopRows" in canonical(config)
    renamed = config.model_copy(
        update={"operator": config.operator.model_copy(update={"target": "other.TopRows"})}
    )
    assert run_id(renamed) != run_id(config)
    sizes = ["dataset.limit=2", "backbone=mini_unet", "task.trial_list=[1]", "task.keep_list=[1]"]

    def bigain(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bigain", *found, *sizes, *words, f"paths.results={tmp_path}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        )

    wrong = bigain("operator.share=2")
    assert wrong.returncode == 2
    assert re.match(r"operator\.share=2: allowed: .*at most 1\n\Z", wrong.stderr)
    done = bigain("operator.share=0.25")
    assert done.returncode == 0, done.stderr
    assert "eps_error" in done.stdout
    assert ",top_rows," in next(tmp_path.glob("runs/*/metrics.csv")).read_text()
