"""Why a cell is not there: what its log says last."""

from pathlib import Path

import pytest

from workflow.lib.reporting import missing


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (None, "not started"),
        (b"begun\nerror: no room\n", "error: no room"),
        (b"error: no room", "error: no room"),
        (b"error: once\nand on it goes\n", "not finished, see {log}"),
        (b"half a wor\xff", "not finished, see {log}"),
        (b"", "not finished, see {log}"),
    ],
)
def test_the_last_line_says_it_if_it_is_an_error(tmp_path: Path, log: bytes | None, reason: str) -> None:
    cell = Path("digits", "nano", "probe", "1")
    path = tmp_path / "logs" / cell.with_suffix(".log")
    if log is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(log)
    metrics = tmp_path / "metrics" / cell.with_suffix(".json")
    assert missing.reasons([metrics], tmp_path) == [(str(metrics), reason.format(log=path))]
