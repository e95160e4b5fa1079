"""The files that come with the package: configs, label maps, the registry of checkpoints.

resources.ROOT / "configs" / "ssd_mobilenet.config"

In a checkout they stand in its top folders, where people edit them. A wheel carries a copy of them in pneumodet/resources (``deploy/building.py``).
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

CHECKOUT = PACKAGE.parents[1] if PACKAGE.parent.name == "tools" and (PACKAGE.parents[1] / "setup.cfg").is_file() else None
"""The checkout that this package stands in, also where it was installed from there as editable; None for a copy that pip made."""

ROOT = CHECKOUT or PACKAGE / "resources"
"""The folder that holds configs/, label_maps/ and pretrained/."""
