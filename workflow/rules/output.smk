# What a run says: one line for its cells in place of two for each, and where the first tables lie.
import logging
import shutil

from workflow.lib.jobs.early_tables import EarlyTables
from workflow.lib.jobs.run_output import CellJob, RunOutput, install

EARLY = []  # the renderings of the run, for its end


def cell_jobs(jobs):
    """The cells that are to be computed, by job number."""
    found = {}
    for job in jobs:
        if job.rule.name == "evaluate":
            cell = job.wildcards
            shots = STUDY.shots if cell.shots == "0" else [cell.shots]
            places = [(cell.dataset, cell.backbone, each) for each in shots]
            key = (cell.dataset, cell.backbone, cell.method, cell.shots)
            found[job.jobid] = CellJob(key, places, 0.02 + cell_cost(cell))
    return found


def say_how_far(jobs):
    """Begin to say how far the run is, and to render the tables that it has so far."""
    cells = cell_jobs(jobs)
    if not cells:
        return
    log = logging.getLogger("snakemake.logging")
    command = [
        sys.executable,
        "-m",
        "workflow.scripts.tables",
        "--early",
        "--plan",
        plan(),
        "--folder",
        RESULTS,
        "--duplicates",
        *DUPLICATES,
    ]
    output = RunOutput(cells, sys.stderr)
    early = EarlyTables(command, str(ROOT), output.pending, log.info)
    output.first = lambda place: early.first(
        f"first results: {RESULTS}/partial_tables/{place[0]}.{place[1]}.md"
        f" (shots {place[2]}); the table grows as cells land"
    )
    output.later = early.later
    if install(output, log.handlers):
        EARLY.append((early, output))


def say_no_more():
    """The end of the run, however it ends. What is finished needs no unfinished tables, but those asked for stay."""
    for early, output in EARLY:
        early.stop()
        output.close()
    early_tables, asked_for = (
        f"{RESULTS}/partial_tables",
        f"{RESULTS}/partial_tables/missing.txt",
    )
    if all(os.path.exists(path) for path in TABLES) and not os.path.exists(asked_for):
        shutil.rmtree(early_tables, ignore_errors=True)
