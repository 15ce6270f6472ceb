"""Contact sheet and timeline of one film."""

import pytest

from m2s_lib.display.figures import alt_text, keyframe_sheet, shot_timeline
from m2s_lib.errors import M2SError
from tests.display.figures.test_scenes import check_layout, pictures, texts
from tests.helpers.display_stores import colour, make_store


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
    assert "where its shots begin" in alt_text(fig)


def test_a_film_without_pixels_and_times(tmp_path):
    fig = keyframe_sheet(make_store(tmp_path, "a", pixels=False, timed=False), 4)
    assert len(pictures(fig)) == 4
    assert texts(fig)[1] == "0"
    bar = next(axes for axes in fig.axes if axes.patches)
    assert bar.get_xlabel() == "shot (times unknown)"
    with pytest.raises(M2SError, match="n=0 pictures in 8 columns"):
        keyframe_sheet(make_store(tmp_path, "a"), 0)


def test_scenes_on_the_timeline(tmp_path):
    store = make_store(tmp_path, "a")
    fig = shot_timeline(store, [(0, 9), (11, 4)], "A")
    axes = fig.axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 45], [55, 75]]
    assert [t.get_text() for t in axes.texts] == ["1", "2"]
    assert axes.get_title(loc="left") == "A: 20 shots"
    assert alt_text(fig) == "Timeline of A: 20 shots, 2 scenes marked."
    with pytest.raises(M2SError, match="film a: a scene of 9 shots from shot 15"):
        shot_timeline(store, [(15, 9)])
