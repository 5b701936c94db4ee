"""A page of over ten thousand cells, as full of everything as a page gets; as a program, how fast it is by the clock.

python -m tests.page.large
"""

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.page.browser import Browser
from tests.reporting import grid
from workflow.lib.page import answers, cells, duels, trust
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.lib.page.layout import Source
from workflow.lib.reporting.results import Results

DATASETS = [f"dataset_{i}" for i in range(7)]
SHOTS = ["1", "2", "4", "8", "all"]
METHODS = [{"label": f"method_{i}", "variants": ["-"], "learns": True} for i in range(290)]
IMAGES, CLASSES = 1000, 100
HEADING = "#numbers thead th:nth-child(3)"


def write(path: Path) -> int:
    """Write the page of 7 datasets, 290 methods and five numbers of shots; the number of its cells."""
    plan = grid.plan(datasets=DATASETS, shots=SHOTS, methods=METHODS)
    records = {
        key: grid.record({"-": [0.4 + i % 97 / 300, 0.4 + i % 89 / 300]}, key) for i, key in enumerate(plan.cells())
    }
    made = content([Source(path.parent, Results(plan, records), {})])
    path.write_text(document(_filled(made), "large"), encoding="utf-8")
    return len(records)


def _filled(made: Mapping[str, Any]) -> dict[str, Any]:
    """With curves, logs, answers, recalls, confidences and differences up to their limits."""
    entries = list(made["entries"])
    seeds = [seed for entry in entries for seed in entry["seeds"]]
    points = cells._CURVES // len(seeds)
    for seed in seeds:
        seed |= {"curve": [round(40 + i / 7, 2) for i in range(points)], "at": list(range(1, points + 1))}
    for cell in made["cells"]:
        cell["log"] = "epoch 20: 0.1\n" * (cells._LOGS // len(made["cells"]) // 14)
    said = base64.b64encode(bytes(i % CLASSES for i in range(IMAGES))).decode()
    where = [{name: entry[name] for name in "prs"} for entry in entries]
    bins, risks = [[70, 33.3, 44.4]] * 15, [[50.0, 12.34]] * trust.POINTS
    sets = [[91.2, 3.21]] * (trust._CLASSES // trust._ROWS)
    image = {"classnames": [f"class {k}" for k in range(CLASSES)], "labels": said}
    return {
        **made,
        "images": [image | {"files": [f"test/class/{i:06}.jpg" for i in range(IMAGES)]} for _ in made["places"]],
        "answers": [one | {"right": "2" * IMAGES, "said": said} for one in where[: answers._IMAGES // IMAGES]],
        "recalls": [
            one | {"recall": [512] * CLASSES, "confused": [[1, 2, 30]] * answers.CONFUSED}
            for one in where[: answers._RECALLS // CLASSES]
        ],
        "trust": [one | {"bins": bins, "risks": risks, "sets": sets, "level": 90} for one in where[: trust._ROWS]],
        "rings": list(_rings(len(made["places"]))),
    }


def _rings(places: int) -> Any:
    """Intervals of every row everywhere, and the differences of all pairs as far as these go."""
    rows, left = list(range(len(METHODS))), duels._PAIRS
    for p in range(places):
        for s in range(len(SHOTS)):
            pairs = len(rows) * (len(rows) - 1) // 2
            known, left = (pairs, left - pairs) if pairs <= left else (0, left)
            one = {"study": 0, "m": 0, "p": p, "s": s, "rows": rows, "level": rows[:50]}
            yield one | {"intervals": [[39.12, 45.67]] * len(rows), "pairs": [1.23, -0.45, 2.91, 0.13] * known}


def painted(browser: Browser) -> float:
    """Seconds from the start of the page to the first picture of it."""
    found = browser.run("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    return float(found) / 1000


def sorted_in(browser: Browser) -> float:
    """Seconds from a click on a heading until the rows are in their order, and drawn."""
    script = """const done = arguments[1], before = performance.now();
        document.querySelector(arguments[0]).click();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - before)));"""
    return float(browser.driver.execute_async_script(script, HEADING)) / 1000


def main() -> None:
    """Five times each, in Chromium without a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        count = write(page)
        browser = Browser(Path(folder) / "profile")
        paints, sorts = [], []
        for _ in range(5):
            browser.open(page)
            browser.wait("#numbers tbody tr")
            browser.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 200))")
            paints.append(painted(browser))
            sorts += [sorted_in(browser), sorted_in(browser)]
        browser.quit()
        size = page.stat().st_size / 2**20
    print(f"{count} cells, {size:.1f} MB: first paint {median(paints):.2f} s, sort {1000 * median(sorts):.0f} ms")


if __name__ == "__main__":
    main()
