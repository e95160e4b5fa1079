"""How this pneumodet was installed, and so the command that adds an extra to it.

installation.command("dicom")            # "pip install -c constraints.txt -e '.[dicom]'" in a checkout

pneumodet is on no package index, where somebody else could take its name: never is a command given that asks one for it.
"""

import importlib.metadata
import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pneumodet.core import resources

_NAME = "pneumodet"

_UNKNOWN = "install pneumodet once more from where you have it, with [{extra}] after its path: {pip} 'PATH_OF_WHEEL_OR_CHECKOUT[{extra}]'"


def origin() -> dict[str, Any]:
    """Return what pip wrote down of where it had the package from (PEP 610, direct_url.json); {} where it did not."""
    try:
        content = json.loads(importlib.metadata.distribution(_NAME).read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("url"), str) else {}


def command(extra: str = "", *, options: str = "") -> str:
    """Return the command that installs pneumodet with an extra, from where this one was installed.

    Args:
      extra: of setup.cfg, or several with commas between them; nothing for none.
      options: of pip install.
    """
    pip = f"pip install {options}".rstrip()
    wanted = f"[{extra}]" if extra else ""
    if resources.CHECKOUT:
        if Path.cwd() == resources.CHECKOUT:
            return f"{pip} -c constraints.txt -e {shlex.quote('.' + wanted) if wanted else '.'}"
        return f"{pip} -c {shlex.quote(str(resources.CHECKOUT / 'constraints.txt'))} -e {shlex.quote(str(resources.CHECKOUT) + wanted)}"
    content = origin()
    url = content.get("url", "")
    if not url:
        return _UNKNOWN.format(pip=pip, extra=wanted)
    if "vcs_info" in content:
        vcs = content["vcs_info"]
        revision = vcs.get("requested_revision") or vcs.get("commit_id") or ""
        address = f"{vcs.get('vcs', 'git')}+{url}" + (f"@{revision}" if revision else "")
        return f"{pip} {shlex.quote(f'{_NAME}{wanted} @ {address}')}"
    if url.startswith("file:"):
        from urllib.request import url2pathname  # here, since it brings HTTP and TLS

        path = url2pathname(urlsplit(url).path)
        # a wheel in a folder of downloads, or a checkout, may be gone since
        return f"{pip} {shlex.quote(path + wanted)}" if Path(path).exists() else _UNKNOWN.format(pip=pip, extra=wanted)
    return f"{pip} {shlex.quote(f'{_NAME}{wanted} @ {url}')}"


def repair() -> str:
    """Return the command that sets up all of pneumodet anew: ``make setup`` in a checkout."""
    if resources.CHECKOUT is None:
        return command("train", options="--force-reinstall")
    return "make setup" if Path.cwd() == resources.CHECKOUT else f"make -C {shlex.quote(str(resources.CHECKOUT))} setup"


def described() -> str:
    """Return where the package is and how it came there, for the doctor's report."""
    if resources.CHECKOUT:
        return f"checkout {resources.CHECKOUT}"
    content, folder = origin(), resources.PACKAGE.parent
    how = "from git" if "vcs_info" in content else "from a file or folder" if content.get("url", "").startswith("file:") else "by pip"
    return f"installed {how} in {folder}"


def commit() -> str | None:
    """Return the commit that a package installed from git is of; None where it was not."""
    vcs = origin().get("vcs_info")
    found = vcs.get("commit_id") if isinstance(vcs, dict) else None
    return found if isinstance(found, str) else None
