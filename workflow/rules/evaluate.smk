rule evaluate:
    input:
        support_files,
        unpack(tower_files),
        features=f"{FEATURES}/{{backbone}}/{{dataset}}.safetensors",
        arrays=array_files,
    output:
        metrics=f"{RESULTS}/metrics/{{dataset}}/{{backbone}}/{{method}}/{{shots}}.json",
        predictions=f"{RESULTS}/predictions/{{dataset}}/{{backbone}}/{{method}}/{{shots}}.npz",
    log:
        f"{RESULTS}/logs/{{dataset}}/{{backbone}}/{{method}}/{{shots}}.log",
    priority: cell_priority
    conda:
        ENVIRONMENT
    # One thread a cell: cells are many, and the same number of threads gives the same digits whatever --cores is.
    threads: 1
    resources:
        gpu=lambda wildcards: int(STUDY.methods[wildcards.method].method.gpu),
        mem_mb=lambda wildcards, input, attempt: estimates.cell_memory(
            held(wildcards, input),
            attempt,
            wildcards.shots,
            folds(wildcards),
            tower_weights(wildcards, input),
        ),
        runtime=lambda wildcards, input, attempt: estimates.cell_minutes(
            held(wildcards, input),
            wildcards.shots,
            replicas(wildcards),
            attempt,
            learns_through_tower(wildcards),
        ),
        # No params: they change no result. And text: in a group of cells, numbers would be added up.
        jobs_per_gpu=str(STUDY.jobs_per_gpu),
        cell_minutes=str(STUDY.cell_minutes),
    params:
        spec=cell_spec,
        method=lambda wildcards: METHODS[wildcards.method],
        arrays=array_options,
    message:
        "{wildcards.dataset}, {wildcards.backbone}: {wildcards.method}, shots {wildcards.shots}"
    # The last line is kept in the shell: on a full disk, or a read-only one, the log can't say why the cell failed. One
    # that has left without its results, or without a reason, is given last words.
    shell:
        'eval "$STUDY_SHELL"; '
        "last=$(python -m workflow.scripts.warm evaluate {params.method} --spec {params.spec:q}"
        " --features {input.features:q} {params.arrays} --metrics {output.metrics:q}"
        " --predictions {output.predictions:q} --threads {threads}"
        " --jobs-per-gpu {resources.jobs_per_gpu} --minutes {resources.cell_minutes}"
        " 2>&1 | tee {log:q} | tail -n 1) && test -e {output.metrics:q} ||"
        ' {{ python -m workflow.scripts.last_words --status $? --last="$last" --log {log:q} --metrics {output.metrics:q}'
        " --place '{wildcards.dataset}, {wildcards.backbone}: {wildcards.method}, shots {wildcards.shots}' >&2; exit 1; }}"


rule supports:
    input:
        f"{FEATURES}/{next(iter(STUDY.backbones))}/{{dataset}}.safetensors",
    output:
        f"{RESULTS}/supports/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/{{dataset}}/supports.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        shots=",".join(STUDY.shots),
        seeds=STUDY.seeds,
        code=code_hash(SCRIPTS / "supports.py"),
    message:
        "dataset {wildcards.dataset}: writing out the supports"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.supports --dataset {wildcards.dataset} --features {input:q} --shots {params.shots}"
        " --seeds {params.seeds} --out {output:q} 2>&1 | tee {log:q}"
