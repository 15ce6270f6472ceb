"""People: a body drawn from a pose in a costume, heads and faces."""

import math
from dataclasses import dataclass

from m2s_lib.films.stories.canvas import Canvas, Colour
from m2s_lib.films.stories.poses import Pose
from m2s_lib.films.stories.things import draw_thing, shade

# lengths in heights of the body
_HEAD, _NECK, _TRUNK, _THIGH, _SHIN, _ARM, _FOREARM = 0.098, 0.05, 0.30, 0.245, 0.245, 0.17, 0.17
_LIMB, _LEG, _SHOULDERS, _HIPS = 0.068, 0.088, 0.088, 0.072  # widths
HATS = ("", "", "", "cap", "brim", "top", "scarf")
Point = tuple[float, float]


@dataclass(frozen=True)
class Costume:
    """One member of a film's cast."""

    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour
    shoes: Colour
    accent: Colour  # hat, gift, flower
    hair_style: str  # short, long, bun, bob or bald
    hat: str  # of HATS
    skirt: bool
    build: float  # width of the body, about 1
    height: float  # about 1


class Figure:
    """A body in a pose at a place of the picture, its joints in pixels.

    Args:
        x, y: where it stands, px. size: height of a body of height 1, px.
        side: 1 looks to the right, -1 to the left.
    """

    def __init__(self, pose: Pose, costume: Costume, x: float, y: float, size: float, side: int):
        self.pose, self.costume, self.side, self.size = pose, costume, side, size * costume.height
        lean, tip = math.radians(pose.lean), math.radians(pose.lean + pose.nod)
        legs = [_chain((0, 0), a, a - b, _THIGH, _SHIN) for a, b in (pose.near_leg, pose.far_leg)]
        shoulder = (_TRUNK * math.sin(lean), -_TRUNK * math.cos(lean))
        arms = [_chain(shoulder, a, a + b, _ARM, _FOREARM) for a, b in (pose.near_arm, pose.far_arm)]
        rise = _NECK + _HEAD
        head = (shoulder[0] + rise * math.sin(tip), shoulder[1] - rise * math.cos(tip))
        ground = max(v for leg in legs for _, v in leg[1:]) + pose.lift  # a foot or a knee is down
        self._x, self._y = x, y - ground * self.size
        self.hip, self.shoulder, self.head = (self._at(p) for p in ((0, 0), shoulder, head))
        self.near_leg, self.far_leg = ([self._at(p) for p in leg] for leg in legs)
        self.near_arm, self.far_arm = ([self._at(p) for p in arm] for arm in arms)

    def _at(self, point: Point) -> Point:
        return self._x + self.side * point[0] * self.size, self._y + point[1] * self.size

    def draw(self, canvas: Canvas) -> None:
        """The far side first, the near side over it."""
        c, wide = self.costume, self.size * self.costume.build
        self._arm(canvas, self.far_arm, shade(c.top, 0.78))
        self._leg(canvas, self.far_leg, shade(c.legs, 0.78))
        if self.pose.holds == "load":
            self._hold(canvas, self.head[0], self.head[1] - _HEAD * self.size)
        self._leg(canvas, self.near_leg, c.legs)
        self._trunk(canvas, _SHOULDERS * wide, _HIPS * wide)
        draw_head(canvas, c, *self.head, _HEAD * self.size, self.side)
        if self.pose.holds not in ("", "load"):
            self._hold(canvas, *self.near_arm[2])
        self._arm(canvas, self.near_arm, c.top)

    def _hold(self, canvas: Canvas, x: float, y: float) -> None:
        (elbow, _), (hand, _) = self.near_arm[1:]
        side = self.side if self.pose.holds != "kerchief" else 1 if hand >= elbow else -1
        draw_thing(canvas, self.pose.holds, x, y, self.size, {"accent": self.costume.accent}, side)

    def _arm(self, canvas: Canvas, arm: list[Point], colour: Colour) -> None:
        width = _LIMB * self.size * self.costume.build
        canvas.limb(arm, width, colour)
        canvas.ellipse(*arm[2], 0.62 * width, 0.62 * width, self.costume.skin)

    def _leg(self, canvas: Canvas, leg: list[Point], colour: Colour) -> None:
        width, (x, y) = _LEG * self.size * self.costume.build, leg[2]
        canvas.limb(leg, width, self.costume.skin if self.costume.skirt else colour)
        canvas.ellipse(x + self.side * 0.5 * width, y, 0.85 * width, 0.5 * width, self.costume.shoes)

    def _trunk(self, canvas: Canvas, wide: float, slim: float) -> None:
        """Shirt and skirt or belt; `wide` and `slim` are half of the widths at shoulders and hips."""
        (sx, sy), (hx, hy), c = self.shoulder, self.hip, self.costume
        length = math.hypot(sx - hx, sy - hy)
        u, v = (hy - sy) / length, (sx - hx) / length  # across the trunk
        corners = (
            (sx + wide * u, sy + wide * v), (sx - wide * u, sy - wide * v),
            (hx - slim * u, hy - slim * v), (hx + slim * u, hy + slim * v),
        )  # fmt: skip
        canvas.polygon(corners, c.top, line=True)
        canvas.ellipse(sx, sy, wide, 0.7 * wide, c.top)
        if not c.skirt:
            canvas.ellipse(hx, hy, slim, 0.6 * slim, c.legs)
            return
        (ax, ay), (bx, by), s = self.near_leg[1], self.far_leg[1], self.size
        x, y, hem = (ax + bx) / 2, max(ay, by) + 0.02 * s, max(0.12 * s, abs(ax - bx) / 2 + 0.05 * s)
        waist = hy - 0.04 * s
        canvas.polygon(
            ((hx - slim, waist), (hx + slim, waist), (x + hem, y), (x - hem, y)), c.legs, line=True
        )


def _chain(start: Point, first: float, second: float, a: float, b: float) -> list[Point]:
    """Two bones of lengths a and b after each other, at angles in degrees: their three joints."""
    first, second = math.radians(first), math.radians(second)
    middle = (start[0] + a * math.sin(first), start[1] + a * math.cos(first))
    return [start, middle, (middle[0] + b * math.sin(second), middle[1] + b * math.cos(second))]


def draw_head(canvas: Canvas, c: Costume, x: float, y: float, r: float, side: int, big: bool = False) -> None:
    """A head of radius r; `big` leaves the face to `draw_features`."""
    if c.hair_style in ("long", "bun"):
        canvas.ellipse(x - 0.45 * side * r, y + 0.35 * r, 0.75 * r, 1.2 * r, c.hair)
    if c.hair_style == "bun":
        canvas.ellipse(x - 0.8 * side * r, y - 0.75 * r, 0.5 * r, 0.5 * r, c.hair)
    canvas.ellipse(x, y, 0.88 * r, r, c.skin, line=True)
    if c.hair_style != "bald":
        depth = 0.55 if c.hair_style == "bob" else 0.15
        crown = [
            (0.97 * math.cos(math.radians(a)), -1.1 * math.sin(math.radians(a))) for a in range(20, 215, 20)
        ]
        outline = [*crown, (-0.85, depth), (-0.35, 0.1), (-0.1, -0.45), (0.75, -0.45)]
        canvas.polygon([(x + side * r * a, y + r * b) for a, b in outline], c.hair)
    if not big:
        canvas.ellipse(x + 0.45 * side * r, y + 0.02 * r, 0.13 * r, 0.17 * r, canvas.ink)
        canvas.ellipse(x + 0.92 * side * r, y + 0.18 * r, 0.16 * r, 0.14 * r, c.skin)
    _draw_hat(canvas, c, x, y, r, side)


def _draw_hat(canvas: Canvas, c: Costume, x: float, y: float, r: float, side: int) -> None:
    if c.hat == "cap":
        canvas.ellipse(x, y - 0.55 * r, 0.95 * r, 0.6 * r, c.accent, line=True)
        canvas.ellipse(x + 0.9 * side * r, y - 0.42 * r, 0.55 * r, 0.16 * r, c.accent)
    elif c.hat == "brim":
        canvas.ellipse(x, y - 0.5 * r, 1.6 * r, 0.22 * r, c.accent, line=True)
        canvas.ellipse(x, y - 0.85 * r, 0.8 * r, 0.6 * r, c.accent)
    elif c.hat == "top":
        canvas.rectangle(x - 0.75 * r, y - 2.0 * r, 1.5 * r, 1.5 * r, c.accent, line=True)
        canvas.ellipse(x, y - 0.55 * r, 1.3 * r, 0.18 * r, c.accent)
    elif c.hat == "scarf":
        canvas.ellipse(x, y + 1.0 * r, 0.75 * r, 0.3 * r, c.accent)


def draw_features(
    canvas: Canvas, c: Costume, x: float, y: float, r: float, side: int, mood: int, time: float
) -> None:
    """Eyes, brows, nose and mouth of a face in close-up.

    Args:
        mood: 0 calm, 1 worried, 2 angry. time: 0..1; eyes blink and lips move.
    """
    x, open_ = x + 0.25 * side * r, 0.2 if time % 0.5 < 0.06 else 1.0
    for k in (-0.32, 0.32):
        canvas.ellipse(x + k * r, y - 0.02 * r, 0.14 * r, 0.15 * r * open_, (246, 244, 238))
        canvas.ellipse(x + (k + 0.03) * r, y - 0.02 * r, 0.07 * r, 0.10 * r * open_, canvas.ink)
        slope = (0, 0.08, -0.08)[mood] * (1 if k < 0 else -1)
        brow = ((x + (k - 0.16) * r, y - (0.27 + slope) * r), (x + (k + 0.16) * r, y - (0.27 - slope) * r))
        canvas.line(brow, 0.07 * r, shade(c.hair, 0.8))
    nose = ((x, y), (x + 0.1 * side * r, y + 0.25 * r), (x - 0.02 * r, y + 0.27 * r))
    canvas.line(nose, 0.05 * r, shade(c.skin, 0.7))
    talking = 0.05 + 0.09 * max(math.sin(14 * math.pi * time), 0) * (mood != 2)
    canvas.ellipse(x, y + 0.52 * r, 0.24 * r, talking * r, (135, 54, 54))
