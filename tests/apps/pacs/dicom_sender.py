"""A modality that sends by C-STORE, with pynetdicom."""

import socket
from io import BytesIO

import pydicom


def free_port():
    """Return a port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def send(peer, data, *, title="MODALITY", called=None, tls=None):
    """Return the status of a C-STORE, or None where there was no association or it ended."""
    import pynetdicom

    dataset = pydicom.dcmread(BytesIO(data))
    entity = pynetdicom.AE(ae_title=title)
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate(peer.host, peer.port, ae_title=called or peer.title, tls_args=tls)
    if not association.is_established:
        return None
    try:
        return association.send_c_store(dataset).get("Status")
    finally:
        if association.is_established:
            association.release()


def echo(peer, *, title="MODALITY", tls=None):
    """Return the status of a C-ECHO, or why there was no association."""
    import pynetdicom

    entity = pynetdicom.AE(ae_title=title)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=tls)
    if not association.is_established:
        return "rejected" if association.is_rejected else "no association"
    try:
        return association.send_c_echo().get("Status")
    finally:
        association.release()
