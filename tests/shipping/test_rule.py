"""What `snakemake ship` needs of a study."""

from pathlib import Path

from tests.shipping.conftest import NANO
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


TOWERS = f"""
study: trial
datasets: {{digits: {{source: digits}}}}
backbones: {{nano: {{model: {NANO / "model.json"}, weights: {NANO / "model.safetensors"}}}}}
shots: [1]
seeds: 2
methods: {{zero_shot: {{}}, last_block: {{blocks: [1, 2]}}, fine_tune: {{}}, calip: {{}}}}
"""


def test_what_may_be_shipped_is_given_the_images_that_it_learns_from(tmp_path: Path) -> None:
    """The row is known when the tables are: it may be any; vectors beside the features none that is shipped has."""
    (tmp_path / "study.yaml").write_text(TOWERS)
    done = run(tmp_path, "-n", "-p", "ship")
    (command,) = [line for line in done.stdout.splitlines() if "workflow.scripts.ship" in line]
    named = [f"--array features/nano/digits.{name}.safetensors" for name in ("blocks1", "blocks2", "pixels")]
    assert f" {' '.join(named)} --results" in command
