"""Thousands of small files: none of them need outlive a power cut."""

import pytest

from workflow.lib import files


@pytest.fixture(autouse=True, scope="session")
def without_waiting_for_the_disk() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_flush", lambda path: None)
        yield
