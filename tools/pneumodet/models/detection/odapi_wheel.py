"""The Object Detection API as a wheel with requirements that are true: the command ``setup-api`` makes it and pip installs it.

    wheel = build(fetch(folder), folder)     # folder/tf_object_detection_api-0.1+pneumodet.1-py3-none-any.whl
    install(wheel)

The source distribution on PyPI asks for what nothing here uses or what breaks other packages: apache-beam, tensorflow-io (which has no wheel for
Python 3.13), pyparsing 2.4.7, a second OpenCV by way of lvis, and the whole of tf-models-official, which allows one minor release of TensorFlow.
None of that can be said to pip in pneumodet's own metadata. So the released archives are fetched by pip, checked by their hashes, and packed
again: the code is theirs, unchanged, and only the list of requirements is ours. A local version label (PEP 440) marks it as a rebuild;
``tf-object-detection-api==0.1`` still matches it.

This module needs the standard library alone, and pip in another process.
"""

import base64
import dataclasses
import fnmatch
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumodet.core import paths
from pneumodet.core.errors import DataError, EnvironmentProblem

DISTRIBUTION = "tf-object-detection-api"
"""The distribution whose release 0.1 is bridged; others that install ``object_detection`` are not."""

VERSION = "0.1+pneumodet.1"
"""Of the rebuilt wheel; the last number rises with what is packed."""

BRIDGED = (VERSION, "0.1")
"""Versions of the distribution that ``odapi`` takes: the rebuilt one, and that of PyPI, which has the same modules, where it could be installed."""

PARTS = "object_detection_parts"
"""The folder beside ``object_detection`` with the modules of ``official`` and ``lvis`` that it imports: apart, so that neither collides with an
installed tf-models-official or lvis. The bridge ``parts`` of ``odapi`` lets them be imported."""

REQUIRES = (
    "absl-py",
    "contextlib2",
    "matplotlib",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "protobuf",
    "pycocotools",
    "pyyaml",
    "scipy",
    "six",
    "tensorflow>=2.20,<2.22",
    "tf-keras>=2.20,<2.22",
    "tf-slim==1.1.0",
)
"""What the modules import that ``odapi`` loads, and the API's dataset tools (contextlib2). The extra [train] names each of them, too, which a test compares."""

_WHEEL = f"tf_object_detection_api-{VERSION}-py3-none-any.whl"
_INFO = f"tf_object_detection_api-{VERSION}.dist-info"


@dataclasses.dataclass(frozen=True)
class Archive:
    """A release on PyPI, and what of it is packed.

    Attributes:
      name: of the distribution.
      version: of the release.
      file: its name on PyPI.
      sha256: of that file, 64 hex digits.
      root: the folder within the archive that holds ``members``; "" for the archive itself.
      members: patterns of paths below ``root``; ``*`` also matches slashes.
      target: the folder of the wheel into which they go; "" for site-packages itself.
      licence: the path of the licence within the archive.
    """

    name: str
    version: str
    file: str
    sha256: str
    root: str
    members: tuple[str, ...]
    target: str
    licence: str


ARCHIVES = (
    Archive(
        name=DISTRIBUTION,
        version="0.1",
        file="tf_object_detection_api-0.1.tar.gz",
        sha256="84218d7f72d48d2a9035df044880694627baf1e9845ecc63a25b03190cd58257",
        root="tf_object_detection_api-0.1",
        # not slim, which TensorFlow 1 needed, and which pip would put beside it under names such as "datasets" and "preprocessing"
        members=("object_detection/*",),
        target="",
        licence="tf_object_detection_api-0.1/LICENSE",
    ),
    Archive(
        name="tf-models-official",
        version="2.20.0",
        file="tf_models_official-2.20.0-py2.py3-none-any.whl",
        sha256="0bf173f9ea83e1a83f983b35fe515e9d9bfd294b27538f6e8806afeb5a069150",
        root="",
        # the moving average of optimizer_builder and the backbone of EfficientDet, with what these two import. Without optimization/__init__.py,
        # which imports all other optimizers, the folder is a namespace package.
        members=(
            "official/__init__.py",
            "official/legacy/__init__.py",
            "official/legacy/image_classification/__init__.py",
            "official/legacy/image_classification/augment.py",
            "official/legacy/image_classification/preprocessing.py",
            "official/legacy/image_classification/efficientnet/__init__.py",
            "official/legacy/image_classification/efficientnet/common_modules.py",
            "official/legacy/image_classification/efficientnet/efficientnet_model.py",
            "official/modeling/__init__.py",
            "official/modeling/activations/__init__.py",
            "official/modeling/activations/gelu.py",
            "official/modeling/activations/mish.py",
            "official/modeling/activations/relu.py",
            "official/modeling/activations/sigmoid.py",
            "official/modeling/activations/swish.py",
            "official/modeling/hyperparams/__init__.py",
            "official/modeling/hyperparams/base_config.py",
            "official/modeling/hyperparams/oneof.py",
            "official/modeling/hyperparams/params_dict.py",
            "official/modeling/optimization/ema_optimizer.py",
            "official/modeling/tf_utils.py",
        ),
        target=PARTS,
        licence="tf_models_official-2.20.0.dist-info/licenses/LICENSE",
    ),
    Archive(
        name="lvis",
        version="0.5.3",
        file="lvis-0.5.3-py3-none-any.whl",
        sha256="4f07153330df342b3161fafb46641ce7c02864113a8ddf0d6ffab6b02407bef0",
        root="",
        members=("lvis/*",),
        target=PARTS,
        licence="lvis-0.5.3.dist-info/LICENSE",
    ),
)
"""All that is packed: 4 MB to fetch, Apache-2.0 but for lvis, which is BSD-2-Clause."""


def fetch(folder: Path) -> Path:
    """Have pip download ``ARCHIVES`` from the index that it is set up for (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf).

    Args:
      folder: where the archives go; it must exist.

    Returns:
      ``folder``.

    Raises:
      EnvironmentProblem: there is no pip, or no connection, or the index serves other bytes than those that are known.
    """
    requirements = folder / "requirements.txt"
    lines = [f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in ARCHIVES]
    requirements.write_text("".join(lines), encoding="utf-8")
    _pip(
        ["download", "--no-deps", "--require-hashes", "--dest", str(folder), "--requirement", str(requirements)],
        failed="The Object Detection API could not be fetched",
        hint="Check the connection; pip's own settings for an index or a proxy apply. For a machine without network run "
        "'pneumodet setup-api --wheel-dir DIR' on another one, and 'pip install --no-deps' what it writes on this one",
    )
    return folder


def build(archives: Path, output_dir: Path) -> Path:
    """Pack the parts of ``ARCHIVES`` as a wheel; the same archives give the same bytes.

    Args:
      archives: the folder that holds them.
      output_dir: where the wheel is written; it is made where it does not exist.

    Returns:
      The wheel's path.

    Raises:
      DataError: an archive is missing, has other contents than those that are known, or the wheel cannot be written.
    """
    contents: dict[str, bytes] = {}
    for archive in ARCHIVES:
        for name, data in _members(archive, _checked(archives / archive.file, archive)):
            path = name.removeprefix(f"{archive.root}/")
            if name == archive.licence:
                contents[f"{_INFO}/licenses/{archive.name}/LICENSE"] = data
            elif any(fnmatch.fnmatchcase(path, pattern) for pattern in archive.members):
                contents[f"{archive.target}/{path}".lstrip("/")] = data
    contents[f"{_INFO}/METADATA"] = _metadata().encode()
    contents[f"{_INFO}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: pneumodet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{_INFO}/RECORD"] = _record(contents).encode()
    wheel = output_dir / _WHEEL
    with paths.atomic_path(wheel) as tmp, zipfile.ZipFile(tmp, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in contents.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return wheel


def install(wheel: Path) -> None:
    """Install a wheel of ``build`` into the environment that runs this; an installed release of the API is taken out before.

    Raises:
      EnvironmentProblem: there is no pip, or pip may not write there.
    """
    _pip(
        # forced, because one that was damaged has the same version; without dependencies, which pip install pneumodet[train] brought
        ["install", "--no-deps", "--force-reinstall", str(wheel)],
        failed="The Object Detection API could not be installed",
        hint="If this Python is the system's own, make a virtual environment: python -m venv .venv",
    )


def _pip(arguments: Sequence[str], *, failed: str, hint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        raise EnvironmentProblem(f"{failed}: this Python has no pip. Run '{sys.executable} -m ensurepip', then again.")
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:] or ["pip gave no reason"]
    raise EnvironmentProblem(f"{failed}: {errors[0].rstrip('.')}. {hint}.")


def _checked(path: Path, archive: Archive) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. 'pneumodet setup-api' fetches it.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != archive.sha256:
        raise DataError(
            f"{path} is not {archive.name} {archive.version} as released: SHA-256 {digest}, expected {archive.sha256}. Fetch it again."
        )
    return data


def _members(archive: Archive, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and contents of each file; the hash was checked, so that no path leads outside."""
    if archive.file.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            yield from ((name, file.read(name)) for name in sorted(file.namelist()) if not name.endswith("/"))
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            handle = tar.extractfile(member)
            if handle is not None:
                yield member.name, handle.read()


def _metadata() -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {DISTRIBUTION}",
        f"Version: {VERSION}",
        "Summary: TensorFlow Object Detection API 0.1, rebuilt with the requirements that its TensorFlow 2 part has",
        "License-Expression: Apache-2.0 AND BSD-2-Clause",
        *(f"License-File: {archive.name}/LICENSE" for archive in ARCHIVES),
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIRES),
    ]
    origin = ", ".join(f"{archive.name} {archive.version}" for archive in ARCHIVES)
    return "\n".join(lines) + f"\n\nPacked by pneumodet from {origin}, whose files are unchanged.\n"


def _record(contents: dict[str, bytes]) -> str:
    """Return RECORD: path, SHA-256 in URL-safe base64 without padding, and size of each file (PyPA, binary distribution format)."""
    rows = []
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join(rows) + f"{_INFO}/RECORD,,\n"
