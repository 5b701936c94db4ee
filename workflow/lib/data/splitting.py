"""Splits of images that have none: stratified, always the same, and never the same picture on two sides.

Images that belong together go together: exact duplicates, and those of one group (an object, a patient, a burst).
What belongs together is a unit. Units are dealt out class by class, the largest first, each to the split that
lacks most of its share. Their order comes from a hash of the seed and their file names, so that neither the order of
the list nor a library's generator has a say in it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from methods.contract.params import brief
from workflow.lib.data import contents
from workflow.lib.data.index import SPLITS, Entry, Index
from workflow.lib.data.sources.base import Option
from workflow.lib.errors import UserError, one_line

log = logging.getLogger(__name__)
Key = tuple[str, str]  # what makes images belong together: its kind, and which


def check_split(value: Mapping[str, Any]) -> None:
    """Raise `UserError` unless it is `{test: 0.5, val: 0.1, seed: 0}`, where val and seed may be left out."""
    if wrong := [key for key in value if key not in ("test", "val", "seed")]:
        raise UserError(f"found the key {brief(wrong[0])}, allowed: test, val, seed")
    if "test" not in value:
        raise UserError("the key 'test' is missing: the share of the images that is reported on, as in {test: 0.5}")
    shares = {key: value[key] for key in ("test", "val") if key in value}
    for key, share in shares.items():
        if type(share) not in (int, float) or not 0 < share < 1:
            raise UserError(f"{key}: found {brief(share)}, allowed: a number above 0 and below 1")
    if sum(shares.values()) >= 1:
        raise UserError(
            f"test and val are {sum(shares.values()):g} of the images together, which leaves none for train"
        )
    if type(value.get("seed", 0)) is not int or value.get("seed", 0) < 0:
        raise UserError(f"seed: found {brief(value['seed'])}, allowed: a whole number from 0 up")


def check_pattern(value: str, key: str = "") -> None:
    """Raise `UserError`, beginning with `key`, unless it is a regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise UserError(f"{key}{brief(value)} is no regular expression: {one_line(error)}") from None


SPLIT = Option(dict, "shares of images that have no split: {test: 0.5, val: 0.1, seed: 0}", check=check_split)


def matched(pattern: str, file: str) -> str | None:
    """What a regular expression finds in a path: its first group, or all that it matches; `None` where nothing."""
    found = re.search(pattern, file)
    return None if found is None else (found[1] if found.re.groups else found[0])


def grouped(pattern: str, names: Sequence[str]) -> list[str]:
    """The group of each file by a regular expression. Raises `UserError` where it finds none in one of them."""
    found = [matched(pattern, name) for name in names]
    if lost := [name for name, group in zip(names, found, strict=True) if group is None]:
        raise UserError(f"groups: {brief(pattern)} matches nothing in {len(lost)} files, the first is {lost[0]}")
    return [group or "" for group in found]


@dataclass(frozen=True)
class Unit:
    """Images that stay together, in alphabetical order, with how many there are of each class."""

    files: tuple[str, ...]
    classes: Counter[int]


def units(entries: Sequence[Entry], keys: Mapping[str, Sequence[Key]]) -> list[Unit]:
    """The images in `entries` joined wherever they share one of their `keys`, directly or through others."""
    leader: dict[Any, Any] = {}

    def find(one: Any) -> Any:
        while (up := leader.setdefault(one, one)) != one:
            leader[one] = leader[up]
            one = up
        return one

    for file, _ in entries:
        for key in keys.get(file, ()):
            leader[find(file)] = find(key)
    together = defaultdict(list)
    for file, label in sorted(entries):
        together[find(file)].append((file, label))
    return [Unit(tuple(f for f, _ in own), Counter(label for _, label in own)) for own in together.values()]


def deal(found: Sequence[Unit], shares: Mapping[str, float], seed: int, even: bool = False) -> dict[str, str]:
    """The split of every file: see the module. `shares` add up to 1.

    `even` gives an image that could go to several to the one that has fewest in all, for shares that are equal.
    """
    totals = sum((unit.classes for unit in found), start=Counter())
    # Where a class has two units, one is trained on and one reported, however small the share.
    least = {"train": 1.0, "test": 1.0}
    lacking = {
        s: {label: max(share * n, least.get(s, 0.0)) for label, n in totals.items()} for s, share in shares.items()
    }

    def order(unit: Unit) -> tuple[Any, ...]:
        label = min(unit.classes, key=lambda label: (totals[label], label))  # of its rarest class
        key = hashlib.sha256(f"{seed}\0{unit.files[0]}".encode(errors="surrogateescape")).hexdigest()
        return totals[label], label, -len(unit.files), key

    made: dict[str, str] = {}
    taken = dict.fromkeys(shares, 0)
    for unit in sorted(found, key=order):
        wanted = {s: sum(min(lacking[s][c], n) for c, n in unit.classes.items()) for s in shares}
        most = {s: sum(lacking[s][c] for c in unit.classes) for s in shares}
        split = max(shares, key=lambda s: (round(wanted[s], 9), round(most[s], 9), -taken[s] if even else 0))
        taken[split] += len(unit.files)
        for label, n in unit.classes.items():
            lacking[split][label] -= n
        made |= dict.fromkeys(unit.files, split)
    return made


def look(index: Index, plan: Mapping[str, Any], groups: Sequence[str] = ()) -> Index:
    """The images in `index`, all of them in train, in splits by the shares in `plan` (see `check_split`).

    `groups` has a name for each of them, where pictures of one group are to stay on one side. Raises `UserError`, with
    the option, for a class that has too little for train and test. No image is read, so that duplicates may still lie
    on two sides: `split` goes on from here.
    """
    return _split(index, plan, groups, {})


def split(index: Index, plan: Mapping[str, Any], groups: Sequence[str], root: Path, threads: int) -> Index:
    """As `look`, and exact duplicates stay on one side. The hashes of all images are noted in `root`."""
    hashes = contents.note(root, contents.state(index), threads)
    made = _split(index, plan, groups, hashes)
    log.info("split: %s", ", ".join(f"{name} {len(own)}" for name, own in made.splits.items()))
    if groups:
        log.info("%d groups, each on one side", len(set(groups)))
    tell_copies(index.splits["train"], hashes)
    return made


def _split(index: Index, plan: Mapping[str, Any], groups: Sequence[str], hashes: Mapping[str, str]) -> Index:
    entries = index.splits["train"]
    found = joined(entries, groups, hashes)
    shares = {"test": plan["test"]} | ({"val": plan["val"]} if "val" in plan else {})
    shares = {"train": 1 - sum(shares.values()), **shares}
    where = deal(found, shares, plan.get("seed", 0))
    made = {name: [entry for entry in entries if where[entry[0]] == name] for name in SPLITS if name in shares}
    _check(made, entries, found, index.classnames)
    return replace(index, splits=made)


def joined(entries: Sequence[Entry], groups: Sequence[str], hashes: Mapping[str, str]) -> list[Unit]:
    """The units of images: those of one group, and exact duplicates as far as their hashes are known."""
    keys: dict[str, list[Key]] = {file: [("content", sha)] for file, sha in hashes.items()}
    for (file, _), group in zip(entries, groups, strict=bool(groups)):
        keys.setdefault(file, []).append(("group", group))
    return units(entries, keys)


def _check(
    made: Mapping[str, Sequence[Entry]], entries: Sequence[Entry], found: Sequence[Unit], classnames: Sequence[str]
) -> None:
    """Every class is trained on and reported, and no split is empty."""
    images = Counter(label for _, label in entries)
    for name in ("train", "test"):
        there = {label for _, label in made[name]}
        if lost := [label for label in range(len(classnames)) if label not in there]:
            own = sum(1 for unit in found if lost[0] in unit.classes)
            n, name_of = images[lost[0]], classnames[lost[0]]
            raise UserError(
                f"split: {name} gets no image of class {name_of!r}, whose {n} images stay together in {own} "
                "(duplicates, groups); two are needed at least"
            )
    if empty := [name for name, own in made.items() if not own]:
        raise UserError(f"split: {empty[0]} gets no image at all: its share is too small for {len(entries)} images")


def tell_copies(entries: Sequence[Entry], hashes: Mapping[str, str]) -> None:
    """Say how many exact duplicates there are, and which stand in two classes."""
    same = defaultdict(list)
    for file, label in entries:
        same[hashes[file]].append((file, label))
    if copies := sum(len(own) - 1 for own in same.values()):
        log.info("%d images are exact duplicates of others and stay on one side with them", copies)
    if mixed := [own for own in same.values() if len({label for _, label in own}) > 1]:
        first = ", ".join(file for file, _ in mixed[0])
        log.info("%d pictures stand in more than one class, the first: %s", len(mixed), first)
