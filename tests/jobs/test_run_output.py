"""What a run says: one line for the cells, Snakemake's own lines about everything else, and first tables early."""

import io
import json
import logging
import sys
import threading
import time
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from workflow.lib.jobs.early_tables import EarlyTables
from workflow.lib.jobs.run_output import HANDLER, CellJob, RunOutput, install


class Event(Enum):
    """Snakemake's log events, as far as they are used here."""

    JOB_INFO = "job_info"
    JOB_FINISHED = "job_finished"
    GROUP_INFO = "group_info"
    PROGRESS = "progress"
    JOB_STARTED = "job_started"
    JOB_ERROR = "job_error"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(message: Any, event: Event | None = None, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, message, None, None)
    for name, value in (extra | ({"event": event} if event else {})).items():
        setattr(made, name, value)
    return made


def finished(number: int) -> logging.LogRecord:
    return record(f"Finished jobid: {number} (Rule: evaluate)", Event.JOB_FINISHED, job_id=number)


def cells() -> dict[int, CellJob]:
    """Zero-shot, which waits for no number of shots, and a method with 1 and 2 shots, of one dataset."""
    places = {shots: ("digits", "nano", shots) for shots in ("1", "2")}
    return {
        4: CellJob(("digits", "nano", "zero_shot", "0"), list(places.values()), 1.0),
        5: CellJob(("digits", "nano", "gda", "1"), [places["1"]], 1.0),
        6: CellJob(("digits", "nano", "gda", "2"), [places["2"]], 2.0),
    }


@pytest.fixture
def output() -> RunOutput:
    now = iter(range(0, 1000, 10))
    return RunOutput(cells(), io.StringIO(), clock=lambda: float(next(now)))


def test_lines_about_cells_are_dropped_and_the_others_are_not(output: RunOutput) -> None:
    dropped = [
        record("", Event.JOB_INFO, jobid=5, rule_name="evaluate"),
        record("", Event.JOB_INFO, jobid=0, rule_name="all"),
        record(None, Event.PROGRESS, done=1, total=9),
        record("Select jobs to execute..."),
        record("Execute 2 jobs...", Event.JOB_STARTED, jobs=[5, 6]),
        finished(5),
        record("Finished jobid: 1 (Rule: features)", Event.JOB_FINISHED, job_id=1),
    ]
    kept = [
        record("", Event.JOB_INFO, jobid=1, rule_name="features"),
        record("", Event.JOB_ERROR, jobid=6, rule_name="evaluate"),
        record("Exiting because a job execution failed. Look below for error messages"),
    ]
    assert [output.filter(one) for one in dropped] == [False] * len(dropped)
    assert [output.filter(one) for one in kept] == [True] * len(kept)


def test_groups_of_cells_are_dropped_and_other_groups_are_not(output: RunOutput) -> None:
    class Job:
        def __init__(self, jobid: int) -> None:
            self.jobid = jobid

    assert not output.filter(record("group job", Event.GROUP_INFO, jobs=[Job(4), Job(5)]))
    assert output.filter(record("group job", Event.GROUP_INFO, jobs=[Job(7)]))


def test_the_first_table_is_told_once_and_only_when_zero_shot_is_there_too(output: RunOutput) -> None:
    first, later = [], []
    output.first, output.later = first.append, lambda: later.append(None)
    output.filter(record("", Event.JOB_INFO, jobid=5, rule_name="evaluate"))
    output._clock = lambda: 30.0
    output.filter(finished(5))
    assert first == []
    output.filter(finished(4))
    assert first == [("digits", "nano", "1")]
    output.filter(finished(6))
    assert first == [("digits", "nano", "1")]
    assert len(later) == 3


def test_a_run_of_seconds_needs_no_early_tables_and_a_longer_one_is_not_robbed_of_them() -> None:
    now, first = [0.0], []
    output = RunOutput(cells(), io.StringIO(), clock=lambda: now[0])
    output.first = first.append
    output.filter(record("", Event.JOB_INFO, jobid=5, rule_name="evaluate"))
    output.filter(finished(5))
    output.filter(finished(4))
    assert first == []
    now[0] = 21.0
    output.filter(finished(6))
    assert first == [("digits", "nano", "1")]


def test_pending_are_the_cells_that_have_not_landed(output: RunOutput) -> None:
    output.filter(finished(5))
    assert output.pending() == [("digits", "nano", "zero_shot", "0"), ("digits", "nano", "gda", "2")]


def test_time_left_follows_the_cost_of_the_cells() -> None:
    """A quarter of the cost in ten seconds leaves thirty."""
    now = [0.0]
    output = RunOutput(cells(), io.StringIO(), clock=lambda: now[0])
    output.filter(record("", Event.JOB_INFO, jobid=5, rule_name="evaluate"))
    now[0] = 10.0
    output.filter(finished(5))
    assert output.line(10.0) == "cells: 1 of 3, 00:10 gone, about 00:30 left"


def test_of_a_long_run_that_has_just_begun_no_end_is_told() -> None:
    long = cells() | {7: CellJob(("digits", "nano", "clap", "all"), [], 100.0)}
    output = RunOutput(long, io.StringIO(), clock=lambda: 0.0)
    output.filter(record("", Event.JOB_INFO, jobid=5, rule_name="evaluate"))
    output.filter(finished(5))
    assert output.line(20.0) == "cells: 1 of 4, 00:20 gone"


def test_in_a_log_lines_are_far_apart_and_the_last_one_is_there() -> None:
    stream, now = io.StringIO(), [0.0]
    output = RunOutput(cells(), stream, clock=lambda: now[0])
    for number in (4, 5, 6):
        now[0] += 1
        output.filter(finished(number))
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == ["cells: 1 of 3", "cells: 3 of 3"]


def test_on_a_terminal_the_line_gives_way_to_others() -> None:
    stream = Terminal()
    output = RunOutput(cells(), stream)
    output.filter(finished(4))
    assert stream.getvalue().startswith("\r\x1b[Kcells: 1 of 3")
    output.filter(record("a warning"))
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_filter_goes_to_snakemakes_terminal_and_nowhere_else(output: RunOutput) -> None:
    terminal, file = logging.StreamHandler(io.StringIO()), logging.NullHandler()
    terminal.name = HANDLER
    assert install(output, [terminal, file])
    assert (terminal.filters, file.filters) == ([output], [])
    assert not install(output, [file])


def test_snakemake_has_the_handler_the_events_and_the_words() -> None:
    """What is relied on of Snakemake without a promise of its own."""
    from snakemake import logging as theirs
    from snakemake.scheduling import job_scheduler
    from snakemake_interface_logger_plugins.common import LogEvent

    assert {event.value for event in Event} <= {event.value for event in LogEvent}
    assert f'"{HANDLER}"' in Path(theirs.__file__).read_text()
    source = Path(job_scheduler.__file__).read_text()
    assert all(words in source for words in ("Select jobs to execute...", "job_id=job.jobid"))


PROGRAM = """
import json, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(json.load(sys.stdin)) + "\\n")
"""


def test_early_tables_are_rendered_with_what_is_pending_before_they_are_told(tmp_path: Path) -> None:
    written, told, pending = tmp_path / "record", threading.Event(), [["digits", "nano", "gda", "1"]]
    command = [sys.executable, "-c", PROGRAM, str(written)]
    early = EarlyTables(command, str(tmp_path), lambda: pending, lambda line: told.set())
    early.later()
    time.sleep(0.1)
    assert not written.exists()
    early.first("first results")
    assert told.wait(60)
    early.stop()
    assert json.loads(written.read_text().splitlines()[0]) == pending


def test_early_tables_that_fail_are_not_told(tmp_path: Path) -> None:
    said: list[str] = []
    early = EarlyTables([sys.executable, "-c", "raise SystemExit(1)"], str(tmp_path), list, said.append)
    early.first("first results")
    time.sleep(0.2)
    early.stop()
    assert said == []
