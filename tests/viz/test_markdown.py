"""Markdown shows what comes from files as it is; markdown-it, an independent reader, says so."""

import html
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pneumodet.viz.markdown import code, plain

MARKS = "\\`*_{}[]()<>#+-.!|~$:^=&;/@ 1a\n"


def shown(source):
    """Return (what a reader sees of a text in a list, a paragraph and a table, the tags that it has there)."""
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = reader.render(f"- Split: {source}\n\n{source}\n\n| head |\n| --- |\n| {source} |\n")
    texts = [re.sub(r"<[^>]*>", "", part) for part in re.findall(r"<(?:li|p|td)>(.*?)</(?:li|p|td)>", page, re.S)]
    return [html.unescape(text) for text in texts], set(re.findall(r"<(\w+)", page)) - {
        "ul",
        "li",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(MARKS, max_size=12), st.text(max_size=12)))
@example("<script>alert(1)</script>|[x](y)`")
@example("&lt;b&gt; &amp;")
@example("_name_ of_a_run __init__")
@example("1. one")
@example("## no heading")
@example("a\n---")
@example("---")
@example("> ![x](http://a.b)")
def test_a_text_is_shown_as_it_is(text):
    one_line = " ".join(text.split()).replace("\0", "\ufffd")
    texts, tags = shown(plain(text))
    assert not tags
    # an empty text is no paragraph, and an empty cell no text
    assert texts[0] == f"Split: {one_line}".rstrip() and set(texts[1:]) <= {one_line}


def test_readers_that_make_links_and_pictures_of_words_have_none():
    assert plain("http://a.b www.a.b me@a.b :red[x] :smile: $x$") == r"http\://a.b www\.a.b me\@a.b \:red\[x] \:smile: \$x\$"
    assert plain("+0.3, 12:30, run_a.1-2") == "+0.3, 12:30, run_a.1-2"


def test_a_code_span_holds_backquotes():
    assert shown(code("a``b`<i>"))[0][1] == "a``b`<i>" and shown(code("a``b`<i>"))[1] == {"code"}
