"""The one Jinja2 environment: every HTML page is a template of ``templates/``, and what comes from files is escaped there.

    text = render("baseline.html", title="What metadata alone predict", lead="300 exams", ...)
    table = part("table", Table("Figures", ("figure", "value"), [("AP50", "0.321")]))      # one macro of macros.html

Python hands over texts, numbers that are texts already, tables and charts; tags are written in templates only, those of charts in ``svg``. Commands in texts
are spelled as the user calls pneumodet (``core.invocation``).
"""

import functools
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pneumodet.core import invocation

if TYPE_CHECKING:
    import jinja2

MACROS = "macros.html"
"""Template with the parts that pages have in common."""


@functools.cache
def environment() -> "jinja2.Environment":
    """Return the environment: everything is escaped, and a name that is not given is an error."""
    # here, since most commands make no page
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        finalize=_spelled,
        # Jinja's default writes nothing for a name that is misspelt, and the page would lack a figure unseen
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def _spelled(value: Any) -> Any:
    # what a macro or chart returns is of texts that went through here, or has none
    return invocation.spelled(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render(name: str, **context: Any) -> str:
    """Return a page.

    Args:
      name: file in ``templates/``.
      context: what the template asks for; text is escaped, ``Markup`` is taken as it is.

    Raises:
      jinja2.UndefinedError: the template asks for something that is not given.
    """
    return environment().get_template(name).render(context)


def part(macro: str, *arguments: Any, **named: Any) -> Markup:
    """Return what a macro of macros.html makes of its arguments; text among them is escaped.

    Raises:
      AttributeError: there is no such macro.
    """
    return Markup(getattr(_macros(), macro)(*arguments, **named))


@functools.cache
def _macros() -> Any:
    return environment().get_template(MACROS).module
