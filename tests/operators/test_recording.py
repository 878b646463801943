import torch

from bigain.operators import LGTM, Draw, MergeReduction
from bigain.operators.recording import Recording


def test_recording_behaves_as_its_operator_and_remembers() -> None:
    x = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))
    recording = Recording(LGTM(0.5))
    reduction = recording.plan(x, (4, 4), Draw(seed=1, site="here", timesteps=torch.tensor([5])))
    expected = LGTM(0.5).plan(x, (4, 4))
    assert torch.equal(reduction.reduce(x), expected.reduce(x))
    assert recording.kept((4, 4)) == 8
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
