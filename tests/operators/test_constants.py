import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from bigain.operators.constants import constant


def test_a_constant_is_made_once_for_each_argument() -> None:
    made: list[int] = []

    @constant
    def numbers(count: int) -> torch.Tensor:
        """Count up."""
        made.append(count)
        return torch.arange(count)

    assert numbers(3) is numbers(3)
    assert numbers(2).tolist() == [0, 1]
    assert numbers(3).tolist() == [0, 1, 2]
    assert made == [3, 2]
    assert (numbers.__name__, numbers.__doc__) == ("numbers", "Count up.")


def test_a_constant_first_made_in_inference_mode_serves_training() -> None:
    @constant
    def ones(count: int) -> torch.Tensor:
        return torch.ones(count)

    with torch.inference_mode():
        assert not ones(2).is_inference()
    weight = torch.ones(2, requires_grad=True)
    (weight * ones(2)).sum().backward()
    assert weight.grad is not None


def test_under_compilation_it_is_part_of_the_graph() -> None:
    """A tensor from outside would be an input of the graph, kept alive by it."""
    graphs: list[torch.fx.GraphModule] = []

    @constant
    def numbers(count: int) -> torch.Tensor:
        return torch.arange(count)

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        assert len(inputs) == 1
        return graph.forward

    torch.compiler.reset()
    double = torch.compile(lambda x: x + numbers(4), backend=backend)
    assert double(torch.ones(4)).tolist() == [1, 2, 3, 4]
    assert "arange" in graphs[0].code
    torch.compiler.reset()


def test_what_a_dispatch_mode_makes_is_not_kept() -> None:
    """A plan under fake tensors must not leave fake indices to real plans."""

    @constant
    def numbers(count: int) -> Tensor:
        return torch.arange(count)

    with FakeTensorMode():
        assert isinstance(numbers(5), FakeTensor)
    assert not isinstance(numbers(5), FakeTensor)
    assert torch.equal(numbers(5) + torch.ones(5, dtype=torch.long), torch.arange(1, 6))
