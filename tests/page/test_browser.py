"""The page in a browser without a network: it shows, sorts, searches, hides, copies, and follows a link."""

import csv
import io
import re
from pathlib import Path

import pytest

from tests.page import studies
from tests.page.browser import Browser
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.scripts.report import source

ROWS = 9
NAMES = "#numbers tbody th .label"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def column(browser: Browser, number: int) -> list[float]:
    """The means of a column, in the order in which they are shown."""
    texts = browser.texts(f"#numbers tbody tr > :nth-child({number + 1})")
    return [float(text.split()[0]) for text in texts if text != "n/a"]


def test_it_opens_without_a_word_and_asks_nobody_for_anything(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.everything()
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("return window.bad") is None


def test_names_that_mean_something_to_html_are_shown_as_they_are(opened: Browser) -> None:
    shown = opened.texts(NAMES)
    assert "probe (scale=</script><script>window.bad = 1</script>)" in shown
    assert f"adapter (long={'x' * 300})" in shown
    assert "adapter (quote=\"'ü)" in shown
    assert len(shown) == ROWS


def test_a_click_on_a_heading_sorts_and_the_address_says_so(opened: Browser) -> None:
    opened.click("#numbers thead th:nth-child(5)")
    opened.wait("#numbers thead th:nth-child(5)[aria-sort=descending]")
    found = column(opened, 4)
    assert found == sorted(found, reverse=True)
    assert opened.texts("#numbers tbody tr > :nth-child(5)")[-1] == "n/a"
    assert opened.address() == "sort=4d"
    opened.click("#numbers thead th:nth-child(5)")
    opened.wait("#numbers thead th:nth-child(5)[aria-sort=ascending]")
    found = column(opened, 4)
    assert found == sorted(found)
    assert opened.texts("#numbers tbody tr > :nth-child(5)")[-1] == "n/a"


def test_the_keyboard_sorts_too(opened: Browser) -> None:
    heading = "#numbers thead th:nth-child(2)"
    opened.run("document.querySelector(`${arguments[0]}[tabindex], ${arguments[0]} [tabindex]`).focus()", heading)
    opened.driver.switch_to.active_element.send_keys("\n")
    opened.wait(f"{heading}[aria-sort=descending]")
    found = column(opened, 1)
    assert found == sorted(found, reverse=True)


def test_a_search_leaves_the_rows_that_match(opened: Browser) -> None:
    opened.find("#find").send_keys("probe")
    assert len(opened.texts(NAMES)) == 4
    assert opened.address() == "find=probe"


def test_a_hidden_row_leaves_the_table_and_the_curves_until_it_is_asked_back(opened: Browser) -> None:
    opened.everything()
    lines = "return document.querySelectorAll('#curves-chart svg g[data-mark=line]').length"
    before = opened.run(lines)
    opened.run("document.querySelector('#numbers tbody tr[data-row=\"1\"] button.icon').click()")
    assert len(opened.texts(NAMES)) == ROWS - 1
    assert opened.run(lines) == before - 1
    assert opened.find(".legend [data-row='1']").get_attribute("aria-pressed") == "false"
    opened.click("#show-all")
    assert len(opened.texts(NAMES)) == ROWS
    assert opened.run(lines) == before


def test_a_link_shows_the_same_view(browser: Browser, page: Path) -> None:
    browser.open(page, "#dataset=planes&metric=nll&sort=1a&rows=1.2&columns=2&find=a")
    assert browser.find("#choice-dataset").get_attribute("value") == "planes"
    assert browser.find("#choice-metric").get_attribute("value") == "nll"
    assert browser.texts("#numbers thead th") == ["method", "1 shot", "4 shots", "all"]
    found = column(browser, 1)
    assert found == sorted(found)
    assert len(browser.texts(NAMES)) == 5  # of nine two are hidden, and zero_shot and text_only have no a
    assert browser.complaints() == []


def test_a_link_leads_to_the_part_of_the_page_that_was_last_asked_for(opened: Browser, page: Path) -> None:
    (button,) = (one for one in opened.driver.find_elements("css selector", "#jumps button") if one.text == "Classes")
    button.click()
    assert opened.address() == "at=classes"
    opened.open(page, "#at=classes")
    opened.wait("#classes-body tbody tr")
    top = opened.run("return document.getElementById('classes').getBoundingClientRect().top")
    assert -5 < top < 400
    opened.open(page, "#at=nowhere")
    assert opened.complaints() == []


def copied(browser: Browser, form: str) -> str:
    browser.click("#copy")
    browser.click(f"#dialog input[value={form}]")
    return browser.find("#dialog textarea").get_attribute("value")


def test_the_copied_latex_is_one_table_in_which_no_name_means_anything(opened: Browser) -> None:
    text = copied(opened, "LaTeX")
    bare = re.sub(r"\\(?:[a-zA-Z]+|.)", "", text.replace("\\\\\n", "\n").split("\n", 1)[1])
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~^_]", bare)
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(body) == ROWS + 1
    assert all(len(re.findall(r"(?<!\\)&", line)) == 4 for line in body)
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 1, 1]
    assert "\\textbf{" in text


def test_the_copied_csv_has_the_numbers_of_the_page(opened: Browser) -> None:
    rows = list(csv.reader(io.StringIO(copied(opened, "CSV"))))
    assert rows[0][:3] == ["method", "1 shot", "1 shot sd"]
    assert [row[0] for row in rows[1:]] == opened.texts(NAMES)
    assert [float(row[1]) for row in rows[1:] if row[1]] == column(opened, 1)


def test_the_copied_markdown_has_the_rows_and_columns_that_are_shown(browser: Browser, page: Path) -> None:
    browser.open(page, "#rows=0.1&columns=0&sort=4d")
    lines = copied(browser, "Markdown").splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    assert {len(row) for row in cells} == {4}
    assert len(cells) == ROWS - 2 + 2
    assert "**" in cells[2][3]


def test_own_labels_are_on_the_page_and_in_the_copy(opened: Browser) -> None:
    opened.click("#copy")
    opened.run("document.querySelector('#dialog details').open = true")
    field = opened.find("#dialog .labels input")
    field.clear()
    field.send_keys("Zero & shot")
    assert "Zero &amp; shot" in opened.find("#dialog textarea").get_attribute("value")
    opened.click("#dialog .close")
    assert "Zero & shot" in opened.texts(NAMES)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_wrong(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.everything()
    assert browser.accessibility() == []


@pytest.mark.parametrize("width", [400, 1280, 2000])
def test_no_width_makes_the_page_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    browser.everything()
    assert browser.run("return document.documentElement.scrollWidth") <= width


# --- further parts ------------------------------------------------------------------------------------------------


def test_a_number_opens_its_cell_and_the_address_and_escape_close_it(opened: Browser) -> None:
    opened.click("#numbers tbody tr[data-row='1'] td:nth-child(5) button")
    assert opened.address() == "cell=1.3"
    text = opened.texts("#dialog")[0]
    assert all(part in text for part in ("seed 2", "trainable numbers", "epoch 2 <i>done</i>", "0" * 64, "scale=none"))
    opened.driver.switch_to.active_element.send_keys("\ue00c")
    assert opened.address() == ""
    opened.run("location.hash = '#cell=1.3'")
    assert opened.run("return document.getElementById('dialog').open")


def test_two_rows_have_their_differences_and_the_images_that_divide_them(browser: Browser, page: Path) -> None:
    browser.open(page, "#a=1&b=0&shots=16")
    browser.everything()
    rows = browser.texts("#duel-body tbody tr")
    assert [row.split()[0] for row in rows] == ["1", "4", "16", "all"]
    assert all(" to " in row for row in rows)
    (counted,) = re.findall(
        r"both are right on (\d+), the first alone on (\d+), the second alone on (\d+), neither on (\d+)",
        browser.texts("#disagreement")[0],
    )
    assert sum(map(int, counted)) == 120
    browser.click("#duel .tools button")
    assert browser.address() == "shots=16&a=0&b=1"


def test_classes_have_recalls_and_confused_pairs(browser: Browser, page: Path) -> None:
    browser.open(page, "#row=1")
    browser.everything()
    assert len(browser.texts("#classes-body tbody tr")) == 6
    assert "taken for" in browser.texts("#classes-body .pairs")[0]


def test_classes_have_the_coverage_and_the_size_of_their_prediction_sets(browser: Browser, page: Path) -> None:
    browser.open(page, "#row=1")
    browser.everything()
    heads = browser.texts("#classes-body thead th")
    assert heads == ["class", "images", "recall, %", "in set, %", "set size"]
    (second,) = (row for row in browser.texts("#classes-body tbody tr") if row.startswith(studies.NASTY[1]))
    assert second.split()[-2:] == ["100.0", "2.00"]
    assert "hold the true class of 90 % of all images" in browser.texts("#sets-about")[0]


def test_a_row_is_as_sure_as_it_is_right_or_not(browser: Browser, page: Path) -> None:
    browser.open(page, "#row=1")
    browser.everything()
    assert "calibrated" in browser.find("#reliability svg").get_attribute("aria-label")
    assert browser.run("return document.querySelectorAll('#risk svg [data-mark=line]').length") == 2
    assert "calibration error (ECE) 10.00 %" in browser.texts("#trust-body")[0]


@pytest.mark.parametrize("cost", ["trainable", "bytes"])
def test_the_cheapest_and_the_best_are_on_the_line_of_costs(browser: Browser, page: Path, cost: str) -> None:
    browser.open(page, f"#cost={cost}")
    browser.everything()
    (line,) = browser.texts("#cost-front")
    means = {
        name: mean
        for name, mean in zip(browser.texts(NAMES), browser.texts("#numbers tbody td:nth-child(5)"), strict=True)
        if mean != "n/a"
    }
    best = max(means, key=lambda name: float(means[name].split()[0]))
    assert line.startswith("On the line: zero_shot ")
    assert best in line


def test_regimes_and_gaps_stand_side_by_side(opened: Browser) -> None:
    opened.everything()
    assert opened.texts("#peeking-box table:last-of-type thead th")[-2:] == ["last", "report"]
    assert "+2.00" in opened.texts("#peeking-box")[0]


def test_the_summary_has_every_dataset_and_what_each_row_has_won(opened: Browser) -> None:
    opened.everything()
    assert opened.texts("#summary-box thead th") == [
        "method",
        "digits",
        "planes",
        "mean",
        "mean rank",
        "won",
        "undecided",
        "lost",
    ]


def test_a_page_of_an_unfinished_study_says_what_is_missing(browser: Browser, tmp_path: Path) -> None:
    plan = studies.plan()
    studies.write(tmp_path / "trial", plan, without=["probe"])
    path = tmp_path / "report.html"
    path.write_text(document(content([source(tmp_path / "trial", plan)]), "trial"), encoding="utf-8")
    browser.open(path)
    browser.everything()
    assert browser.texts(".warning")[0].startswith("Unfinished: 18 of 26 cells are there.")
    assert "error: <b>out of memory</b>" in browser.texts("#missing")[0]
    assert browser.complaints() == []


def test_a_page_without_a_single_cell_opens(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(document(content([source(tmp_path, studies.plan())]), "trial"), encoding="utf-8")
    browser.open(path)
    assert browser.texts(".warning")[0].startswith("Unfinished: 0 of 26")
    assert "not started" in browser.texts("#missing")[0]
    assert browser.complaints() == []


def test_in_a_narrow_window_rows_of_one_method_can_still_be_told_apart(browser: Browser, page: Path) -> None:
    """Their parameters come last in their names, and a line that is cut off would hide them."""
    browser.open(page, width=400)
    browser.everything()
    for table in ("#numbers", "#summary-box"):
        cut = f"""return [...document.querySelectorAll('{table} .label')].filter(
            one => one.innerText.length < 60 && one.scrollHeight > one.clientHeight + 1).map(one => one.innerText)"""
        assert browser.run(cut) == []


def test_every_chart_is_on_paper(browser: Browser, page: Path) -> None:
    """Before anybody has scrolled to it."""
    browser.open(page)
    browser.everything()
    assert browser.run("return document.querySelectorAll('.chart').length") >= 5
    assert browser.run("return document.querySelectorAll('.chart:empty').length") == 0
