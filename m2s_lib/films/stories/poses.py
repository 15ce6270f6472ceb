"""What bodies do: poses as joint angles, one function of time for each way of standing and moving.

Angles are degrees in the picture's plane for somebody who looks to the right: limbs hang straight down at 0
and come forward with growing angles; `lean` and `nod` tip trunk and head forward.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Two = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Angles of a body's joints, and what its hands hold."""

    near_arm: Two = (6, 12)  # upper arm, and how far the elbow bends forward
    far_arm: Two = (-6, 12)
    near_leg: Two = (4, 3)  # thigh, and how far the knee bends back
    far_leg: Two = (-5, 3)
    lean: float = 0
    nod: float = 0
    lift: float = 0  # how far the feet leave the ground, heights of the body
    holds: str = ""  # a prop of `props`


def _swing(t: float, size: float, shift: float = 0) -> float:
    return size * math.sin(2 * math.pi * (t + shift))


def stand(t: float) -> Pose:
    return Pose(lean=_swing(t, 1.5), nod=_swing(t, 4, 0.2))


def talk(t: float) -> Pose:
    return Pose(near_arm=(25 + _swing(2 * t, 12), 60 + _swing(2 * t, 15)), nod=_swing(2 * t, 5))


def cross_arms(t: float) -> Pose:
    return Pose(near_arm=(20, 85), far_arm=(25, 80), nod=6 + _swing(t, 3))


def sit(t: float) -> Pose:
    return Pose((25, 35), (18, 40), (88, 88), (82, 84), lean=-2 + _swing(t, 2), nod=4)


def walk(t: float) -> Pose:
    s = _swing(2 * t, 1)
    return Pose(
        (-24 * s, 14), (24 * s, 14), (26 * s, 6 + 24 * max(-s, 0)), (-26 * s, 6 + 24 * max(s, 0)), lean=3
    )


def run(t: float) -> Pose:
    s = _swing(3 * t, 1)
    near, far = 18 + 52 * s, 18 - 52 * s
    return Pose(
        (-72 * s, 95), (72 * s, 95), (near, 22 + 70 * (s < 0)), (far, 22 + 70 * (s >= 0)),
        lean=24, nod=-8, lift=0.06,
    )  # fmt: skip


def hide(t: float) -> Pose:
    """Crouched, hands on the knees; what it hides behind is drawn in front."""
    return Pose((50, 70), (40, 80), (112, 142), (100, 140), lean=30 + _swing(t, 6), nod=-22)


def face_off(t: float) -> Pose:
    jab = max(_swing(2 * t, 1), 0)
    return Pose(
        (62 + 25 * jab, 82 - 75 * jab), (48, 100), (32, 22), (-26, 16), lean=9 + 6 * jab, nod=8,
        lift=0,
    )  # fmt: skip


def give(t: float) -> Pose:
    return Pose((74 + _swing(t, 5), 14), (66, 18), (16, 4), (-14, 6), lean=10, nod=8, holds="gift")


def take(t: float) -> Pose:
    return Pose((70 + _swing(t, 4), 20), (60, 26), (12, 4), (-10, 4), lean=7, nod=8)


def toast(t: float) -> Pose:
    return Pose((128 + _swing(t, 8), 18), (8, 14), (7, 3), (-7, 3), lean=-4, nod=-14, holds="glass")


def wave(t: float) -> Pose:
    return Pose((158, _swing(2 * t, 34)), (-10, 8), (6, 3), (-6, 3), lean=-3, nod=-8, holds="kerchief")


def carry(t: float) -> Pose:
    s = _swing(2 * t, 1)
    legs = ((24 * s, 10 + 20 * max(-s, 0)), (-24 * s, 10 + 20 * max(s, 0)))
    return Pose((58, 42), (50, 50), *legs, lean=-9, nod=0, holds="crate")


def carry_high(t: float) -> Pose:
    s = _swing(2 * t, 1)
    legs = ((20 * s, 8 + 16 * max(-s, 0)), (-20 * s, 8 + 16 * max(s, 0)))
    return Pose((150, 45), (140, 50), *legs, lean=2, nod=6, holds="load")


def kneel(t: float) -> Pose:
    return Pose(
        (58 + _swing(t, 4), 40), (50, 46), (88, 90), (-6, 84), lean=8 + _swing(t, 3), nod=24,
        holds="flower",
    )  # fmt: skip


def bow(t: float) -> Pose:
    """On both knees, bent over."""
    return Pose(
        (62, 30), (54, 36), (34, 124), (28, 118), lean=38 + _swing(t, 6), nod=30,
    )  # fmt: skip


def rest(t: float) -> Pose:
    return Pose(near_arm=(10, 20), nod=14 + _swing(t, 3))


Motion = Callable[[float], Pose]
