"""HTML is made in one place: templates that are installed, in which every text is escaped, and nowhere else."""

import ast
import html
import html.parser
import importlib.resources
import re
from pathlib import Path

import html_reader
import jinja2
import made_up_pages
import pytest
from markupsafe import Markup

from pneumodet.viz import markdown, svg, templating

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "tools" / "pneumodet"
TEMPLATES = LIBRARY / "viz" / "templates"

HARMLESS = "harmless"
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of an attribute": '"><img src=x onerror=alert(1)>',
    "attribute": "' onmouseover='alert(1)",
    "end of an element": "</pre></td></style></title><b>",
    "entity": "&lt;b&gt;",
    "template": "{{ 7 * 7 }}{% raw %}",
}


class Structure(html.parser.HTMLParser):
    """Elements with the names of their attributes in order, and all text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, *(name for name, _ in attributes)))

    def handle_endtag(self, tag):
        self.elements.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """Return name -> structure of the page with a harmless text."""
    return {name: Structure(write(tmp_path_factory.mktemp(name), HARMLESS)) for name, write in made_up_pages.PAGES.items()}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", made_up_pages.PAGES)
def test_hostile_text_is_text_on_every_page(harmless, tmp_path, name, text):
    page = Structure(made_up_pages.PAGES[name](tmp_path, text))
    assert page.elements == harmless[name].elements, "the text is neither an element nor an attribute"
    assert page.text.count(text) >= 4, "and is shown as it is"
    assert html.escape(text) == text or html.escape(text) not in page.text.replace(markdown.plain(text), ""), "and escaped once"
    for card in tmp_path.glob("*.md"):
        written = card.read_text(encoding="utf-8")
        assert markdown.plain(text) in written
        assert "<" not in text or text not in written, "Markdown takes tags for HTML"


@pytest.mark.parametrize("name", made_up_pages.PAGES)
def test_every_page_is_whole_and_needs_nothing(tmp_path, name):
    path = made_up_pages.PAGES[name](tmp_path, HARMLESS)
    page = html_reader.read(path)
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(one.startswith(("#", "data:image/jpeg;base64,", "images/")) for one in page.references)
    assert "default-src 'none'" in path.read_text()
    assert "For research, not a medical device." in "".join(page.text)


@pytest.mark.parametrize("name", made_up_pages.PAGES)
def test_no_table_repeats_the_heading_that_it_stands_below(tmp_path, name):
    text = made_up_pages.PAGES[name](tmp_path, HARMLESS).read_text(encoding="utf-8")
    for section in text.split("<h2 ")[1:]:
        headings = re.findall(r"(?:<h3[^>]*>|<caption><span>)([^<]*)<", section)
        assert section.partition(">")[2].partition("<")[0] not in headings


def test_a_page_lists_the_sections_that_have_content():
    text = templating.part("sections", "<of>", [("one", "<One>", Markup("<p>1</p>")), ("two", "Two", ""), ("three", "Three", " \n")])
    assert text.startswith(
        '<p class="lead">&lt;of&gt;</p><nav aria-label="Contents"><ul><li><a href="#one">&lt;One&gt;</a></li></ul></nav>'
    )
    assert '<section aria-labelledby="one"><h2 id="one">&lt;One&gt;</h2>\n<p>1</p></section>' in text
    assert "two" not in text and "three" not in text


def test_what_a_template_is_not_given_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        templating.render("base.html")


def test_svg_elements_are_escaped():
    assert svg.element("text", 'a < "b"', svg.element("tspan"), class_="x", text_anchor='"end"', id=None) == (
        '<text class="x" text-anchor="&#34;end&#34;">a &lt; &#34;b&#34;<tspan/></text>'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b", "a \\| b"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("[x](javascript:1) ![y]", "\\[x](javascript:1) !\\[y]"),
        ("*a* `b` \\", "\\*a\\* \\`b\\` \\\\"),
        ("two\n\n# lines", "two # lines"),
        ("ssd_mobilenet_v2-320 (0.1 to 0.2)", "ssd_mobilenet_v2-320 (0.1 to 0.2)"),
    ],
)
def test_markdown_shows_text_as_it_is(text, expected):
    assert markdown.plain(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("a", "`a`"), ("a `b` c", "`` a `b` c ``"), ("``", "``` `` ```")])
def test_code_in_markdown_ends_where_it_should(text, expected):
    assert markdown.code(text) == expected


def test_templates_are_installed(monkeypatch):
    """What a wheel would hold, by setuptools' own account, is what is loaded."""
    from setuptools import Distribution

    there = {path.name for path in TEMPLATES.iterdir()}
    assert {one.name for one in importlib.resources.files("pneumodet.viz").joinpath("templates").iterdir()} == there
    assert {f"{name}.html" for name in made_up_pages.PAGES} | {"base.html", "macros.html", "style.css"} == there
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files(["setup.cfg"])
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    files = {package: names for package, _, _, names in build.data_files}
    assert {Path(name).name for name in files["pneumodet.viz"]} == there


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html")))
def test_templates_switch_no_escaping_off(name):
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    assert templating.environment().get_template(name) is not None
    assert not re.search(r"autoescape|<script|https?:|\son\w+=", text)
    assert re.findall(r"\S+\|\s*safe", text) == (['"_<wbr>"|safe', '"-<wbr>"|safe'] if name == "macros.html" else [])


LONG_TAGS = (
    "article|aside|body|br|button|caption|code|dd|details|div|dl|dt|em|figcaption|figure|footer|form|h[1-6]|head|header|hr|html|iframe|img|input|label|li|link"
    "|main|meta|nav|object|ol|option|pre|script|section|select|small|span|strong|style|sub|summary|sup|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul"
    "|video|wbr|svg|circle|line|path|polygon|polyline|rect|text|tspan"
)
TAG = re.compile(rf"</(?!\\)|<!DOCTYPE|(?<!\(\?P)<(?:(?:{LONG_TAGS})(?=[\s/>]|$)|[abgipu](?=[\s/>]))")
"""Lower case, so that a format of numbers such as "<I" is none; a text may end before a value that is filled in;
``(?P<path>`` and ``</\\1`` are of regular expressions."""

MAKE_MARKUP = ("viz/templating.py", "viz/svg.py")
"""The modules that may call a text safe: what comes out of a template, and an element whose parts they have escaped."""


def html_in(tree):
    """Yield (line, text) of strings with tags, but for those that only document, and of what calls itself safe."""
    nodes = list(ast.walk(tree))
    notes = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes and TAG.search(node.value):
            yield node.lineno, node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Markup" and node.args:
            yield node.lineno, "Markup(...)"
        elif isinstance(node, ast.keyword) and node.arg == "unsafe_allow_html":
            yield node.value.lineno, "unsafe_allow_html"
        elif isinstance(node, ast.Import) and any(one.name == "html" for one in node.names):
            yield node.lineno, "import html"
        elif isinstance(node, ast.ImportFrom) and node.module == "html" and any(one.name != "unescape" for one in node.names):
            yield node.lineno, "from html import"


def test_no_html_is_written_outside_the_templates():
    result = []
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if name not in MAKE_MARKUP:
            result += [(name, line, text) for line, text in html_in(ast.parse(path.read_text(encoding="utf-8")))]
    assert result == []


@pytest.mark.parametrize(
    "code",
    [
        "x = f'<td{kind}>{value}</td>'",
        "x = '<p>' + text",
        "x = Markup(text)",
        "import html",
        "from html import escape",
        "st.markdown(x, unsafe_allow_html=True)",
        "x = '<svg/>'",
    ],
)
def test_that_test_sees_html(code):
    assert list(html_in(ast.parse(code)))


def test_that_test_sees_no_html_in_other_text():
    code = '"""Doc of <p>."""\nx = Markup()\ny = "a < b, <annotation> and <filename>, <page>"\ndef f():\n    "<td>"\n'
    assert list(html_in(ast.parse(code))) == []
