"""The machine and the files that come with pneumodet: label map, configs, disk, DICOM decoders.

list(check_files()); check_disk(paths.workspace_dir())
"""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pneumodet.core import installation, paths, resources
from pneumodet.core.errors import EnvironmentProblem, PneumodetError
from pneumodet.doctor.check import ERROR, INFO, OK, Check
from pneumodet.doctor.packages import SETUP_API

NEEDED_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5")
"""Transfer syntaxes that numpy and Pillow decode, so that every set-up must: uncompressed, JPEG Baseline, JPEG 2000 lossless, RLE."""

RARE_SYNTAXES = (
    ("JPEG Lossless", ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), "pip install python-gdcm"),
    ("JPEG-LS", ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), "pip install pyjpegls"),
    ("HTJ2K", ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"), "pip install pylibjpeg pylibjpeg-openjpeg"),
)
"""Name, UIDs and what decodes them, of syntaxes that hospital archives use and the RSNA data do not."""

LEAST_FREE_GB = 2.0
"""Disk space that a small run needs: records, a handful of checkpoints, an export."""


def check_files(*, label_map: Path | None = None, config_dir: Path | None = None) -> Iterator[Check]:
    """Check that the label map and every config that comes with the project can be read."""
    yield from check_label_map(label_map)
    config_dir = config_dir or paths.CONFIG_DIR
    configs = sorted(config_dir.glob("*.config"))
    if not configs:
        yield Check("configs", ERROR, f"there is none in {config_dir}", fix_files())
        return
    try:
        from pneumodet.models.detection import pipeline_config

        for path in configs:
            pipeline_config.load(str(path))
        yield Check("configs", OK, ", ".join(path.stem for path in configs))
    except (PneumodetError, ImportError) as error:
        fix = (
            SETUP_API if isinstance(error, EnvironmentProblem) else installation.repair() if isinstance(error, ImportError) else fix_files()
        )
        yield Check("configs", ERROR, str(error), fix)


def check_label_map(label_map: Path | None = None) -> Iterator[Check]:
    """Check that the label map can be read."""
    label_map = label_map or paths.DEFAULT_LABEL_MAP
    try:
        from pneumodet.data.label_map import read_label_map

        classes = ", ".join(f"{number} {name}" for name, number in read_label_map(label_map).items())
        yield Check("label map", OK, f"{label_map.name}: {classes}")
    except (PneumodetError, ImportError) as error:
        yield Check("label map", ERROR, str(error), fix_files())


def fix_files() -> str:
    """Return the command that brings back the files that come with pneumodet."""
    if resources.CHECKOUT is None:
        return installation.command(options="--force-reinstall --no-deps")
    return f"git -C {shlex.quote(str(resources.CHECKOUT))} checkout -- label_maps configs pretrained/registry.json"


def check_registry(folder: Path | None = None) -> Check:
    """Check that the registry of checkpoints can be read."""
    folder = folder or paths.PRETRAINED_DIR
    try:
        from pneumodet.models import checkpoint_registry

        return Check("checkpoints", OK, f"{len(checkpoint_registry.read(folder))} by name; downloads lie in {paths.downloads_dir()}")
    except (PneumodetError, ImportError) as error:
        return Check("checkpoints", ERROR, str(error), fix_files())


def check_disk(workspace: Path, *, usage: Callable[[Path], Any] = shutil.disk_usage) -> Check:
    """Check that the workspace, or the folder it would be made in, can be written and has room."""
    # a workspace that does not exist yet is made in the nearest folder above it that does
    folder = next(path for path in (workspace.absolute(), *workspace.absolute().parents) if path.exists())
    fix = "export PNEUMODET_WORKSPACE=/a/folder/with/room"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Check("workspace", ERROR, f"{workspace} cannot be written", fix)
    free = usage(folder).free / 1e9
    if free < LEAST_FREE_GB:
        return Check("workspace", ERROR, f"{workspace}: {free:.1f} GB free, {LEAST_FREE_GB:.0f} GB are needed", fix)
    return Check("workspace", OK, f"{workspace}: {free:.1f} GB free")


def decoders() -> dict[str, tuple[str, bool]]:
    """Return UID -> (name, whether pydicom decodes it here) of every transfer syntax that pydicom knows a decoder for."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    known = {}
    for uid in AllTransferSyntaxes:
        try:
            known[str(uid)] = (uid.name, get_decoder(uid).is_available)
        except NotImplementedError:
            continue  # a video, or another syntax without pixels that pydicom decodes
    return known


def check_decoders(query: Callable[[], dict[str, tuple[str, bool]]]) -> Iterator[Check]:
    """Check which DICOM transfer syntaxes can be decoded; ``query`` returns what ``decoders`` does."""
    try:
        known = query()
    except ImportError as error:
        yield Check("DICOM decoders", ERROR, f"pydicom cannot be imported ({error})", "pip install 'pydicom>=3.0'")
        return
    # a UID that pydicom does not know counts as not decoded, and is named by its number
    missing = [known.get(uid, (uid, False))[0] for uid in NEEDED_SYNTAXES if not known.get(uid, ("", False))[1]]
    if missing:
        yield Check("DICOM decoders", ERROR, f"cannot decode {', '.join(missing)}", "pip install --force-reinstall numpy pillow pydicom")
    else:
        yield Check("DICOM decoders", OK, f"{sum(works for _, works in known.values())} of {len(known)} transfer syntaxes, all usual ones")
    rare = [f"{name} ({fix})" for name, uids, fix in RARE_SYNTAXES if not all(known.get(uid, ("", False))[1] for uid in uids)]
    if rare:
        yield Check("DICOM decoders", INFO, f"not decoded: {', '.join(rare)}")


def has_nvidia_gpu() -> bool:
    """Whether the system has an NVIDIA GPU, whether or not TensorFlow uses it."""
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()  # dxg: Windows' GPU seen from WSL 2


def memory() -> str:
    """Return ", 32 GB of memory", nothing where the system does not say."""
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory"
    except (AttributeError, OSError, ValueError):
        return ""  # no such numbers on this system
