"""benchmarks/soak.py: its service is one that the worker's client understands, and a short soak loses nothing."""

import benchmark_modules
import numpy as np
import pytest

from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.dicomweb import DicomwebClient
from pneumodet.dicom.net.errors import Trouble
from pneumodet.dicom.net.transport import Limits


@pytest.fixture
def soak():
    return benchmark_modules.load("soak")


def test_the_service_is_dicomweb_and_counts_reports(soak, monkeypatch):
    monkeypatch.setattr(soak.soak_peer, "DRIP_SECONDS", 0.2)
    peer = soak.soak_peer.Peer()
    peer.start()
    try:
        client = DicomwebClient(f"{peer.url}/dicom-web", Access(), limits=Limits(request_seconds=5.0))
        study, uid, one = soak.radiograph(np.random.default_rng(0))
        data = soak.encoded(one)
        peer.put(data)
        (listed,) = client.instances("CR", since=None)
        assert (listed.study_uid, listed.sop_uid, client.fetch(listed.study_uid, listed.series_uid, uid)) == (study, uid, data)
        one.Modality, one.SOPInstanceUID = "SR", "1.2.3"
        for _ in range(2):
            client.store(study, [soak.encoded(one)])
        assert client.has(study, "1.2.3")
        assert peer.reports_of(study) == {"1.2.3": 2}
        peer.bad = 1.0
        with pytest.raises(Trouble):
            client.probe()
            client.fetch(study, listed.series_uid, uid)
    finally:
        peer.kill()


@pytest.mark.slow
def test_a_short_soak_loses_nothing(soak, tmp_path, capsys, monkeypatch):
    pytest.importorskip("pynetdicom")
    monkeypatch.setattr("sys.argv", ["soak.py", "--minutes", "0.4", "--out", str(tmp_path / "out")])
    assert soak.main() == 0
    assert "| lost | 0 |" in capsys.readouterr().out
