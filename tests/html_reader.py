"""What a test asks of a report page: whole, and nothing of it from elsewhere."""

import html.parser
import re


class Reader(html.parser.HTMLParser):
    """Checks that tags are closed in order and pictures have words, and collects what there is.

    Attributes:
      references: values of src and href.
      tags, text: all of them, in order, except drawings that are hidden from screen readers.
      headings: levels of headings.
      ids: of second-level headings.
      pictures: alternative texts of images.
    """

    VOID = ("meta", "img", "br", "wbr", "path", "circle", "rect")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags, self.headings, self.text, self.ids, self.pictures = [], [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        hidden = tag == "svg" and attributes.get("aria-hidden") == "true"
        self.tags += [] if hidden else [tag]
        self.references += [attributes[name] for name in ("src", "href") if attributes.get(name)]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "h2":
            self.ids.append(attributes["id"])
        if tag == "img":
            assert attributes["alt"]
            self.pictures.append(attributes["alt"])
        if tag == "svg" and not hidden:
            assert attributes["aria-label"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    """Return what is in a page."""
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader
