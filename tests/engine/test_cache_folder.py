"""A folder `paths.cache` that cannot be used: one line, exit code 2, before a model is loaded."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.cli.main import main
from bigain.engine import build
from bigain.engine.cache_folder import check_cache, named_cache
from bigain.engine.images_per_forward import with_images_per_forward
from bigain.engine.race_errors import gather_errors
from bigain.engine.run import run
from bigain.errors import FaultError, UserError
from bigain.launch.compose import compose_config
from bigain.runs.flops import keep_flops, known_flops

ALLOWED = "allowed: a folder that you can write to"
SHORT = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=1"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model may be loaded, and the user names no folder for compiled code."""
    monkeypatch.setattr(build, "build_backbone", lambda *_: pytest.fail("loads a model"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    "command",
    [
        ["batch_size=auto", "dataset.limit=1"],
        ["compile=true", "dataset.limit=1"],
        ["-m", "batch_size=16,auto", "dataset.limit=1"],
        ["task=generation", "dataset.limit=2"],
        ["task=generation", "dataset.limit=2", "task.images_per_forward=auto"],
        ["calibrate", "dataset.limit=10", "task.race.images=10"],
        ["calibrate", "operator=dip_go", "dataset.limit=10", "operator.images=10"],
    ],
)
def test_all_that_needs_the_folder_names_it_first(
    command: list[str], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for cache, reason in [(file, ""), (file / "below", f" ({file} is not)")]:
        places = [f"paths.cache={cache}", f"paths.results={tmp_path / 'results'}"]
        assert main([*command, *places]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"paths.cache={cache}: {ALLOWED}{reason}\n")
    assert not (tmp_path / "results" / "runs").exists()


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    "call",
    [run, with_images_per_forward, lambda config: gather_errors(config, None, [])],  # type: ignore[arg-type]
)
def test_a_job_on_another_machine_names_it_too(call: Callable[..., object], file: Path) -> None:
    own = ["task=generation", "task.images_per_forward=auto"]
    if call is run:
        own = ["batch_size=auto"]
    with pytest.raises(UserError) as caught:
        call(compose_config([*own, f"paths.cache={file}", f"paths.results={file.parent / 'r'}"]))
    assert str(caught.value) == f"paths.cache={file}: {ALLOWED}"


def test_a_folder_inside_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """As one that is for reading only: the folder exists, so a run begins."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "references").touch()
    own = ["task=generation", "dataset.limit=2", "task.steps=1", f"paths.cache={tmp_path}/cache"]
    with pytest.raises(UserError, match=rf"^paths.cache={tmp_path}/cache: {ALLOWED} \(/.*\)$"):
        run(compose_config([*own, f"paths.results={tmp_path}/r"]), progress=False)


def test_calibrating_needs_a_folder_of_results(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for own in (["task.race.images=10"], ["operator=dip_go", "operator.images=10"]):
        places = [f"paths.cache={tmp_path / 'cache'}", f"paths.results={file}"]
        assert main(["calibrate", "dataset.limit=10", *own, *places]) == 2
        assert capsys.readouterr().err == f"paths.results={file}: {ALLOWED}\n"


def test_what_does_not_need_the_folder_goes_on(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose_config([*SHORT, f"paths.cache={file}", f"paths.results={tmp_path / 'r'}"])
    check_cache(config)
    assert run(config, progress=False).status == "done"
    other = config.model_copy(update={"backbone": config.backbone.model_copy()})
    keep_flops(other, file, 7)
    known_flops(other, file)
    caches = build.build_caches(config)
    assert caches.latents.get({"a": 1}, dict) == {}
    assert "damaged" not in caplog.text


CACHE, RUN = Path("/c"), Path("/c/runs/x")


@pytest.mark.parametrize(
    ("error", "run_folder", "kind", "said"),
    [
        (PermissionError(errno.EACCES, "denied", "/c/a"), RUN, UserError, "(/c/a: denied)"),
        (OSError(errno.EROFS, "read-only", "/c/a"), RUN, UserError, "(/c/a: read-only)"),
        (NotADirectoryError(errno.ENOTDIR, "no folder", b"/c"), None, UserError, "(no folder)"),
        (OSError(errno.ENOSPC, "full", "/c/a"), RUN, FaultError, "/c: /c/a: full; mend"),
        (OSError(errno.ENOSPC, "full"), None, FaultError, "/c: full; mend"),
        (OSError(errno.ENOSPC, "full"), RUN, OSError, "full"),
        (PermissionError(errno.EACCES, "denied", "/c/runs/x/a"), RUN, OSError, "denied"),
        (FileNotFoundError(errno.ENOENT, "none", "/elsewhere"), None, OSError, "none"),
        (OSError("image file is truncated"), None, OSError, "truncated"),
    ],
)
def test_errors_about_its_files_name_the_setting(
    error: OSError, run_folder: Path | None, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught, named_cache(CACHE, run_folder):
        raise error
    assert said in str(caught.value)
    assert str(caught.value).startswith("paths.cache=/c: ") == (kind is not OSError)
