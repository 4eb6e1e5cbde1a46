"""The page of an evaluation: what it shows, and that nothing that a model said can do anything in it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("numpy")

from tests.evaluation.rows import rows, write
from tests.evaluation.test_command import RECORDED, tunebridge, write_recorded

HOSTILE = (
    "</pre></details><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\"><style>body{display:none}</style>",
    "\x1b[2J\x1b[31mred\x07",
    "right \u202eto left\u202c \u2066isolated",
    "']]><!-- {{ 7 * 7 }} %(x)s {title}",
    "x" * 1_000_000,
    "\ud800 lone",
)


def page_of(folder: Path, *options: str) -> str:
    """Evaluate recorded answers and return the page."""
    done = tunebridge("evaluate", *RECORDED, *options, "--html", "page.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "page.html").read_text()


def write_hostile(folder: Path) -> None:
    """Write rows, and answers of a tuned model that are hostile wherever they are wrong."""
    asked = rows(70)
    asked[3]["messages"][0]["content"] = HOSTILE[0]
    asked[5]["metadata"]["parity"] = HOSTILE[1]
    write(folder / "rows.jsonl", asked)
    write(folder / "a.jsonl", ({"id": row["id"], "output": row["messages"][-1]["content"]} for row in asked))
    write(folder / "b.jsonl", ({"id": row["id"], "output": HOSTILE[n % 7]} for n, row in enumerate(asked)))


class Elements(HTMLParser):
    """Notes the elements of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_page_shows_everything(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    page = page_of(tmp_path, "--metric", "accuracy", "--metric", "token_f1", "--margin", "0.1")
    assert "tuned is better than base (accuracy +0.5667" in page
    for title in ("Models", "Against base", "Differences", "Slices", "Rows that changed", "Settings"):
        assert f"<h2>{title}</h2>" in page
    assert "36 wrong &rarr; right" in page
    assert "2 right &rarr; wrong" in page
    assert page.count('<details class="flip"') == 38
    assert '"resamples": 10000' in page.replace("&quot;", '"')


def test_the_confusion_stands_side_by_side(tmp_path: Path) -> None:
    asked = rows(60)
    for number, row in enumerate(asked):
        row["messages"][-1]["content"] = "red" if number % 2 else "blue"
    write(tmp_path / "rows.jsonl", asked)
    write(tmp_path / "a.jsonl", ({"id": row["id"], "output": "red"} for row in asked))
    write(tmp_path / "b.jsonl", ({"id": row["id"], "output": row["messages"][-1]["content"]} for row in asked))
    page = page_of(tmp_path, "--metric", "accuracy")
    tables = re.findall('<table class="matrix">.*?</table>', page)
    assert [re.findall(r"<td[^>]*>(\d+)", table) for table in tables] == [
        ["0", "30", "0", "30"],
        ["30", "0", "0", "30"],
    ]


def test_hostile_answers_are_only_text(tmp_path: Path) -> None:
    write_hostile(tmp_path)
    page = page_of(tmp_path)
    elements = Elements(page)
    assert len(page.encode()) < 500_000
    assert elements.found.count("script") == 1
    assert elements.found.count("style") == 1
    assert "img" not in elements.found
    assert not {name for name in elements.attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", page)
    assert "http" not in re.sub("<pre.*?</pre>", "", page, flags=re.DOTALL).replace("http-equiv", "")


def test_many_rows_fit_into_the_page(tmp_path: Path) -> None:
    asked = rows(900)
    write(tmp_path / "rows.jsonl", asked)
    write(tmp_path / "a.jsonl", ({"id": row["id"], "output": "é" * 3000} for row in asked))
    write(tmp_path / "b.jsonl", ({"id": row["id"], "output": row["messages"][-1]["content"]} for row in asked))
    page = page_of(tmp_path)
    assert 300_000 < len(page.encode()) < 500_000
    assert re.search(r"[\d,]+ more have no room here", page)


def chromium(*options: str) -> str:
    """Run Chromium without a window and return what it prints; its home is the page's own folder."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here")
    command = [found, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.browser
def test_a_browser_runs_our_script_and_no_other(tmp_path: Path) -> None:
    write_hostile(tmp_path)
    page_of(tmp_path)
    place = (tmp_path / "page.html").as_uri()
    seen = chromium(f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", place)
    assert "<title>Did it help? rows.jsonl</title>" in seen
    flips = len(re.findall('<details class="flip"', seen))
    assert f">{flips} of {flips} shown</span>" in seen
    assert flips > 30
