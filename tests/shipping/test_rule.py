"""What `snakemake ship` needs of a study."""

from pathlib import Path

from tests.studies import of_vectors, run

STUDY = """
study: trial
datasets: {shapes: {source: features}}
backbones: {mine: {features: "vectors/{dataset}.npz"}}
shots: [1]
seeds: 2
methods: {zero_shot: {}, gda: {}}
"""


def test_a_study_that_was_not_run_is_run_first_up_to_the_row_that_it_recommends(tmp_path: Path) -> None:
    folder = of_vectors(tmp_path / "study", STUDY, {}, ["shapes"])
    done = run(folder, "-n", "ship")
    assert "deciding what to use" in done.stdout + done.stderr
    assert "shapes, mine: a classifier to take away" in done.stdout + done.stderr
