from snakemake.utils import min_version

min_version("9.8")


# The quickstart is the default. A study named by --configfile stands alone: Snakemake would merge the two.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"


rule all:
    default_target: True
    input:
        SUPPORTS,
        FIGURES,
        TABLES,
