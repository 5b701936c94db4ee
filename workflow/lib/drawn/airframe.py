"""Turns the geometry of an aircraft and a pose into polygons on the canvas, the farthest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from workflow.lib.drawn.fleet import Variant
from workflow.lib.drawn.nacelles import engines
from workflow.lib.drawn.pose import FAR, NEAR, Part, Point, Polygon, Pose, whole


@dataclass(frozen=True)
class Airframe:
    """A variant in a pose; `stripe` is a band of paint on the hull, in percent of the radius."""

    variant: Variant
    pose: Pose
    stripe: tuple[int, int]

    def parts(self) -> Iterator[Part]:
        """Every part by the name of its paint and its polygon, in the order of painting."""
        high = self.variant.wing_z > 0.5
        yield from engines(self.variant, self.pose, FAR)
        yield from self._tailplane(FAR)
        if not high:
            yield from self._wings(FAR)
        yield from self._fins(FAR)
        yield from self._hull()
        if high:
            yield from self._wings(FAR)
        yield from self._fins(NEAR)
        yield from self._tailplane(NEAR)
        yield from self._gear()
        yield from engines(self.variant, self.pose, NEAR)
        yield from self._wings(NEAR)

    def _x(self, share: float) -> float:
        """The place at a share of the length, counted from the nose."""
        return self.variant.length * (0.5 - share)

    @cached_property
    def _stations(self) -> list[tuple[float, float, float]]:
        """(x, height of the axis, radius) along the fuselage, from the nose to the tail."""
        v, r = self.variant, self.variant.radius
        nose, cone = v.nose * r, v.cone * v.length
        front = v.length / 2
        stations = []
        for t in (0.0, 0.04, 0.14, 0.3, 0.5, 0.75, 1.0):
            swell = sqrt(1 - (1 - t) ** 2)
            stations.append((front - t * nose, -v.droop * r * (1 - t), r * swell))
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            slim = 1 - 0.82 * t * t if v.cone > 0.2 else 1 - 0.25 * t
            stations.append((-front + cone * (1 - t), 0.75 * r * (1 - slim), r * slim))
        return stations

    def _band(self, low: float, high: float, stations: Sequence[tuple[float, float, float]]) -> Polygon:
        """The strip of a body of revolution between two heights, as shares of the radius at each station."""
        nx, ny = self.pose.normal
        upper, lower = [], []
        for x, z, r in stations:
            cx, cy = self.pose.project((x, 0.0, z))
            reach = r * self.pose.scale
            upper.append(whole((cx + nx * reach * high, cy + ny * reach * high)))
            lower.append(whole((cx + nx * reach * low, cy + ny * reach * low)))
        return upper + lower[::-1]

    def _hull(self) -> Iterator[Part]:
        v, r = self.variant, self.variant.radius
        if v.belly:
            x = self._x(v.wing_x)
            yield "shadow", self.pose.tube((x + 0.25, 0.0, -0.85 * r), (x - 0.9, 0.0, -0.85 * r), v.belly * r)
        if v.hump:
            rise = [(0.05, 0.2), (0.09, 0.8), (0.13, 1.0), (0.04 + v.hump, 1.0), (0.16 + v.hump, 0.2)]
            deck = [(self._x(t), 0.72 * r, 0.62 * r * h) for t, h in rise]
            yield "hull", self._band(-1, 1, deck)
        yield "hull", self._band(-1, 1, self._stations)
        low, high = self.stripe
        if high > low:
            yield "stripe", self._band(low / 100, high / 100, self._stations)
        yield "shadow", self._band(-1, -0.62, self._stations)
        yield from self._panes()

    def _panes(self) -> Iterator[Part]:
        v, r = self.variant, self.variant.radius
        nose = self._x(0) - 0.55 * v.nose * r
        yield "glass", self._pane(nose, 0.42 * r, 0.13, 0.065)
        first, last = self._x(0) - 1.15 * v.nose * r - 0.1, -v.length / 2 + 0.8 * v.cone * v.length
        for number in range(v.windows):
            x = first + (last - first) * number / max(v.windows - 1, 1)
            yield "glass", self._pane(x, 0.28 * r, v.window, v.window)
        for number in range(round(v.hump * 14)):
            yield "glass", self._pane(self._x(0.10 + number / 14), 0.95 * r, v.window, v.window)

    def _pane(self, x: float, z: float, wide: float, tall: float) -> Polygon:
        y = -0.8 * self.variant.radius
        low, high = z - tall, z + tall
        return self.pose.polygon(
            [(x + wide, y, low), (x + 0.8 * wide, y, high), (x - wide, y, high), (x - wide, y, low)]
        )

    def _wings(self, side: int) -> Iterator[Part]:
        for deck in range(self.variant.decks):
            yield from self._wing(side, deck)

    def _wing(self, side: int, deck: int) -> Iterator[Part]:
        v = self.variant
        paint = "wing" if side == NEAR else "far"
        x, z = self._x(v.wing_x) + 0.12 * deck, (v.wing_z + 2.9 * deck) * v.radius
        back, end, tip = x - v.sweep, side * v.span, z + v.dihedral * v.span
        inner = side * v.radius * 0.5 if abs(v.wing_z) < 0.9 and v.decks == 1 else 0.0
        root, head = (x, inner, z), (back, end, tip)
        sheet = [root, head, (back - v.tip, end, tip), (x - v.root, inner, z)]
        edge = [root, head, (back, end, tip - 0.035), (x, inner, z - 0.06)]
        yield paint, self.pose.polygon(sheet)
        yield paint, self.pose.polygon(edge)  # keeps a wing visible that is seen from exactly the side
        if deck:
            strut = (back - 0.1, end * 0.7)
            yield "disc", self.pose.tube((*strut, z), (*strut, v.wing_z * v.radius), 0.03)
        if v.winglet:
            yield "fin", self._winglet(head)

    def _winglet(self, head: Point) -> Polygon:
        """The upturned end of a wing whose leading edge ends at `head`."""
        v, (back, end, tip) = self.variant, head
        top, out = tip + v.winglet * 1.35, end * 1.03
        corners = [
            head,
            (back - v.tip * 0.8, out, top),
            (back - v.tip * 1.3, out, top),
            (back - v.tip, end, tip),
        ]
        return self.pose.polygon(corners)

    def _fins(self, side: int) -> Iterator[Part]:
        v = self.variant
        twin = v.tail in ("twin", "vee")
        if not twin and side == NEAR:
            return
        foot = side * (v.tail_span if v.tail == "twin" else 0.02)
        head = foot + side * 0.75 * v.fin if v.tail == "vee" else foot
        base = 0.35 * v.radius
        top = base + v.fin + (0.3 * v.radius if not twin else 0.0)
        low = base - (0.25 if v.tail == "twin" else 0.0)
        x = -v.length / 2 + v.fin_chord + 0.05
        back = x - v.fin_chord - v.fin_sweep
        narrow = 0.5 * min(v.fin_chord, 0.7)
        corners = [
            (x, foot, low),
            (back + narrow, head, top),
            (back, head, top),
            (x - v.fin_chord, foot, low),
        ]
        yield "fin", self.pose.polygon(corners)

    def _tailplane(self, side: int) -> Iterator[Part]:
        v = self.variant
        if v.tail == "vee":
            return
        lift = {"low": 0.0, "twin": 0.0, "cross": 0.5, "high": 1.0}[v.tail]
        z = 0.35 * v.radius + lift * (v.fin + 0.3 * v.radius)
        x = -v.length / 2 + 0.45 - lift * v.fin_sweep
        end = side * v.tail_span
        sweep = 0.3 if v.sweep > 0.3 else 0.06
        corners = [(x, 0.0, z), (x - sweep, end, z), (x - sweep - 0.2, end, z), (x - 0.42, 0.0, z - 0.05)]
        yield ("wing" if side == NEAR else "far"), self.pose.polygon(corners)

    def _gear(self) -> Iterator[Part]:
        v = self.variant
        if not v.gear:
            return
        top, foot, main = -0.7 * v.radius, -v.radius - 0.26, self._x(v.wing_x) - 0.3
        for x, y in ((self._x(0.16), 0.0), (main, FAR * 0.3), (main, NEAR * 0.3)):
            yield "disc", self.pose.tube((x, y, top), (x, y, foot), 0.025)
            yield "intake", self.pose.tube((x + 0.09, y, foot), (x - 0.09, y, foot), 0.09)
