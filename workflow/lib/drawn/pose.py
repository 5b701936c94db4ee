"""A random view of an aircraft: the parallel projection from its three axes onto the canvas.

The axes: x forward from the middle of the fuselage, y to the left, z up. The eye is where y is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, hypot, sin

import numpy as np

from workflow.lib.drawn.fleet import Variant

Point = tuple[float, float, float]
Polygon = list[tuple[int, int]]
Part = tuple[str, Polygon]

FAR, NEAR = 1, -1


@dataclass(frozen=True)
class Pose:
    """A parallel projection: canvas x = right . p + cx, canvas y = down . p + cy, in supersampled pixels."""

    right: Point
    down: Point
    centre: tuple[float, float]
    scale: float

    @classmethod
    def random(cls, rng: np.random.Generator, reach: int, variant: Variant) -> Pose:
        """A view from the side or three quarters, rolled, sheared, mirrored, on `reach` by `reach` pixels."""
        yaw, elevation, roll, shear, size = rng.uniform(-1, 1, 5).tolist()
        cx, cy = (reach / 2 + reach * 0.05 * shift for shift in rng.uniform(-1, 1, 2).tolist())
        yaw, elevation, roll = yaw * 0.75, 0.30 + elevation * 0.34, roll * 0.24
        flip = -1.0 if rng.integers(2) else 1.0
        long = variant.length + 0.6 * variant.fin_sweep
        width = max(long * cos(yaw), 0.55 * long + variant.span * abs(sin(yaw)))
        scale = reach * (0.82 + 0.10 * size) / width
        across = (flip * cos(yaw), -flip * sin(yaw), 0.0)
        up = (sin(yaw) * sin(elevation), cos(yaw) * sin(elevation), cos(elevation))
        c, s = cos(roll), sin(roll)
        right = _combine(across, scale * c, up, scale * (0.10 * shear - s))
        down = _combine(across, -scale * s, up, -scale * c)
        overhang = 0.3 * variant.fin_sweep  # the fin reaches behind the fuselage: centre the two together
        return cls(right, down, (cx + overhang * right[0], cy + overhang * down[0]), scale)

    def project(self, point: Point) -> tuple[float, float]:
        """Canvas coordinates of a point, in supersampled pixels."""
        x, y, z = point
        (rx, ry, rz), (dx, dy, dz) = self.right, self.down
        return rx * x + ry * y + rz * z + self.centre[0], dx * x + dy * y + dz * z + self.centre[1]

    def polygon(self, points: Sequence[Point]) -> Polygon:
        """Canvas polygon, rounded to whole pixels so that it is painted alike everywhere."""
        return [whole(self.project(point)) for point in points]

    @cached_property
    def normal(self) -> tuple[float, float]:
        """The unit vector on the canvas across the fuselage, pointing to the aircraft's upper side."""
        ax, ay = self.right[0], self.down[0]
        nx, ny = -ay / hypot(ax, ay), ax / hypot(ax, ay)
        sign = 1.0 if nx * self.right[2] + ny * self.down[2] > 0 else -1.0
        return sign * nx, sign * ny

    def tube(self, start: Point, end: Point, radius: float) -> Polygon:
        """A thick line with blunt ends, `radius` in fuselage units."""
        (ax, ay), (bx, by) = self.project(start), self.project(end)
        long = hypot(bx - ax, by - ay) or 1.0
        nx, ny = -(by - ay) / long * radius * self.scale, (bx - ax) / long * radius * self.scale
        corners = (
            (ax + nx, ay + ny),
            (bx + 0.8 * nx, by + 0.8 * ny),
            (bx - 0.8 * nx, by - 0.8 * ny),
            (ax - nx, ay - ny),
        )
        return [whole(corner) for corner in corners]


def _combine(a: Point, wa: float, b: Point, wb: float) -> Point:
    return a[0] * wa + b[0] * wb, a[1] * wa + b[1] * wb, a[2] * wa + b[2] * wb


def whole(point: tuple[float, float]) -> tuple[int, int]:
    """A point on the canvas, rounded to whole pixels."""
    return round(point[0]), round(point[1])
