"""The pages that are made from the code are up to date, every link leads somewhere, and messages that the documents quote are the code's."""

import ast
import importlib.util
import re

import pytest

from pneumodet.core import paths

ROOT = paths.PROJECT_ROOT
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").glob("*.md"), *(ROOT / "pretrained").glob("*.md")]
)
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_from_the_code_is_up_to_date(make_reference, capsys):
    assert make_reference.main(["--check"]) == 0, capsys.readouterr().err


def test_a_table_of_fields_says_what_the_dataclass_says(make_reference):
    marked = "<!-- fields of pneumodet.data.manifest.SplitEntry but shards -->\nstale\n<!-- end of fields -->\n"
    page = make_reference.with_tables(marked, make_reference.source())
    rows = re.findall(r"^\| `(\w+)` ", page, re.MULTILINE)
    assert rows[:4] == ["exams", "patients", "positive_exams", "boxes"]
    assert "annotations_sha256" in rows
    assert "shards" not in rows
    assert "| `patients` | whole number | how many there are. |" in page
    assert "stale" not in page


def anchors_of(path):
    """The names by which GitHub links to a page's headings; headings within code are none."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_source_files_that_are_named_exist(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for code in re.findall(r"`([\w./-]+/\w+\.py)`", text):
        places = (ROOT, ROOT / "tools", ROOT / "tools" / "pneumodet")
        assert any((place / code).is_file() for place in places), code


def test_every_page_can_be_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        targets = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)[^)]*\)", page.read_text(encoding="utf-8"))
        waiting += {(page.parent / target).resolve() for target in targets} - seen
    assert set(DOCUMENTS) <= seen


def texts_of(source):
    """Return all literal texts of a module; the parts of an f-string one by one."""
    return [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_messages_that_are_quoted_are_those_of_the_code():
    rows = [row for row in TROUBLESHOOTING.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    quoted = {part.strip(" .,:") for row in rows for quote in re.findall(r'"([^"]+)"', row.split(" | ")[0]) for part in quote.split("…")}
    assert len(quoted) > 20
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    unknown = {part for part in quoted - {""} if part not in makefile}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tools").rglob("*.py")]
    # first where a message seems to begin, then everywhere: to parse all modules takes seconds
    for everywhere in (False, True):
        for source in sources:
            if unknown and (everywhere or any(part[:12] in source for part in unknown)):
                texts = texts_of(source)
                unknown = {part for part in unknown if not any(part in text for text in texts)}
    assert not unknown


def test_the_readme_is_an_entrance_and_not_the_manual():
    assert len((ROOT / "README.md").read_bytes()) <= 9 * 1024
