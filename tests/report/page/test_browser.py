"""The page in a real browser: drawn, sortable, switchable, readable on a telephone, silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.page.conftest import Opened, written
from tests.report.page.made import make_run, make_sweep

pytestmark = pytest.mark.slow

PIXELS = """canvas => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) colours.add(data.slice(i, i + 3).join());
  return colours.size;
}"""

SCROLL = """async () => {
  let frames = 0;
  for (let y = 0; y < document.body.scrollHeight; y += 150, frames++) {
    scrollTo({ top: y, behavior: 'instant' });
    await new Promise(requestAnimationFrame);
  }
  return frames;
}"""
"""Scroll from top to bottom; returns how many frames that were."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    return written(make_sweep(folder / "runs", seeds=2, steps=80, examples=20), folder / "sweep.html")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    return written(make_run(folder / "run", steps=80, examples=20), folder / "run.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plots_are_drawn_in_the_colours_of_their_arms(sweep: Path, opened: Opened, theme: str):
    page = opened(sweep, theme=theme)
    page.locator("#curves").scroll_into_view_if_needed()
    canvas = page.locator("[data-metric='reward'] canvas")
    canvas.wait_for()
    assert canvas.evaluate(PIXELS) > 6
    first = page.locator(".arm input").first
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    first.uncheck()
    page.wait_for_function(
        "old => document.querySelector(\"[data-metric='reward'] canvas\")?.toDataURL() !== old", arg=before
    )


def test_only_what_can_be_seen_is_drawn(sweep: Path, opened: Opened):
    page = opened(sweep)
    page.wait_for_timeout(300)
    drawn = page.locator(".plot.drawn").count()
    folded = page.locator("details.group").first
    folded.locator("summary").click()
    folded.locator("canvas").first.wait_for()
    assert page.locator(".plot.drawn").count() > drawn


def test_a_column_sorts_up_and_down_with_empty_cells_last(sweep: Path, opened: Opened):
    page = opened(sweep)
    table = page.locator("#provenance table")
    column = [head.strip() for head in table.locator("thead th").all_inner_texts()].index("steps")
    steps = f"rows => rows.map(row => Number(row.cells[{column}].dataset.value))"
    head = table.locator("thead th").nth(column)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = table.locator("tbody tr").evaluate_all(steps)
    assert values == sorted(values)
    assert values[0] < values[-1]
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr").evaluate_all(steps) == sorted(values, reverse=True)


def test_the_theme_follows_the_system_until_the_button_is_used(single: Path, opened: Opened):
    page = opened(single, theme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(background) != dark
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) != dark
    page.get_by_role("button", name="Switch to dark colours").click()
    assert page.evaluate(background) == dark


def test_a_drag_over_one_plot_zooms_all_and_the_fields_do_the_same(sweep: Path, opened: Opened):
    page = opened(sweep)
    plot = page.locator("[data-metric='reward'] .u-over")
    page.locator("[data-metric='reward']").scroll_into_view_if_needed()
    plot.wait_for()
    box = plot.bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, height, steps=5)
    page.mouse.up()
    other = "document.querySelector(\"[data-metric='kl'] .plot\").plot.drawn?.scales.x.min"
    page.locator("[data-metric='kl']").scroll_into_view_if_needed()
    page.wait_for_function(f"{other} > 15")
    assert 18 <= page.evaluate(other) <= 24
    assert 18 <= int(page.locator("#from").input_value()) <= 24
    page.locator("#to").fill("60")
    page.locator("#to").press("Tab")
    page.wait_for_function("document.querySelector(\"[data-metric='kl'] .plot\").plot.drawn.scales.x.max === 60")
    page.locator("#reset-zoom").click()
    page.wait_for_function(f"{other} <= 1")
    assert page.locator("#reset-zoom").is_disabled()


def test_the_values_under_the_cursor_are_shown_highest_first(sweep: Path, opened: Opened):
    page = opened(sweep)
    page.locator("[data-metric='reward']").scroll_into_view_if_needed()
    page.locator("[data-metric='reward'] .u-over").hover()
    values = [float(text) for text in page.locator(".tip b").all_inner_texts()]
    assert len(values) == 6
    assert values == sorted(values, reverse=True)


def test_smoothing_changes_the_curve_and_says_how_much(single: Path, opened: Opened):
    page = opened(single)
    canvas = page.locator("[data-metric='reward'] canvas")
    page.locator("[data-metric='reward']").scroll_into_view_if_needed()
    drawn = canvas.evaluate("canvas => canvas.toDataURL()")
    page.locator("#smoothing").fill("0.95")
    assert page.locator("output").inner_text() == "0.95"
    page.wait_for_function(
        "old => document.querySelector(\"[data-metric='reward'] canvas\")?.toDataURL() !== old", arg=drawn
    )


def test_a_heat_map_and_slopes_show_what_two_fields_do(sweep: Path, opened: Opened):
    page = opened(sweep)
    fields = page.locator("#effects select").nth(1).locator("option").all_inner_texts()
    assert fields == ["method.name", "method.learning_rate", "method.kl_coef"]
    assert page.locator("#effects .heat tbody tr").count() == 3
    assert page.locator("#effects .heat tbody td").count() == 6
    page.get_by_label("Columns").select_option(label="method.kl_coef")
    assert "method.kl_coef →" in page.locator("#effects .heat thead").inner_text()
    assert page.locator("#effects svg.slopes .mean").count() == 3


def test_examples_change_and_follow_the_arms_that_are_chosen(sweep: Path, opened: Opened):
    page = opened(sweep)
    prompt = page.locator("#samples .prompt").first
    first = prompt.inner_text()
    page.get_by_role("button", name="Next example").click()
    assert prompt.inner_text() != first
    cells = page.locator("#samples .cell").count()
    page.locator(".arm input").first.uncheck()
    assert page.locator("#samples .cell").count() == cells - 1
    assert page.locator("#samples .completion .call").first.inner_text().startswith("<tool_call>")


def test_markup_and_long_texts_of_a_model_are_only_text(tmp_path: Path, opened: Opened):
    folder = make_run(tmp_path / "run", steps=5, examples=3)
    rows = folder / "evaluations/accuracy.after.jsonl"
    evil = "<script>document.title='taken'</script></script><img src=x onerror=\"document.title='taken'\"><!-- \u2028"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        line.update(completion=evil + "long " * 4000, prompt=evil, parts={evil: 1.0}, id=evil + line["id"])
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["notes"] = [evil]
    manifest["config"]["method"]["name"] = evil
    (folder / "manifest.json").write_text(json.dumps(manifest))
    page = opened(written(folder, tmp_path / "page.html"))
    assert "taken" not in page.title()
    assert page.locator("img").count() == 0
    text = page.locator("#samples .completion").last
    assert text.inner_text().startswith("<script>document.title")
    assert len(text.inner_text()) < 1500
    page.get_by_role("button", name="Show all").first.click()
    assert len(text.inner_text()) > 19_000
    page.get_by_role("button", name="Show less").first.click()
    assert len(text.inner_text()) < 1500


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_is_wider_than_the_window(sweep: Path, single: Path, opened: Opened, width: int):
    for path in (sweep, single):
        page = opened(path, width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_words_stand_out_from_their_background(single: Path, opened: Opened):
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) for the text colours, in both themes."""
    names = ("--text", "--muted", "--accent", "--good", "--bad")
    for theme in ("light", "dark"):
        page = opened(single, theme=theme)
        value = "getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
        colours = page.evaluate(f"names => names.map(name => {value})", ["--page", "--raised", *names])
        grounds, inks = colours[:2], colours[2:]
        for name, ink in zip(names, inks, strict=True):
            for ground in grounds:
                assert _contrast(ink, ground) >= 4.5, (theme, name, ground)


def test_headings_are_in_order_and_controls_have_names(sweep: Path, opened: Opened):
    page = opened(sweep)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    nameless = page.evaluate(
        "[...document.querySelectorAll('button,select,input')].filter(one => !(one.labels?.length || "
        "one.getAttribute('aria-label') || one.textContent.trim())).map(one => one.outerHTML)"
    )
    assert nameless == []


def test_a_thousand_runs_make_a_small_page_that_scrolls(tmp_path: Path, opened: Opened):
    number = 0
    for method in ("rloo", "grpo"):
        for rate in range(20):
            for kl in range(25):
                settings = {"method.name": method, "method.learning_rate": 1e-5 * 1.3**rate, "method.kl_coef": kl / 100}
                make_run(tmp_path / "runs" / str(number), settings, number % 7, steps=2000, every=10, examples=4)
                number += 1
    path = written(tmp_path / "runs", tmp_path / "page.html")
    assert path.stat().st_size < 10_000_000
    page = opened(path)
    assert page.locator(".arm").count() == number == 1000
    assert page.evaluate(SCROLL) > 20
    page.get_by_label("Find arms by name").fill("grpo")
    assert page.locator(".arm:visible").count() <= 500
    page.get_by_role("button", name="First 8 found").click()
    page.locator("[data-metric='reward']").scroll_into_view_if_needed()
    page.locator("[data-metric='reward'] canvas").wait_for()


def test_the_printed_page_is_light_and_has_its_plots(single: Path, opened: Opened):
    page = opened(single, theme="dark")
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
    shown = page.locator("#curves > .plots .plot")
    assert shown.count() == page.locator("#curves > .plots canvas").count()


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
