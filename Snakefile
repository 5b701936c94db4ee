from snakemake.utils import min_version

from workflow.lib import files
from workflow.lib.jobs.devices import announcement

min_version("9.27")


# The quickstart is the default. A study named by --configfile stands alone: Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


report: "workflow/report/study.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/jobs.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/ship.smk"
include: "workflow/rules/output.smk"


onstart:
    jobs = list(workflow.dag.needrun_jobs())
    # Snakemake prepares a job's outputs itself, and ends in a traceback where it may not write them.
    for path in sorted(str(path) for job in jobs for path in job.output):
        if reason := files.obstacle(path):
            sys.exit(f"error: {path}: {reason}")
    # Once a run and not once a job. On a cluster the machine that submits says nothing about the nodes.
    if workflow.local_exec and any(job.resources.get("gpu") for job in jobs):
        print(announcement(STUDY.jobs_per_gpu), file=sys.stderr)
    say_how_far(jobs)


onsuccess:
    say_no_more()


onerror:
    say_no_more()


rule all:
    input:
        # Cells too: what a failed job has lost would not be missed while the old tables are there.
        all_metrics,
        all_predictions,
        SUPPORTS,
        FIGURES,
        TABLES,
        ADVICE,
        DECIDED,
        ERRORS,
        PAGE,
