"""Durations don't follow the time of day."""

import time

import psutil
import pytest

from workflow.lib.jobs import clock


def test_it_is_the_time_since_the_process_was_started():
    assert clock.alive() == pytest.approx(time.time() - psutil.Process().create_time(), abs=2.0)  # psutil's is to 1 s


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_changes_nothing(monkeypatch, jump):
    before, now = clock.alive(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert 0 <= clock.alive() - before < 60
    assert 0 <= clock._age() < clock.alive() + 60
