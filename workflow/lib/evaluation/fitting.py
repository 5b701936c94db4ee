"""Replicas through a method's fit and before the judge: what comes out, and how long each took.

Where memory runs out, half of the replicas go at a time, and half of these, down to one.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from methods.contract.base import Candidate, Method, Replica, Task
from workflow.lib.engine import checkpoints
from workflow.lib.errors import UserError, one_line
from workflow.lib.evaluation.protocol import Course
from workflow.lib.evaluation.sealed import ADVICE, params_kept, sealed
from workflow.lib.jobs import memory

Kept = TypeVar("Kept", bound=Course)


class Judge(Protocol[Kept]):
    """What candidates go before: the reported split, or the images that cross-validation has left out."""

    def outcome(self) -> Kept:
        """What is kept of a replica, before its first candidate."""
        ...

    def __call__(self, candidate: Candidate, outcomes: Mapping[Replica, Kept]) -> None:
        """Score a candidate and hand each of its replicas its part."""
        ...


def outcomes(method: Method, task: Task, replicas: Sequence[Replica], judge: Judge[Kept]) -> dict[Replica, Kept]:
    """What each replica came to, in their order.

    Raises `UserError` where the memory is too small for one replica alone, ValueError where the method answers
    wrongly, and what it raises itself; notes say where.
    """
    try:
        return _together(method, task, replicas, judge)
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        reason = one_line(error) or type(error).__name__
    # Only here, where the exception and all that its frames hold are gone, is their memory free.
    memory.release()
    if len(replicas) == 1:
        alone = f"memory runs out even with {replicas[0]} alone on {task.device}: {reason}"
        raise UserError(f"{alone}; {memory.REMEDY}")
    half = -(-len(replicas) // 2)
    task.log(f"out of memory with {len(replicas)} trainings at a time, going on with {half} ({reason})")
    found: dict[Replica, Kept] = {}
    for part in (replicas[:half], replicas[half:]):
        found |= outcomes(method, task, part, judge)
        for outcome in found.values():
            outcome.leave_device()
    return found


def _together(method: Method, task: Task, replicas: Sequence[Replica], judge: Judge[Kept]) -> dict[Replica, Kept]:
    found = {replica: judge.outcome() for replica in replicas}
    with params_kept(replicas), checkpoints.fit(method, list(found.values())) as fit:
        candidates = () if fit.complete else _timed(_located(method.fit(sealed(task), replicas), found))
        for candidate, seconds in candidates:
            judge(candidate, found)
            for replica in candidate.replicas:
                found[replica].fit_seconds += (seconds + fit.waited) / len(candidate.replicas)
                found[replica].notes += [candidate.note] if candidate.note else []
            fit.judged()
    for replica, outcome in found.items():
        if not outcome.points:
            raise ValueError(f"{replica}: fit yielded no candidate")
    return found


def _located(candidates: Iterator[Candidate], found: Mapping[Replica, Course]) -> Iterator[Candidate]:
    """The candidates; an error between two of them notes where it was, as far as that can be told."""
    try:
        yield from candidates
    except (Exception, SystemExit) as error:
        waiting = next((replica for replica, outcome in found.items() if not outcome.points), None)
        error.add_note(f"at {waiting}, the first without a result" if waiting else "after the last result")
        if "read-only" in str(error):
            error.add_note(f"({ADVICE})")
        raise


def _timed(candidates: Iterator[Candidate]) -> Iterator[tuple[Candidate, float]]:
    """The candidates with the seconds that each took to come."""
    start = time.perf_counter()
    for candidate in candidates:
        yield candidate, time.perf_counter() - start
        start = time.perf_counter()
