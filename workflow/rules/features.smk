rule dataset:
    input:
        names_file,
    output:
        f"{DATA}/{{dataset}}/index.json",
    log:
        f"{DATA}/{{dataset}}/index.log",
    priority: estimates.FIRST
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        spec=lambda wildcards: to_json(dataset_options(wildcards.dataset)),
        root=lambda wildcards, output: os.path.dirname(output[0]),
        # The job looks for itself. That they differ is why it runs again.
        contents=lambda wildcards: IMAGES.get(wildcards.dataset, ""),
        code=source_code,
        plugin=source_options,
    message:
        "dataset {wildcards.dataset}: preparing images"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.dataset --name {wildcards.dataset} --spec {params.spec:q} {params.plugin}"
        " --root {params.root:q} --out {output:q} --threads {threads} 2>&1 | tee {log:q}"


# The features, and each array beside them that a method of the study needs: `planes.pre.safetensors`.
rule features:
    input:
        unpack(feature_inputs),
    output:
        f"{FEATURES}/{{backbone}}/{{dataset}}{{array}}.safetensors",
    log:
        f"{FEATURES}/{{backbone}}/{{dataset}}{{array}}.log",
    priority: estimates.FIRST
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=lambda wildcards: int(shards(wildcards) == 1),
        mem_mb=extraction_memory,
        runtime=extraction_minutes,
        jobs_per_gpu=str(STUDY.jobs_per_gpu),
    params:
        source=features_source,
        spec=lambda wildcards: to_json(STUDY.backbones[wildcards.backbone]),
        templates=lambda wildcards: to_json(
            STUDY.datasets[wildcards.dataset]["templates"]
        ),
        reading=reading_options,
        what=what_is_made,
        images=lambda wildcards: to_json(dataset_options(wildcards.dataset)),
        script=features_script,
        code=lambda wildcards: extraction_hash("features.py"),
    message:
        "dataset {wildcards.dataset}: extracting {params.what} with {wildcards.backbone}"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.{params.script} --dataset {wildcards.dataset} {params.source}"
        " --templates {params.templates:q} {params.reading} --make {params.what} --backbone {wildcards.backbone} --spec {params.spec:q}"
        " --out {output:q} --threads {threads} --jobs-per-gpu {resources.jobs_per_gpu} 2>&1 | tee {log:q}"


# With `shards: 8` in a dataset's entry: eight of these, on as many GPUs or nodes as there are.
rule shard:
    input:
        unpack(extraction_inputs),
    output:
        temp(SHARD),
    log:
        f"{FEATURES}/{{backbone}}/{{dataset}}{{array}}.{{shard}}-of-{{shards}}.log",
    priority: estimates.FIRST
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=1,
        mem_mb=extraction_memory,
        runtime=extraction_minutes,
        jobs_per_gpu=str(STUDY.jobs_per_gpu),
    params:
        spec=lambda wildcards: to_json(STUDY.backbones[wildcards.backbone]),
        templates=lambda wildcards: to_json(
            STUDY.datasets[wildcards.dataset]["templates"]
        ),
        reading=reading_options,
        what=what_is_made,
        script=EXTRACTION,
        code=lambda wildcards: extraction_hash("features.py"),
    message:
        "dataset {wildcards.dataset}: shard {wildcards.shard} of {wildcards.shards} with {wildcards.backbone}"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.{params.script} --dataset {wildcards.dataset} --index {input.index:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards}"
        " --templates {params.templates:q} {params.reading} --make {params.what} --backbone {wildcards.backbone} --spec {params.spec:q}"
        " --out {output:q} --threads {threads} --jobs-per-gpu {resources.jobs_per_gpu} 2>&1 | tee {log:q}"


rule gather:
    input:
        parts=shard_files,
        index=f"{DATA}/{{dataset}}/index.json",
    output:
        temp(GATHERED),
    log:
        f"{FEATURES}/{{backbone}}/{{dataset}}{{array}}.all-{{shards}}.log",
    priority: estimates.FIRST
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        code=extraction_hash("gather.py"),
    message:
        "dataset {wildcards.dataset}: gathering {wildcards.shards} shards"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.gather --index {input.index:q} --out {output:q} {input.parts:q} 2>&1 | tee {log:q}"


# Once for a dataset and a backbone, whichever studies use them.
rule duplicates:
    input:
        unpack(duplicates_inputs),
    output:
        f"{FEATURES}/{{backbone}}/{{dataset}}.duplicates.json",
    log:
        f"{FEATURES}/{{backbone}}/{{dataset}}.duplicates.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        index=lambda wildcards, input: (
            f"--index {shlex.quote(str(input.index))}"
            if "index" in input.keys()
            else ""
        ),
        code=extraction_hash("duplicates.py"),
    message:
        "dataset {wildcards.dataset}: looking for duplicates with {wildcards.backbone}"
    shell:
        'eval "$STUDY_SHELL"; '
        "python -m workflow.scripts.duplicates {input.features:q} {params.index} --out {output:q} --threads {threads}"
        " 2>&1 | tee {log:q}"
