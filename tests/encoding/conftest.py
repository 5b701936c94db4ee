"""A tiny CLIP model, made once a run."""

import pytest

from tests.encoding import tiny
from workflow.lib.encoding import backbones


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    """A backbone's entry in a study file."""
    return tiny.make(tmp_path_factory.mktemp("tinyclip"))


@pytest.fixture(scope="session")
def backbone(spec):
    """The model, loaded."""
    return backbones.load(spec, "cpu")
