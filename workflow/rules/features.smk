rule dataset:
    output:
        f"{DATA}/{{dataset}}/index.json",
    log:
        f"{DATA}/{{dataset}}/index.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        spec=lambda wildcards: to_json(dataset_options(wildcards.dataset)),
        root=lambda wildcards, output: os.path.dirname(output[0]),
        code=lambda wildcards: code_hash(SCRIPTS / "dataset.py"),
    message:
        "data set {wildcards.dataset}: preparing images"
    shell:
        "python -m workflow.scripts.dataset --name {wildcards.dataset} --spec {params.spec:q}"
        " --root {params.root:q} --out {output:q} --threads {threads} 2>&1 | tee {log:q}"


rule features:
    input:
        unpack(feature_inputs),
    output:
        f"{FEATURES}/{{backbone}}/{{dataset}}.safetensors",
    log:
        f"{FEATURES}/{{backbone}}/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=1,
        mem_mb=extraction_memory,
        runtime=extraction_minutes,
    params:
        index=lambda wildcards, input: (
            f"--index {shlex.quote(str(input.index))}"
            if "index" in input.keys()
            else ""
        ),
        spec=lambda wildcards: to_json(STUDY.backbones[wildcards.backbone]),
        templates=lambda wildcards: to_json(
            STUDY.datasets[wildcards.dataset]["templates"]
        ),
        views=views_option,
        code=lambda wildcards: code_hash(SCRIPTS / "features.py"),
    message:
        "data set {wildcards.dataset}: extracting features with {wildcards.backbone}"
    shell:
        "python -m workflow.scripts.features --dataset {wildcards.dataset} {params.index}"
        " --templates {params.templates:q} {params.views} --backbone {wildcards.backbone} --spec {params.spec:q}"
        " --out {output:q} --threads {threads} 2>&1 | tee {log:q}"
