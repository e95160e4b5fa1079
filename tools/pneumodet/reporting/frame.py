"""What every report page has around its sections: one HTML file that needs nothing else.

    text = page("Comparison of runs", [("figures", "Figures", "<table>…</table>")], lead="On 250 radiographs")

No script and no external file: it opens from disk, prints, follows the reader's light or dark mode, and fits a phone.
"""

from collections.abc import Sequence

from pneumodet.reporting import markup
from pneumodet.reporting.style import CSS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy: the browser itself sees to it that nothing is loaded and nothing runs."""


def page(title: str, sections: Sequence[tuple[str, str, str]], *, lead: str = "", css: str = "") -> str:
    """Return a page with a list of its sections at the top.

    Args:
      title: text.
      sections: name for links, title (text) and content (HTML); those without content are left out.
      lead: text that tells this page from others of its kind.
      css: rules beside those of ``style``.
    """
    sections = [(name, markup.text(heading), content) for name, heading, content in sections if content]
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in sections)
    parts = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{heading}</h2>\n{content}</section>' for name, heading, content in sections
    ]
    lead = f'<p class="lead">{markup.text(lead)}</p>' if lead else ""
    title = markup.text(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{title}</title><style>{CSS}{css}</style></head>\n'
        f'<body><main><h1>{title}</h1>\n{lead}<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
        + "\n".join(parts)
        + "\n<footer>For research, not a medical device. Made by pneumodet; nothing in this file comes from the network.</footer></main></body></html>\n"
    )
