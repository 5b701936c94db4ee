"""The polygons of an aircraft's engines: pods under or in the wing, at the tail, and propellers."""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi, sin

from workflow.lib.drawn.fleet import Variant
from workflow.lib.drawn.pose import FAR, NEAR, Part, Point, Pose


def engines(v: Variant, pose: Pose, side: int) -> Iterator[Part]:
    """The engines on one side (FAR or NEAR) of a variant; one on the axis belongs to one of the two."""
    for front in _fronts(v, side):
        yield from _engine(v, pose, front)
    if "nose" in v.engines and side == NEAR:
        yield from _disc(pose, (v.length / 2 + 0.03, 0.0, -v.droop * v.radius), v.propeller)


def _fronts(v: Variant, side: int) -> Iterator[Point]:
    places = v.engines.split("+")
    if "wing" in places or "wing4" in places:
        shares = [v.engine_y + 0.34, v.engine_y] if "wing4" in places else [v.engine_y]
        for share in shares if side == FAR else shares[::-1]:
            yield _under_wing(v, share, side)
    if "rear" in places:
        gap = v.radius * 0.9 + v.engine_radius
        yield -v.length / 2 + 0.42 * v.length / 1.5, side * gap, 0.35 * v.radius
    if "tail" in places and side == FAR:
        lift = 0.95 * v.radius + 0.1 if v.cone > 0.2 else 0.0
        yield -v.length / 2 + (0.75 if lift else 0.2), 0.0, lift


def _under_wing(v: Variant, share: float, side: int) -> Point:
    """The front of an engine at a share of the half span; the nacelle of a propeller sits in the wing."""
    x = v.length * (0.5 - v.wing_x) - v.sweep * share
    z = v.wing_z * v.radius + v.dihedral * v.span * share
    drop = 0.0 if v.propeller else v.engine_radius + 0.05
    return x + 0.55 * v.engine_length, side * v.span * share, z - drop


def _engine(v: Variant, pose: Pose, front: Point) -> Iterator[Part]:
    x, y, z = front
    yield "engine", pose.tube(front, (x - v.engine_length, y, z), v.engine_radius)
    if v.propeller:
        yield from _disc(pose, front, v.propeller)
    else:
        yield "intake", pose.tube(front, (x - 0.07, y, z), v.engine_radius * 0.92)


def _disc(pose: Pose, hub: Point, radius: float) -> Iterator[Part]:
    """A turning propeller, seen as a thin disc."""
    x, y, z = hub
    rim = [(x, y + radius * cos(k * pi / 6), z + radius * sin(k * pi / 6)) for k in range(12)]
    yield "disc", pose.polygon(rim)
    yield "intake", pose.tube((x + 0.08, y, z), (x - 0.03, y, z), 0.07)
