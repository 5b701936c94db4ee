"""A lock that a killed run has left is told from one that is held."""

import subprocess
import sys

from workflow.lib.jobs import stale_lock

RUN = """\
import sys, time
from pathlib import Path
from workflow.lib.jobs import stale_lock
print(stale_lock.clear(Path(sys.argv[1])), flush=True)
time.sleep(600)
"""


def start(folder):
    """Another process that holds the folder; whether it removed a lock."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip() == "True"


def lock(folder):
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    (folder / "locks" / "0.output.lock").write_text("x.json\n")


def left(folder):
    return [path.name for path in (folder / "locks").iterdir()]


def test_the_lock_of_a_killed_run_is_removed_and_that_of_a_living_one_is_kept(tmp_path):
    folder = tmp_path / ".snakemake"
    lock(folder)
    processes = []
    try:
        for cleared in (True, False, False):  # nobody holds it; then the first does; then two do
            processes.append(start(folder))
            assert processes[-1][1] is cleared
            lock(folder)
        for process, _ in processes[:2]:
            process.kill(), process.wait()
        processes.append(start(folder))
        assert (processes[-1][1], left(folder)) == (False, ["0.output.lock"])
        for process, _ in processes:
            process.kill(), process.wait()
        processes.append(start(folder))
        assert (processes[-1][1], left(folder)) == (True, [])
    finally:
        for process, _ in processes:
            process.kill(), process.wait()
            process.stdout.close()


def test_without_a_lock_there_is_nothing_to_say(tmp_path):
    assert stale_lock.clear(tmp_path / ".snakemake") is False


def test_a_folder_that_can_t_be_made_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert stale_lock.clear(tmp_path / "file" / ".snakemake") is False
