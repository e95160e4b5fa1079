"""Names shared by everything that writes or reads COCO files."""

import hashlib


def image_id(patient_id: str) -> int:
    """Return the COCO image id of an exam: the first 48 bits of SHA-256 of its patientId.

    The same exam has the same id in instances.json and in any detections.json, wherever and whenever they are written,
    and the number fits a JSON double exactly.
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:6], "big")
