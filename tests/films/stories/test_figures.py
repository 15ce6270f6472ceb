import numpy as np
import pytest

from m2s_lib.films.stories import poses
from m2s_lib.films.stories.canvas import Canvas
from m2s_lib.films.stories.figures import Costume, Figure
from m2s_lib.films.stories.things import COLOURS, THINGS, draw_thing

COSTUME = Costume(
    (220, 170, 130), (60, 40, 30), (70, 110, 170), (50, 50, 70), (30, 30, 30), (190, 60, 60),
    "short", "", False, 1.0, 1.0,
)  # fmt: skip
MOTIONS = (
    poses.stand, poses.talk, poses.cross_arms, poses.sit, poses.walk, poses.run, poses.hide, poses.face_off,
    poses.give, poses.take, poses.toast, poses.wave, poses.carry, poses.carry_high, poses.kneel, poses.bow,
)  # fmt: skip
LOOK = dict(wood=(120, 80, 40), cloth=(90, 40, 120), metal=(140, 140, 150), wall=(200, 190, 170),
            sky=(150, 190, 230), accent=(200, 60, 60))  # fmt: skip


def canvas():
    return Canvas(120, 120, lambda colour: colour, (0, 0, 0), 0.0)


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: m.__name__)
def test_feet_or_knees_are_on_the_ground(motion):
    for time in (0.0, 0.3, 0.7):
        figure = Figure(motion(time), COSTUME, 60, 100, 80, 1)
        lowest = max(y for leg in (figure.near_leg, figure.far_leg) for _, y in leg[1:])
        assert lowest == pytest.approx(100 - 80 * motion(time).lift)
        assert figure.head[1] < figure.hip[1]


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: m.__name__)
def test_who_looks_to_the_left_is_the_mirror_image(motion):
    pictures = []
    for side in (1, -1):
        drawn = canvas()
        Figure(motion(0.2), COSTUME, 60, 110, 70, side).draw(drawn)
        pictures.append(drawn.picture().astype(int))
    assert pictures[0].any()
    assert np.abs(pictures[0] - pictures[1][:, ::-1]).mean() < 3  # edges fall between other pixels


@pytest.mark.parametrize("name", THINGS)
def test_every_thing_is_drawn_in_known_colours(name):
    drawn = canvas()
    draw_thing(drawn, name, 60, 80, 40, LOOK)
    assert drawn.picture().any()


def test_a_things_shape_is_where_its_words_say():
    drawn = canvas()
    draw_thing(drawn, "stool", 60, 100, 100, LOOK)  # R 0 0 .4 .26 wood
    lit = drawn.picture().any(-1)
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    assert (rows.min(), rows.max() + 1) == pytest.approx((74, 100), abs=1)
    assert (columns.min(), columns.max() + 1) == pytest.approx((40, 80), abs=1)
    assert drawn.picture()[90, 60].tolist() == [120, 80, 40]


def test_colours_pass_through_the_grade():
    drawn = Canvas(20, 20, lambda colour: (colour[0] // 2, 7, colour[2]), (0, 0, 0))
    drawn.rectangle(0, 0, 20, 20, COLOURS["lamp"])
    assert drawn.picture()[10, 10].tolist() == [127, 7, 160]
