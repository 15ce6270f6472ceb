"""Contact sheet of one film."""

import pytest

from m2s_lib.display.figures import keyframe_sheet
from m2s_lib.errors import M2SError
from tests.helpers.display_stores import colour, make_store
from tests.helpers.drawn import check_layout, pictures, texts


@pytest.mark.parametrize(("n", "shots"), [(5, [0, 7, 14, 22, 29]), (100, list(range(30))), (1, [0])])
def test_shots_are_spread_over_the_film(tmp_path, n, shots):
    fig = keyframe_sheet(make_store(tmp_path, "a", n=30), n, title="$A$ film")
    shown = pictures(fig)
    assert [axes.images[0].get_array()[5, 5].tolist() for axes in shown] == [list(colour(s)) for s in shots]
    written = texts(fig)
    assert written[0] == ("all shots of $A$ film" if n == 100 else f"{n} of 30 shots of $A$ film")
    assert f"{shots[-1]} · 0:0{shots[-1] * 5 // 60}:{shots[-1] * 5 % 60:02d}" in written
    bar = next(axes for axes in fig.axes if axes.patches)
    assert len(bar.patches) == 30  # every shot, drawn or not
    assert [round(p.get_x()) for p in bar.patches[:3]] == [0, 5, 10]
    check_layout(fig)
    assert "where its shots begin" in fig.m2s_alt


def test_a_film_without_pixels_and_times(tmp_path):
    fig = keyframe_sheet(make_store(tmp_path, "a", pixels=False, timed=False), 4)
    assert len(pictures(fig)) == 4
    assert texts(fig)[1] == "0"
    bar = next(axes for axes in fig.axes if axes.patches)
    assert bar.get_xlabel() == "shot (times unknown)"
    with pytest.raises(M2SError, match="n=0 pictures in 8 columns"):
        keyframe_sheet(make_store(tmp_path, "a"), 0)
