"""The pages that are made from the code are up to date, and every link in the documents leads somewhere."""

import importlib.util
import re

import pytest

from pneumodet.core import paths

ROOT = paths.PROJECT_ROOT
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").glob("*.md"), *(ROOT / "pretrained").glob("*.md")]
)


def test_the_reference_is_up_to_date(capsys):
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0, capsys.readouterr().err


def anchors_of(path):
    """The names by which GitHub links to a page's headings."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there), target


def test_the_readme_is_an_entrance_and_not_the_manual():
    assert len((ROOT / "README.md").read_bytes()) <= 9 * 1024
