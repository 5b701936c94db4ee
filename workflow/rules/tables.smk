# These run on the machine where snakemake was called: it takes a second, and it prints the tables.
rule tables:
    input:
        metrics=all_metrics,
        references=list(STUDY.references.values()),
        duplicates=DUPLICATES,
    output:
        [in_report(path) for path in TABLES],
    log:
        f"{RESULTS}/logs/tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        code=code_hash(SCRIPTS / "tables.py"),
        passed=to_json(passed_plugins()),
    message:
        "rendering the tables"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.tables --plan {params.plan:q} --folder {params.folder:q}"
        " --duplicates {input.duplicates:q} 2>&1 | tee {log:q}"


# What there is after `--keep-going`, and what is missing and why: snakemake --cores 1 partial_tables
rule partial_tables:
    log:
        f"{RESULTS}/logs/partial_tables.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=RESULTS,
        duplicates=DUPLICATES,
    message:
        "rendering what there is"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.tables --partial --plan {params.plan:q} --folder {params.folder:q}"
        " --duplicates {params.duplicates:q} 2>&1 | tee {log:q}"


rule figures:
    input:
        metrics=all_metrics,
    output:
        [in_report(path) for path in FIGURES],
    log:
        f"{RESULTS}/logs/figures.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        code=code_hash(SCRIPTS / "figures.py"),
    message:
        "drawing the figures"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.figures --plan {params.plan:q} --folder {params.folder:q} 2>&1 | tee {log:q}"


# Of one dataset and backbone, from their cells alone: what another dataset comes to makes nothing of it anew.
rule recommendation:
    input:
        metrics=pair_metrics,
        predictions=pair_predictions,
    output:
        f"{RESULTS}/tables/{{dataset}}.{{backbone}}.recommendation.json",
        in_report(f"{RESULTS}/figures/{{dataset}}.{{backbone}}.labels.svg"),
    log:
        f"{RESULTS}/logs/{{dataset}}/{{backbone}}/recommendation.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=pair_plan,
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        code=code_hash(SCRIPTS / "recommend.py"),
    message:
        "{wildcards.dataset}, {wildcards.backbone}: deciding what to use"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.recommend --plan {params.plan:q} --folder {params.folder:q} 2>&1 | tee {log:q}"


# It takes nothing from the tables but waits for them, so that what to use is the last word in the terminal. Not as an
# ancient input: Snakemake asks no further whether what is after a job that runs has to run for reasons of its own.
rule recommendations:
    input:
        decided=DECIDED,
        tables=f"{RESULTS}/tables/results.csv",
    output:
        [in_report(path) for path in ADVICE],
    log:
        f"{RESULTS}/logs/recommendations.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        code=code_hash(SCRIPTS / "recommendations.py"),
    message:
        "saying what to use"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.recommendations --plan {params.plan:q} --folder {params.folder:q} 2>&1 | tee {log:q}"


rule confusions:
    input:
        features=f"{FEATURES}/{{backbone}}/{{dataset}}.safetensors",
        advice=f"{RESULTS}/tables/{{dataset}}.{{backbone}}.recommendation.json",
    output:
        [
            in_report(f"{RESULTS}/tables/{{dataset}}.{{backbone}}.{kind}.{suffix}")
            for kind in ("confusions", "label_errors")
            for suffix in ("md", "csv")
        ],
    log:
        f"{RESULTS}/logs/{{dataset}}/{{backbone}}/confusions.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        plan=pair_plan,
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        supports=supports_option,
        code=code_hash(SCRIPTS / "confusions.py"),
    message:
        "{wildcards.dataset}, {wildcards.backbone}: looking at the errors"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.confusions --plan {params.plan:q} --folder {params.folder:q}"
        " --features {input.features:q} {params.supports} 2>&1 | tee {log:q}"


# One page for a browser that shows all of it. After the tables: what they have found is on the page too.
rule page:
    input:
        metrics=all_metrics,
        predictions=all_predictions,
        tables=[*TABLES, *DECIDED],
    output:
        in_report(PAGE),
    log:
        f"{RESULTS}/logs/page.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        data=DATA,
        code=code_hash(SCRIPTS / "report.py"),
        assets=digest(),
    message:
        "making the page"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.report {params.folder:q} --plan {params.plan:q} --data {params.data:q}"
        " --out {output:q} 2>&1 | tee {log:q}"


# The page of what there is, and what is missing and why: snakemake --cores 1 partial_report
rule partial_report:
    log:
        f"{RESULTS}/logs/partial_report.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=RESULTS,
        data=DATA,
        out=f"{RESULTS}/partial_report.html",
    message:
        "making the page of what there is"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.report {params.folder:q} --plan {params.plan:q} --data {params.data:q}"
        " --out {params.out:q}"
        " 2>&1 | tee {log:q}"
