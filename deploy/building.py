"""What setuptools does for pneumodet beside its usual work (``cmdclass`` in setup.cfg).

The top folders of the checkout are the one source of configs, label maps and the registry of checkpoints. A wheel gets a copy of what git has of them,
in pneumodet/resources, where ``pneumodet.core.resources`` finds it. An editable installation needs none: it finds the checkout.
"""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

RESOURCES = (
    "configs/**/*.config",
    "configs/**/*.toml",
    "configs/README.md",
    "label_maps/*.pbtxt",
    "pretrained/README.md",
    "pretrained/registry.json",
)
"""Patterns of the files that a wheel carries, below the checkout."""


def resources() -> list[str]:
    """Return the files that a wheel carries, as paths below the checkout."""
    return sorted({path.as_posix() for pattern in RESOURCES for path in Path().glob(pattern)})


def tracked() -> list[str] | None:
    """Return the files that git has of the checkout; None where it is not one, as in an unpacked source distribution."""
    if not Path(".git").exists():
        return None
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout
    # a file that was removed and not committed yet is in the listing still
    return [name for name in os.fsdecode(listing).split("\0") if name and os.path.isfile(name)]


class BuildPy(build_py):
    """Copies the package, and the resources into it."""

    def run(self) -> None:
        """Copy both; nothing for an editable installation."""
        super().run()
        if self.editable_mode:
            return
        # a file of an earlier build that is not in the checkout any more would stay
        shutil.rmtree(self._target(), ignore_errors=True)
        for name in resources():
            target = self._target() / name
            self.mkpath(str(target.parent))
            self.copy_file(name, str(target), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return every file that is written."""
        return [*super().get_outputs(include_bytecode), *(str(self._target() / name) for name in resources())]

    def get_source_files(self) -> list[str]:
        """Return every file that is read."""
        return [*super().get_source_files(), *resources()]

    def _target(self) -> Path:
        return Path(self.build_lib) / "pneumodet" / "resources"


class EditableWheel(editable_wheel):
    """Puts ``tools`` on Python's path, rather than a finder that is asked last.

    In the folder that holds the checkout, Python takes the checkout's own folder, ``pneumodet``, for a package without ``__init__.py``. What lies on the
    path comes before such a package, a finder does not: there ``import pneumodet`` would import an empty package. (Mapping all packages to ``tools`` in
    setup.cfg would do the same, but setuptools then looks there for this module, too.)
    """

    def finalize_options(self) -> None:
        """Name the folder of the package: setuptools chooses by it, and takes the finder for a package that is mapped by its own name."""
        self.distribution.package_dir = {"": "tools"}
        super().finalize_options()


class Sdist(sdist):
    """Packs the files that git has, as they are, and the metadata that Python's standard asks for."""

    def make_distribution(self) -> None:
        """Pack them."""
        files = tracked()
        if files is not None:
            metadata = [name for name in self.filelist.files if ".egg-info" in name]
            self.filelist.files = sorted({*files, *metadata})
        super().make_distribution()

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy them to where they are packed."""
        super().make_release_tree(base_dir, files)
        # setuptools has written it anew, without its comments
        shutil.copyfile("setup.cfg", Path(base_dir) / "setup.cfg")
