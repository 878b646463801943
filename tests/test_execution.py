from pathlib import Path

import pytest

from bigain import execution
from bigain.compose import compose_config
from bigain.execution import describe, execute
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.tasks.classification import classify_images

SHORT = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=2"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["backbone=mini_unet"], "mini_unet none"),
        (["operator=tome", "operator.ratio=0.3"], "mini_dit tome ratio=0.3"),
        (["operator=lgtm", "operator.ratio=0.7"], "mini_dit lgtm ratio=0.7 score=laplacian_l1"),
        (["operator=ie_kvd", "operator.factor=3"], "mini_dit ie_kvd factor=3 alpha=0.0"),
    ],
)
def test_description_names_backbone_operator_and_settings(overrides: list[str], words: str) -> None:
    assert describe(compose_config(overrides)) == words


def test_an_exception_leaves_the_run_failed_and_the_records_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    original = classify_images

    def broken(*arguments: object) -> object:
        yield next(original(*arguments))  # type: ignore[arg-type]
        raise RuntimeError("out of luck")

    monkeypatch.setattr(execution, "classify_images", broken)
    store = RunStore(tmp_path, run_id(config))
    with pytest.raises(RuntimeError, match="out of luck"):
        execute(config, store)
    assert store.status() == "failed"
    assert store.manifest()["error"] == "RuntimeError: out of luck"
    monkeypatch.setattr(execution, "classify_images", original)
    assert execute(config, store) == 1
    assert store.status() == "done"


def test_a_single_trial_has_no_margin_variance_but_a_result(tmp_path: Path) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    store = RunStore(tmp_path, run_id(config))
    execute(config, store)
    assert store.status() == "done"


@pytest.mark.parametrize(("settings", "told"), [({}, True), ({"progress": False}, False)])
def test_a_terminal_shows_a_bar_unless_the_caller_has_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, bool],
    told: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    execute(config, RunStore(tmp_path, run_id(config)), **settings)
    assert ("mini_dit none" in capsys.readouterr().err) is told
