from snakemake.utils import min_version

min_version("9.8")


# The quickstart is the default. A study named by --configfile stands alone: Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


report: "workflow/report/study.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"


rule all:
    default_target: True
    input:
        # Cells too: what a failed job has lost would not be missed while the old tables are there.
        all_metrics,
        all_predictions,
        SUPPORTS,
        FIGURES,
        TABLES,
