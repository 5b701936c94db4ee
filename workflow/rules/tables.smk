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


# One page for a browser that shows all of it. After the tables: what they have found is on the page too.
rule page:
    input:
        metrics=all_metrics,
        predictions=all_predictions,
        tables=TABLES,
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
