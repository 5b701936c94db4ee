"""The workflow as a module of another one, which lies elsewhere and has rules, a prefix and a default of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.studies import ROOT
from tests.test_workflow import STUDY, fill

pytestmark = pytest.mark.slow

CALLER = """\
shell.prefix("set +o pipefail; OWN=1; ")


configfile: "caller.yaml"


rule report:
    input:
        "results/trial/tables/results.csv",
    output:
        "report.txt",
    shell:
        "test $OWN = 1; test -z \\"${{PYTHONPATH:-}}\\"; head -n 1 {input} > {output}"


module bench:
    snakefile:
        "SNAKEFILE"
    config:
        config["bench"]


use rule * from bench as bench_*


module again:
    snakefile:
        "SNAKEFILE"
    config:
        config["bench"] | {"study": "other", "folders": {"data": "other/data", "features": "other/features"}}


use rule * from again as again_*
"""


@pytest.fixture
def caller(tmp_path: Path) -> Path:
    """A workflow that uses ours: its Snakefile, and the study under a key of its config."""
    fill(tmp_path / "caller")
    (tmp_path / "caller" / "workflow").mkdir()  # as Snakemake's own template has it: no package of ours
    (tmp_path / "caller" / "workflow" / "Snakefile").write_text(CALLER.replace("SNAKEFILE", str(ROOT / "Snakefile")))
    indented = "".join(f"  {line}\n" for line in STUDY.splitlines())
    (tmp_path / "caller" / "caller.yaml").write_text(f"bench:\n{indented}")
    return tmp_path / "caller"


def snakemake(caller: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    return subprocess.run(command, cwd=caller, capture_output=True, text=True, timeout=300, check=False)


def test_another_workflow_runs_a_study_as_its_module(caller: Path) -> None:
    done = snakemake(caller)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (caller / "report.txt").read_text() == "study,dataset,backbone,method,variant,shots,seed,metric,value\n"
    again = snakemake(caller)
    assert "Nothing to be done" in again.stdout + again.stderr
    planned = snakemake(caller, "-n", "again_all")
    assert "results/other/tables/results.csv" in planned.stdout
    assert "again_evaluate" in planned.stdout
    assert "other/features/mine/shapes.safetensors" in planned.stdout


def test_a_failed_job_of_a_module_fails_though_the_caller_has_no_pipefail(caller: Path) -> None:
    shutil.rmtree(caller / "vectors")
    (caller / "vectors").mkdir()
    (caller / "vectors" / "shapes.npz").write_bytes(b"not an npz")
    (caller / "vectors" / "bare.npz").write_bytes(b"not an npz")
    done = snakemake(caller)
    assert done.returncode == 1
    assert "error: vectors/" in done.stdout + done.stderr


def test_a_mistake_in_the_study_of_a_module_is_one_line(caller: Path) -> None:
    config = caller / "caller.yaml"
    config.write_text(config.read_text().replace("seeds: 2", "seeds: none"))
    done = snakemake(caller)
    assert done.returncode != 0
    assert "error: config of module bench: seeds: found 'none', allowed: a whole number\n" in done.stderr
