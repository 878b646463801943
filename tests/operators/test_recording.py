import torch

from bigain.operators import (
    LGTM,
    ByStage,
    CachedAssignment,
    KeyValueReducer,
    MergeReduction,
    RandomKey,
    ToDo,
    TokenReducer,
)
from bigain.operators.recording import Recorder, Recording


def test_recording_behaves_as_its_operator_and_remembers() -> None:
    x = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))
    recording = Recording(LGTM(0.5))
    reduction = recording.plan(
        x, (4, 4), RandomKey(seed=1, site="here", timesteps=torch.tensor([5]))
    )
    expected = LGTM(0.5).plan(x, (4, 4))
    assert torch.equal(reduction.reduce(x), expected.reduce(x))
    assert recording.num_kept((4, 4)) == 8
    ((site, metric, remembered),) = recording.calls
    assert site == "here"
    assert metric is x
    assert remembered is reduction
    assert isinstance(remembered, MergeReduction)


def test_calls_are_kept_in_order_and_without_a_draw() -> None:
    recording = Recording(LGTM(0.5))
    for side in (4, 6):
        recording.plan(torch.randn(1, side * side, 2), (side, side))
    assert [metric.shape[1] for _, metric, _ in recording.calls] == [16, 36]
    assert [site for site, _, _ in recording.calls] == ["", ""]


def test_a_recording_costs_and_shares_as_its_operator() -> None:
    assert Recording(CachedAssignment(0.5)).shared_in_stage
    assert not Recording(LGTM(0.5)).shared_in_stage
    assert Recording(LGTM(0.5)).plan_flops((4, 4), 3) == LGTM(0.5).plan_flops((4, 4), 3) > 0


def test_a_recorder_listens_at_every_stage_to_what_acts_there() -> None:
    recorder = Recorder(ByStage(encoder=LGTM(0.5), decoder=ToDo(2)))
    merging, reading = recorder.for_stage("encoder"), recorder.for_stage("decoder")
    assert isinstance(merging, TokenReducer)
    assert isinstance(reading, KeyValueReducer)
    assert recorder.for_stage("mid") is None
    x = torch.randn(1, 16, 2)
    for each in (merging, reading):
        each.plan(x, (4, 4), RandomKey(site=repr(type(each))))
    assert [reduction.reduce(x).shape[1] for _, _, reduction in recorder.calls] == [8, 4]
