PAIRS = [
    f"{dataset}.{backbone}"
    for dataset in STUDY.datasets
    for backbone in STUDY.backbones
]
TABLES = [
    *expand(
        f"{RESULTS}/tables/{{name}}.{{format}}",
        name=[*PAIRS, "summary"],
        format=["md", "csv", "tex"],
    ),
    f"{RESULTS}/tables/results.csv",
]


def all_metrics(wildcards):
    return [
        "{}/metrics/{}/{}/{}/{}.json".format(RESULTS, *cell) for cell in STUDY.cells()
    ]


def plan():
    """What the tables need of the study."""
    return to_json(
        {
            "study": STUDY.name,
            "datasets": list(STUDY.datasets),
            "backbones": list(STUDY.backbones),
            "shots": STUDY.shots,
            "seeds": STUDY.seeds,
            "report": STUDY.report,
            "select": STUDY.select,
            "methods": [
                {
                    "label": label,
                    "variants": [name for name, _ in spec.variants],
                    "learns": spec.learns,
                }
                for label, spec in STUDY.methods.items()
            ],
        }
    )


rule tables:
    input:
        all_metrics,
    output:
        TABLES,
    log:
        f"{RESULTS}/logs/tables.log",
    conda:
        ENVIRONMENT
    params:
        plan=plan(),
        folder=RESULTS,
        code=code_hash(SCRIPTS / "tables.py"),
    message:
        "rendering the tables"
    shell:
        "python -m workflow.scripts.tables --plan {params.plan:q} --folder {params.folder:q} 2>&1 | tee {log:q}"


onsuccess:
    for name in [*PAIRS, "summary"]:
        print(Path(f"{RESULTS}/tables/{name}.md").read_text(encoding="utf-8"))
    print(
        f"The tables lie in {RESULTS}/tables/, one line per number in {RESULTS}/tables/results.csv"
    )
