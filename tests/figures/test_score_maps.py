from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bigain.figures.score_maps import score_maps, score_panels
from bigain.figures.token_maps import TokenMap
from bigain.operators import LGTM, SCORES, score_formula

Plan = Callable[..., tuple[TokenMap, ...]]


def test_every_score_is_a_map_of_the_planned_tokens(plan: Plan) -> None:
    each = plan(LGTM(0.5))[0]
    maps = score_maps(each)
    assert list(maps) == list(SCORES)
    assert len(maps) == 10
    for name, values in maps.items():
        expected = SCORES[name](each.metric, each.grid)[0].numpy()
        assert np.array_equal(values.ravel(), expected)


def test_every_panel_shows_its_map_and_states_its_formula(
    plan: Plan, image: npt.NDArray[np.uint8]
) -> None:
    each = plan(LGTM(0.5))[0]
    start, *panels = score_panels(each, image)
    assert "dark is low" in start.note
    assert [panel.title for panel in panels] == list(SCORES)
    for panel, values in zip(panels, score_maps(each).values(), strict=True):
        axis = Figure().add_subplot()
        panel.draw(axis)
        assert np.array_equal(np.asarray(axis.images[0].get_array()), values)
        assert panel.note.startswith(score_formula(panel.title))
