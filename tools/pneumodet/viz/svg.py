"""SVG elements, with whatever stands in them escaped.

dot = element("circle", class_="dot", cx="1.5", cy="2", r="3")       # <circle class="dot" cx="1.5" cy="2" r="3"/>
name = element("text", "a < b", x=0, y=12, text_anchor="end")        # <text x="0" y="12" text-anchor="end">a &lt; b</text>
"""

from markupsafe import Markup, escape


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """Return an element.

    Args:
      tag: its name.
      children: elements as this function returns them, or text, which is escaped; without any, the element closes itself.
      attributes: in the order given; ``class_`` stands for class, and other underscores for dashes. Those that are None are left out.
    """
    named = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items() if value is not None)
    if not children:
        return Markup(f"<{tag}{named}/>")
    # escape leaves Markup as it is, so that elements in elements are not escaped twice
    return Markup(f"<{tag}{named}>{''.join(map(escape, children))}</{tag}>")
