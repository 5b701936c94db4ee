# A classifier to take away, for each dataset and backbone: snakemake --cores 8 ship
import os

from workflow.lib.shipping import names as shipped_files

SHIPPED = f"{RESULTS}/shipped/{{dataset}}.{{backbone}}"


rule ship:
    input:
        [
            f"{RESULTS}/shipped/{pair}/{name}"
            for pair in PAIRS
            for name in shipped_files.files(STUDY.ship["onnx"])
        ],
    localrule: True


rule shipped:
    input:
        unpack(tower_files),
        features=f"{FEATURES}/{{backbone}}/{{dataset}}.safetensors",
        tables=f"{RESULTS}/tables/results.csv",
        advice=f"{RESULTS}/tables/recommendation.csv",
        arrays=ship_array_files,
    output:
        [f"{SHIPPED}/{name}" for name in shipped_files.files(STUDY.ship["onnx"])],
    log:
        f"{RESULTS}/logs/{{dataset}}/{{backbone}}/ship.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        mem_mb=lambda wildcards, input, attempt: estimates.cell_memory(
            ship_held(input),
            attempt,
            "all",
            5,
            tower_weights(wildcards, input),
        ),
        runtime=lambda wildcards, input, attempt: estimates.cell_minutes(
            ship_held(input), "all", 6, attempt, learns_through_tower(wildcards)
        ),
        jobs_per_gpu=str(STUDY.jobs_per_gpu),
    params:
        spec=ship_spec,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        results=lambda wildcards, input: os.path.dirname(input.tables),
        plugins=ship_plugins(),
        arrays=array_options,
        code=ship_code(),
    message:
        "{wildcards.dataset}, {wildcards.backbone}: a classifier to take away"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.ship --spec {params.spec:q} --features {input.features:q}"
        " {params.arrays} --results {params.results:q} --out {params.folder:q} --code {params.code} {params.plugins}"
        " --threads {threads} --jobs-per-gpu {resources.jobs_per_gpu} 2>&1 | tee {log:q}"
