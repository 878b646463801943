"""Runs have one name if and only if they give the same results."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bigain.config import NEUTRAL, RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import (
    DESCRIBING_COLUMNS,
    EXCLUDED,
    EXCLUDED_BY_MEASURE,
    EXCLUDED_FROM_FAMILY,
    baseline_id,
    canonical,
    describing_columns,
    family_id,
    resolved,
    run_id,
)

Make = Callable[..., RunConfig]

HUB: dict[str, dict[str, Any]] = {
    "backbone": {
        "name": "sd20",
        "repository": "a/b",
        "revision": "main",
        "mirrors": [],
        "path": None,
        "variant": None,
        "fingerprint": None,
        "attention": "sdpa",
        "sites": {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None},
    }
}
IRRELEVANT: dict[str, Any] = {
    "paths__results": "/elsewhere",
    "paths__data": "/data",
    "paths__cache": "/cache",
    "cache": {"latents": False, "prompts": False, "gigabytes": 1.0},
    "dataset__root": "/data/fashion",
    "device": "cuda",
    "batch_size": 7,
    "compile": True,
    "threads": 2,
    "shard": {"index": 1, "count": 3},
    "force": True,
    "on_error": "stop",
}
RELEVANT: dict[str, Any] = {
    "backbone__name": "mini_unet",
    "backbone__revision": "ba9876543210",
    "backbone__sites": {"stages": ["encoder", "decoder"], "levels": [0], "blocks": [1]},
    "operator__ratio": 0.5,
    "operator__cell": [4, 4],
    "operator__random": False,
    "task__trial_list": [5, 10],
    "task__keep_list": [3, 1],
    "task__loss": "l1",
    "seed": 1,
    "dtype": "bfloat16",
}


def test_the_name_is_the_hash_of_the_canonical_text(make_config: Make) -> None:
    config = make_config()
    digest = hashlib.sha256(canonical(config).encode()).hexdigest()
    assert run_id(config) == digest[:16]


def test_canonical_text_is_sorted_compact_json_without_the_excluded_keys(
    make_config: Make, tome: dict[str, Any]
) -> None:
    text = canonical(make_config(operator=tome))
    tree = json.loads(text)
    assert text == json.dumps(tree, sort_keys=True, separators=(",", ":"))
    left_out = {key for key in EXCLUDED if "." not in key}
    assert set(tree) == set(RunConfig.model_fields) - left_out
    assert "root" not in tree["dataset"]


def test_names_are_stable_over_releases(settings: dict[str, Any]) -> None:
    """A change here orphans every finished run; the changelog has to say so."""
    assert run_id(settings) == "4b03f855110f3cb7"
    assert family_id(settings) == "32410c529dbe5483"


def test_every_exclusion_has_a_reason_and_exists(make_config: Make) -> None:
    tree = resolved(make_config())
    tree["backbone"] |= HUB["backbone"]
    tree["dataset"] |= dict.fromkeys(("index", "labels", "prompts"))
    tree["task"] |= dict.fromkeys(("extractor_weights", "extractor", "reference"))
    for key, reason in EXCLUDED_FROM_FAMILY.items():
        assert len(reason) > 20, key
        node = tree
        for part in key.split("."):
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize("key", IRRELEVANT)
def test_what_cannot_change_results_does_not_change_the_name(
    key: str, make_config: Make, tome: dict[str, Any]
) -> None:
    changed = make_config(operator=tome, **{key: IRRELEVANT[key]})
    assert changed != make_config(operator=tome)
    assert run_id(changed) == run_id(make_config(operator=tome))
    assert family_id(changed) == family_id(make_config(operator=tome))


def test_every_excluded_group_was_tried() -> None:
    tried = {key.replace("__", ".") for key in IRRELEVANT}
    tried |= {key.partition(".")[0] for key in tried if key.startswith("paths")}
    # below; which has one value so far; and tests/data/test_folder.py
    elsewhere = {"backbone.mirrors", "task.extractor_weights", "tracking"}
    elsewhere |= {"dataset.index", "dataset.labels", "dataset.prompts"}
    assert set(EXCLUDED) - tried == elsewhere


def hub(settings: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A run of a published backbone."""
    return {**settings, "backbone": {**HUB["backbone"], **changes}}


def test_where_a_published_model_lies_does_not_change_the_name(settings: dict[str, Any]) -> None:
    assert run_id(hub(settings, mirrors=["c/d"])) == run_id(hub(settings))
    pinned = hub(settings, fingerprint="0123456789ab")
    moved = hub(settings, fingerprint="0123456789ab", path="/models/sd20")
    assert run_id(moved) == run_id(pinned) != run_id(hub(settings))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repository", "c/d"),
        ("revision", "v2"),
        ("variant", "fp16"),
        ("attention", "eager"),
        ("path", "/models/sd20"),
    ],
)
def test_which_published_model_it_is_changes_the_name(
    settings: dict[str, Any], key: str, value: str
) -> None:
    """A folder without a fingerprint could hold anything, so it counts as other weights."""
    assert run_id(hub(settings, **{key: value})) != run_id(hub(settings))


@pytest.mark.parametrize("key", RELEVANT)
def test_what_changes_results_changes_name_and_family(
    key: str, make_config: Make, tome: dict[str, Any]
) -> None:
    changed = make_config(operator=tome, **{key: RELEVANT[key]})
    assert run_id(changed) != run_id(make_config(operator=tome))
    assert family_id(changed) != family_id(make_config(operator=tome))


def test_limit_changes_the_name_but_not_the_family(make_config: Make) -> None:
    few, many = make_config(dataset__limit=20), make_config(dataset__limit=None)
    assert run_id(few) != run_id(many)
    assert family_id(few) == family_id(many)


@pytest.mark.parametrize(
    "judgement", [{"extractor": "inception"}, {"reference": "images"}, {"reference": "s.npz"}]
)
def test_who_judges_changes_the_name_but_not_the_family(
    settings: dict[str, Any], judgement: dict[str, str]
) -> None:
    """The images are the same, so they are drawn once."""
    task = {"name": "generation", "steps": 5, "extractor": "mini", "reference": "split"}
    a, b = {**settings, "task": task}, {**settings, "task": {**task, **judgement}}
    assert run_id(a) != run_id(b)
    assert family_id(a) == family_id(b)
    other = {**settings, "task": {**task, "steps": 6}}
    assert family_id(other) != family_id(a)


def test_compiled_pixels_have_a_name_of_their_own(
    make_config: Make, generation: dict[str, Any]
) -> None:
    """And older runs of generation, which had no such setting, keep theirs."""
    eager, compiled = (make_config(task=generation, compile=each) for each in (False, True))
    older = {key: value for key, value in resolved(eager).items() if key != "compile"}
    assert run_id(older) == run_id(eager) != run_id(compiled)
    measured = [make_config(task=measuring("flops"), compile=each) for each in (False, True)]
    assert run_id(measured[0]) == run_id(measured[1])


def test_numbers_count_by_value() -> None:
    base = {"operator": {"name": "x", "alpha": 1}, "list": [0.70, 2.0, -0.0], "flag": True}
    same = {"flag": True, "list": [0.7, 2, 0], "operator": {"alpha": 1.0, "name": "x"}}
    assert canonical(base) == canonical(same)
    assert canonical({"alpha": 1}) != canonical({"alpha": True})
    assert canonical({"alpha": 0.1}) != canonical({"alpha": 0.1 + 1e-16 * 2})


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"operator\.alpha=inf: must be a finite number"):
        run_id({"operator": {"name": "ie_kvd", "alpha": float("inf")}})


def test_a_mapping_and_its_model_have_one_name(make_config: Make, tome: dict[str, Any]) -> None:
    config = make_config(operator=tome)
    assert run_id(config.model_dump(mode="json")) == run_id(config)
    assert run_id(config.model_dump()) == run_id(config)


def test_a_name_does_not_depend_on_the_process(make_config: Make) -> None:
    text = json.dumps(make_config().model_dump(mode="json"))
    code = "import json, sys; from bigain.runs.identity import run_id; "
    code += "print(run_id(json.loads(sys.argv[1])), 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, text], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [run_id(make_config()), "False"]


def test_the_baseline_is_the_run_without_operator(make_config: Make, tome: dict[str, Any]) -> None:
    plain, merged = make_config(), make_config(operator=tome)
    assert baseline_id(merged) == run_id(plain) == baseline_id(plain)
    assert baseline_id(make_config(operator=tome, seed=1)) == run_id(make_config(seed=1))
    assert baseline_id(merged) != run_id(merged)


def test_without_an_operator_sites_do_not_matter(make_config: Make, tome: dict[str, Any]) -> None:
    sites = {"stages": ["encoder", "decoder"], "levels": [0], "blocks": [2, 3]}
    elsewhere = make_config(backbone__sites=sites)
    assert run_id(elsewhere) == run_id(make_config())
    assert baseline_id(make_config(backbone__sites=sites, operator=tome)) == run_id(make_config())


def test_describing_columns_of_a_merger(make_config: Make, tome: dict[str, Any]) -> None:
    columns = describing_columns(make_config(operator=tome, seed=3))
    assert tuple(columns) == DESCRIBING_COLUMNS
    assert columns == {
        "run_id": run_id(make_config(operator=tome, seed=3)),
        "profile": "mini",
        "backbone": "mini_dit",
        "dataset": "fashion_mnist",
        "task": "classification",
        "operator": "tome",
        "ratio": 0.7,
        "factor": None,
        "alpha": None,
        "score": None,
        "scope": "self",
        "strategy": None,
        "sparsity": None,
        "settings": "cell=[2,2] random=true",
        "seed": 3,
    }


def test_operators_that_differ_in_one_setting_have_other_rows() -> None:
    """All settings of an operator are in the columns; neutral ones are left out."""
    common = ["operator=lgtm", "operator.ratio=0.7"]
    variants = [
        *([], ["operator.padding=replicate"], ["operator.plan=shared"]),
        *(["operator.destinations=as_released"], ["operator.protect_ratio=0.05"]),
        *(["operator.cell=[4,4]"], ["operator.scope=self+mlp"], ["operator.average=mlerp"]),
    ]
    rows = []
    for own in variants:
        columns = describing_columns(compose_config([*common, *own]))
        rows.append(tuple(value for key, value in columns.items() if key != "run_id"))
    assert len(set(rows)) == len(variants)
    assert describing_columns(compose_config(common))["settings"] == "cell=[2,2]"
    plain = describing_columns(compose_config([*common, *variants[2]]))
    assert plain["settings"] == "cell=[2,2] plan=shared"
    batches = [
        describing_columns(
            compose_config(["operator=tome", "operator.draws=per_forward", f"batch_size={size}"])
        )["settings"]
        for size in (8, 32)
    ]
    ending = "cell=[2,2] draws=per_forward random=true batch_size"
    assert batches == [f"{ending}=8", f"{ending}=32"]
    assert describing_columns(compose_config(["operator=none"]))["settings"] is None


def test_describing_columns_of_a_schedule_are_one_cell(make_config: Make) -> None:
    operator = {
        "_target_": "bigain.operators.IEKVD",
        "name": "ie_kvd",
        "factor": 2,
        "alpha": {"start": 0.8, "end": 1.2},
        "align": "reference",
        "skip_final_step": False,
        "scope": "self",
    }
    config = make_config(operator=operator)
    assert describing_columns(config)["alpha"] == "0.8->1.2"
    plain = describing_columns(config.model_dump(mode="json"))
    assert plain["alpha"] == "0.8->1.2"
    assert plain["factor"] == 2


@pytest.mark.parametrize(
    ("operator", "key", "default", "other"),
    [
        ({"name": "todo", "factor": 2}, "skip_final_step", False, True),
        ({"name": "lgtm", "ratio": 0.7}, "destinations", "eq7", "as_released"),
        ({"name": "cached", "ratio": 0.7}, "protect_ratio", 0.0, 0.05),
        ({"name": "sito", "ratio": 0.7}, "draws", "paired", "per_forward"),
        ({"name": "abm", "ratio": 0.7}, "padding", "zero", "replicate"),
        ({"name": "tome", "ratio": 0.7}, "plan", "each_class", "shared"),
        ({"name": "tome", "ratio": 0.7}, "average", "mean", "mlerp"),
    ],
)
def test_a_setting_that_came_later_leaves_old_names_alone(
    make_config: Make, operator: dict[str, Any], key: str, default: object, other: object
) -> None:
    plain = make_config().model_dump(mode="json")
    before, same, changed = (
        run_id({**plain, "operator": {**operator, "scope": "self", **setting}})
        for setting in ({}, {key: default}, {key: other})
    )
    assert before == same != changed
    assert f"operator.{key}" in NEUTRAL


@pytest.mark.parametrize(("draws", "names"), [("per_forward", 2), ("paired", 1), ("per_sample", 1)])
def test_the_batch_size_is_part_of_the_name_only_if_draws_depend_on_it(
    make_config: Make, tome: dict[str, Any], draws: str, names: int
) -> None:
    configs = [make_config(operator={**tome, "draws": draws}, batch_size=size) for size in (16, 32)]
    assert len({run_id(config) for config in configs}) == names
    assert len({family_id(config) for config in configs}) == names
    assert len({baseline_id(config) for config in configs}) == 1


def test_only_a_class_from_elsewhere_is_part_of_the_name(
    make_config: Make, tome: dict[str, Any]
) -> None:
    ours, without = make_config(operator=tome), {key: tome[key] for key in tome if key[0] != "_"}
    assert run_id({**resolved(ours), "operator": without}) == run_id(ours)
    theirs = make_config(operator={**tome, "_target_": "their.ToMe"})
    assert run_id(theirs) != run_id(ours)
    assert describing_columns(theirs)["operator"] == "tome"
    mistaken = make_config(operator={**tome, "_target_": "bigain.operators.LGTM"})
    assert len({run_id(config) for config in (ours, theirs, mistaken)}) == 3


# Measurements of FLOPs and of time.

PLACES: dict[str, Any] = {
    "device": "cuda",
    "dtype": "bfloat16",
    "batch_size": 7,
    "threads": 2,
    "seed": 1,
    "task__steps": 7,
    "task__repeats": 8,
    "task__warmup": 9,
}
UNREAD: dict[str, Any] = {
    "paths__results": "/elsewhere",
    "dataset__limit": 7,
    "dataset__root": "/data",
    "backbone__revision": "ba9876543210",
    "force": True,
    "on_error": "stop",
}


def measuring(measure: str) -> dict[str, Any]:
    return {"name": "efficiency", "measure": measure, "steps": 2, "repeats": 3, "warmup": 1}


@pytest.mark.parametrize("measure", ["flops", "time", "all"])
@pytest.mark.parametrize("key", UNREAD)
def test_a_measurement_is_not_named_by_data_and_weights(
    make_config: Make, measure: str, key: str
) -> None:
    task = measuring(measure)
    assert run_id(make_config(task=task, **{key: UNREAD[key]})) == run_id(make_config(task=task))


@pytest.mark.parametrize("key", PLACES)
def test_a_time_is_named_by_what_it_depends_on_and_a_count_is_not(
    make_config: Make, key: str
) -> None:
    def differ(measure: str) -> bool:
        bare = make_config(task=measuring(measure))
        return run_id(make_config(task=measuring(measure), **{key: PLACES[key]})) != run_id(bare)

    assert differ("time")
    assert differ("all")
    assert not differ("flops")


def test_a_measurement_is_named_by_what_is_measured_where(
    make_config: Make, tome: dict[str, Any]
) -> None:
    sites = {"stages": ["encoder", "decoder"], "levels": [0], "blocks": [1]}
    configs = [make_config(task=measuring(measure)) for measure in EXCLUDED_BY_MEASURE]
    configs += [make_config(task=measuring("flops"), operator=tome)]
    configs += [make_config(task=measuring("flops"), operator=tome, backbone__sites=sites)]
    configs += [make_config()]
    assert len({run_id(config) for config in configs}) == len(configs)


def test_a_measurement_has_no_dataset_and_no_relatives(make_config: Make) -> None:
    config = make_config(task=measuring("time"))
    assert describing_columns(config)["dataset"] is None
    assert describing_columns(config)["task"] == "efficiency"
    assert family_id(config) == run_id(config)


def test_every_exclusion_by_measure_names_a_key_that_exists(make_config: Make) -> None:
    plain = resolved(make_config(task=measuring("all")))
    hub = {"repository", "mirrors", "path", "variant", "fingerprint", "attention"}
    for dotted in {key for excluded in EXCLUDED_BY_MEASURE.values() for key in excluded}:
        group, _, key = dotted.partition(".")
        assert not key or key in plain[group] or (group == "backbone" and key in hub)
        assert group in plain


@pytest.mark.parametrize(
    ("overrides", "score"),
    [
        (["backbone=sd3_medium"], "velocity"),
        (["backbone=sd3_medium", "task.score=noise"], "noise"),
        (["backbone=sd21", "task.score=velocity"], "velocity"),
        (["backbone=sd21"], None),
    ],
)
def test_a_score_that_could_be_taken_for_another_is_named(
    overrides: list[str], score: str | None
) -> None:
    columns = describing_columns(compose_config(["dataset=pets", *overrides]))
    words = str(columns["settings"]).split()
    assert [word for word in words if word.startswith("task.score=")] == (
        [] if score is None else [f"task.score={score}"]
    )
