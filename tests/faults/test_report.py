"""`snakemake --report` without a network: tables and figures with their captions, all in the file."""

import os
import re
import zipfile
from pathlib import Path

import pytest

from tests.faults import study

pytestmark = pytest.mark.slow
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
SHOWN = {
    "report.html",
    "photos.mine.html",
    "photos.mine.csv",
    "summary.html",
    "results.csv",
    "photos.mine.svg",
    "peeking.svg",
}


@pytest.fixture(params=["report.html", "report.zip"])
def report(request: pytest.FixtureRequest, copy: Path, snakefile: Path, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    study.finish(snakefile, copy, "--report", os.fspath(path), **NO_NETWORK)
    return path


def test_the_report_has_tables_and_figures_and_asks_nobody_for_anything(report: Path) -> None:
    if report.suffix == ".zip":
        with zipfile.ZipFile(report) as archive:
            assert {Path(name).name for name in archive.namelist()} >= SHOWN
            html = archive.read("report/report.html").decode()
    else:
        html = report.read_text()
    assert all(f'"{name}"' in html or f"/{name}" in html for name in SHOWN)
    assert "Methods by shots." in html
    assert "adapters of frozen CLIP features compared" in html
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?:https?:)?//", html)
