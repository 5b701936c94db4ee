from snakemake.utils import min_version

min_version("9.8")


# The quickstart is the default. A study named by --configfile stands alone: Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"


# Once a run and not once a job. On a cluster the machine that submits says nothing about the nodes.
onstart:
    if workflow.local_exec and any(
        job.resources.get("gpu") for job in workflow.dag.needrun_jobs()
    ):
        print(announcement(STUDY.jobs_per_gpu), file=sys.stderr)


rule all:
    default_target: True
    input:
        SUPPORTS,
        FIGURES,
        TABLES,
