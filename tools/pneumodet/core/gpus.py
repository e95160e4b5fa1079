"""The GPUs of this machine, as NVIDIA's own tool lists them: known before TensorFlow starts, and without it.

count(), free_bytes()          # 1, [24_000_000_000]
"""

import subprocess

SECONDS = 20
"""How long nvidia-smi may take."""


def count() -> int:
    """Return the number of GPUs."""
    return len(free_bytes())


def free_bytes() -> list[int]:
    """Return free bytes of each GPU; none where there is none that could be asked."""
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
        return [int(line) << 20 for line in text.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
