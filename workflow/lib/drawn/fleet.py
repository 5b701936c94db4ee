"""The invented aircraft of the `planes` dataset: 100 variants in 30 families of 10 makers.

A family is a shape one can tell at a glance (four jets under a low wing, two propellers on a high wing and a
T-tail). Its variants share that shape and step through two small traits, such as a longer fuselage and larger
winglets.
Lengths are in fuselage units: an airliner is about 4 long and 0.5 thick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One class of the dataset: its three names and the geometry that `planes.draw` needs."""

    name: str = ""
    family: str = ""
    maker: str = ""
    length: float = 4.0
    radius: float = 0.26
    nose: float = 1.7  # length of the nose, in radii
    droop: float = 0.15  # how far the nose hangs below the axis, in radii
    cone: float = 0.30  # share of the length that tapers towards the tail
    hump: float = 0.0  # share of the length with a second deck
    belly: float = 0.0  # radius of a pod under the wing, in radii
    wing_x: float = 0.40  # leading edge at the root, as a share of the length from the nose
    wing_z: float = -0.5  # height of the wing, in radii: -1 low, 1 high
    span: float = 1.9  # half span
    root: float = 0.80
    tip: float = 0.26
    sweep: float = 0.85
    dihedral: float = 0.10
    winglet: float = 0.0
    decks: int = 1  # 2: a biplane
    engines: str = "wing"  # any of: wing, wing4, rear, tail, nose, joined by "+"
    propeller: float = 0.0  # radius of the disc; 0: a jet
    engine_radius: float = 0.13
    engine_length: float = 0.50
    engine_y: float = 0.36  # place of the inner engine, as a share of the half span
    fin: float = 0.75  # height of the fin
    fin_chord: float = 0.62
    fin_sweep: float = 0.50
    tail: str = "low"  # low, cross, high, twin, vee
    tail_span: float = 0.72
    windows: int = 11
    window: float = 0.055  # half size of a window
    gear: bool = False  # fixed wheels


def _longer(v: Variant, step: int) -> Variant:
    return replace(v, length=v.length * (1 + 0.13 * step), windows=v.windows + (2 * step if v.windows > 4 else 0))


# A trait changes one small thing, a little more with each step.
_TRAITS: dict[str, Callable[[Variant, int], Variant]] = {
    "length": _longer,
    "winglet": lambda v, k: replace(v, winglet=v.winglet + 0.14 * k),
    "engine": lambda v, k: replace(v, engine_radius=v.engine_radius * (1 + 0.24 * k)),
    "outboard": lambda v, k: replace(v, engine_y=v.engine_y + 0.10 * k),
    "nacelle": lambda v, k: replace(v, engine_length=v.engine_length * (1 + 0.30 * k)),
    "propeller": lambda v, k: replace(v, propeller=v.propeller * (1 + 0.22 * k)),
    "fin": lambda v, k: replace(v, fin=v.fin * (1 + 0.22 * k)),
    "fillet": lambda v, k: replace(v, fin_chord=v.fin_chord * (1 + 0.26 * k)),
    "span": lambda v, k: replace(v, span=v.span * (1 + 0.14 * k)),
    "sweep": lambda v, k: replace(v, sweep=v.sweep + 0.24 * k),
    "windows": lambda v, k: replace(v, windows=v.windows + 3 * k),
    "glazing": lambda v, k: replace(v, window=v.window * (1 + 0.30 * k)),
    "nose": lambda v, k: replace(v, nose=v.nose * (1 + 0.40 * k)),
    "hump": lambda v, k: replace(v, hump=v.hump + 0.15 * k),
    "belly": lambda v, k: replace(v, belly=v.belly + 0.28 * k),
    "tailplane": lambda v, k: replace(v, tail_span=v.tail_span * (1 + 0.30 * k)),
    "girth": lambda v, k: replace(v, radius=v.radius * (1 + 0.14 * k)),
}

_JET: dict[str, Any] = {}
_WIDE: dict[str, Any] = {
    "length": 4.4,
    "radius": 0.33,
    "span": 2.3,
    "root": 1.0,
    "engine_radius": 0.19,
    "windows": 14,
}
_QUAD: dict[str, Any] = {**_WIDE, "engines": "wing4", "engine_radius": 0.13, "engine_y": 0.30}
_REAR: dict[str, Any] = {"engines": "rear", "tail": "high", "wing_x": 0.46, "fin": 0.70, "fin_chord": 0.7}
_BIZ: dict[str, Any] = {
    **_REAR,
    "length": 2.9,
    "radius": 0.22,
    "span": 1.5,
    "root": 0.62,
    "windows": 5,
    "window": 0.06,
}
_PROP: dict[str, Any] = {
    "length": 3.3, "wing_z": 0.9, "sweep": 0.12, "root": 0.55, "tip": 0.34, "dihedral": 0.0, "tail": "high",
    "propeller": 0.36, "engine_radius": 0.11, "engine_length": 0.75, "windows": 9, "wing_x": 0.38,
}  # fmt: skip
_LIGHT: dict[str, Any] = {
    "length": 2.3, "radius": 0.22, "nose": 2.2, "cone": 0.55, "wing_x": 0.30, "sweep": 0.06, "root": 0.52,
    "tip": 0.42, "span": 1.55, "engines": "nose", "propeller": 0.34, "windows": 2, "window": 0.10, "fin": 0.50,
    "fin_chord": 0.42, "fin_sweep": 0.22, "tail_span": 0.55, "gear": True, "dihedral": 0.12,
}  # fmt: skip
_FIGHTER: dict[str, Any] = {
    "length": 3.2, "radius": 0.20, "nose": 4.6, "cone": 0.12, "wing_x": 0.42, "wing_z": 0.0, "root": 1.35,
    "tip": 0.25, "sweep": 1.10, "span": 1.15, "dihedral": 0.0, "engines": "tail", "engine_radius": 0.15, "windows": 1,
    "window": 0.09, "fin": 0.62, "fin_chord": 0.75, "tail_span": 0.55,
}  # fmt: skip

# Maker, family, suffixes of the variants, the two traits, and the shape: a base and what differs from it.
_Row = tuple[str, str, str, str, dict[str, Any]]
_FAMILIES: tuple[_Row, ...] = (
    ("Aldora", "120", "-200 -300 -400 -500", "length winglet", {**_JET}),
    ("Aldora", "140", "-10 -20 -30", "length engine", {**_JET, "engines": "wing+tail", "span": 2.1}),
    ("Aldora", "180", "-100 -200 -400", "hump length", {**_QUAD, "hump": 0.18}),
    ("Brenk", "Kestrel", " I| II| III", "fin propeller", {**_LIGHT, "wing_z": 0.95, "windows": 3}),
    ("Brenk", "Merlin", " I| II| III", "span glazing", {**_LIGHT, "wing_z": -0.7, "tail": "high"}),
    ("Brenk", "Twin Osprey", " A| B| C| D", "outboard length",
     {**_LIGHT, "engines": "wing", "wing_z": -0.6, "length": 2.7, "windows": 5, "window": 0.08,
      "engine_radius": 0.12, "gear": False}),
    ("Corvani", "C90", " E| S| L", "length windows", {**_BIZ}),
    ("Corvani", "C110", " X| XR| XLR", "winglet nacelle",
     {**_BIZ, "tail": "cross", "length": 3.2, "windows": 7}),
    ("Corvani", "Saetta", " 1| 2| 3", "nose fillet",
     {**_BIZ, "tail": "vee", "nose": 3.0, "windows": 3, "fin": 0.8}),
    ("Dunmore", "Herald", " 40| 50| 60| 70", "length propeller", {**_PROP}),
    ("Dunmore", "Bulwark", " C1| C2| C3", "girth fin",
     {**_PROP, "engines": "wing4", "tail": "low", "radius": 0.36, "length": 3.6, "span": 2.3, "windows": 3,
      "engine_y": 0.3, "fin": 0.95, "propeller": 0.30}),
    ("Dunmore", "Drover", " 2| 4| 6", "tailplane engine",
     {**_PROP, "tail": "twin", "gear": True, "length": 2.9, "windows": 5, "tail_span": 0.85, "fin": 0.55}),
    ("Estrel", "E60", "-100 -200 -300 -400", "length engine", {**_REAR, "windows": 12}),
    ("Estrel", "E80", "-B -C -D", "length fin",
     {**_REAR, "engines": "rear+tail", "windows": 13, "length": 4.2}),
    ("Estrel", "Vela", " 5| 7| 9", "sweep winglet",
     {**_REAR, "tail": "cross", "sweep": 0.35, "length": 3.4, "engine_radius": 0.17}),
    ("Fjordair", "Skua", " Mk 1| Mk 2| Mk 3", "fin nose", {**_FIGHTER}),
    ("Fjordair", "Raven", " Mk 1| Mk 2| Mk 3| Mk 4", "span belly",
     {**_FIGHTER, "tail": "twin", "root": 1.1, "radius": 0.23, "sweep": 0.8, "tail_span": 0.75}),
    ("Fjordair", "Tern", " T1| T2| T3", "length fillet",
     {**_FIGHTER, "wing_z": -0.6, "root": 0.8, "sweep": 0.5, "windows": 2, "nose": 3.0, "span": 1.4, "tail":
      "cross"}),
    ("Gallant", "G200", " Regional| Classic| Max", "length engine",
     {**_JET, "wing_z": 0.95, "engines": "wing4", "length": 3.5, "tail": "high", "engine_radius": 0.12,
      "radius": 0.30, "dihedral": -0.12}),
    ("Gallant", "G300", " Regional| Classic| Max| Ultra", "fin outboard", {**_WIDE, "length": 3.9}),
    ("Gallant", "Titan", " F| H| K", "belly length",
     {**_QUAD, "wing_z": 0.95, "tail": "high", "radius": 0.42, "dihedral": -0.15, "windows": 0, "fin":
      1.0}),
    ("Halvorsen", "Loon", " 10| 12| 14", "span windows",
     {**_LIGHT, "span": 2.2, "wing_z": 0.95, "length": 2.6, "engines": "wing", "windows": 4, "window": 0.07,
      "engine_radius": 0.12}),
    ("Halvorsen", "Grebe", " Solo| Duo| Trio", "fillet glazing",
     {**_LIGHT, "decks": 2, "span": 1.3, "wing_z": -0.8}),
    ("Halvorsen", "Heron", " S| M| L| XL", "length tailplane",
     {**_PROP, "wing_z": -0.6, "tail": "low", "radius": 0.23, "length": 3.0, "dihedral": 0.2}),
    ("Ilmari", "L4", "-11 -22 -33", "span fin",
     {**_LIGHT, "engines": "", "propeller": 0.0, "span": 2.9, "tip": 0.22, "root": 0.36, "length": 2.4,
      "radius": 0.15, "tail": "high", "cone": 0.62, "windows": 1, "gear": False}),
    ("Ilmari", "L7", "-A -B -C", "nacelle fin",
     {**_JET, "radius": 0.30, "length": 3.1, "engine_radius": 0.17}),
    ("Ilmari", "L9", "-A -B -C -D", "length winglet", {**_WIDE, "length": 4.9, "radius": 0.31}),
    ("Juno", "Comet", " 2| 3| 4", "windows winglet",
     {**_JET, "engines": "rear", "tail": "low", "windows": 8, "window": 0.075, "wing_x": 0.46}),
    ("Juno", "Nova", " 21| 22| 23| 24", "nose length",
     {**_QUAD, "radius": 0.22, "nose": 4.5, "root": 1.7, "sweep": 1.5, "span": 1.5, "tip": 0.2, "windows":
      15, "window": 0.04}),
    ("Juno", "Pulsar", " R| S| T| U", "length hump",
     {**_WIDE, "engines": "rear", "tail": "twin", "tail_span": 0.9, "fin": 0.7}),
)  # fmt: skip


def _variants() -> Iterator[Variant]:
    for maker, number, suffixes, traits, shape in _FAMILIES:
        family = f"{maker} {number}"
        for step, suffix in enumerate(suffixes.split("|") if "|" in suffixes else suffixes.split()):
            variant = Variant(name=family + suffix, family=family, maker=maker, **shape)
            for trait in traits.split():
                variant = _TRAITS[trait](variant, step)
            yield variant


VARIANTS: tuple[Variant, ...] = tuple(_variants())
