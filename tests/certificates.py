"""Certificates for tests of TLS, made by openssl when they are needed."""

import shutil
import subprocess

import pytest


def certificate(folder, name):
    """Write a certificate and its key for 127.0.0.1; return their paths."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    files = [folder / f"{name}.{end}" for end in ("pem", "key")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return files
