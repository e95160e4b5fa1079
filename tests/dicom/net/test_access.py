"""Credentials and TLS: from the environment only, whole, and not to be seen."""

import ssl

import pytest

from pneumodet.core.errors import ConfigError
from pneumodet.dicom.net import access


def test_secrets_are_not_in_the_repr():
    result = access.read({"PNEUMODET_PACS_USER": "worker", "PNEUMODET_PACS_PASSWORD": "hush"})
    assert (result.user, result.password) == ("worker", "hush")
    assert "hush" not in repr(result)
    assert "hush" not in repr(access.read({"PNEUMODET_PACS_TOKEN": "hush"}))


def test_secrets_come_from_files_as_docker_gives_them(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    result = access.read({"PNEUMODET_PACS_USER": "worker", "PNEUMODET_PACS_PASSWORD_FILE": str(tmp_path / "secret"), "PATH": "/bin"})
    assert result.password == "hush"


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        pytest.param({"USER": "worker"}, "belong together", id="no-password"),
        pytest.param({"PASSWORD": "hush"}, "belong together", id="no-user"),
        pytest.param({"USER": "worker", "PASSWORD": "hush", "TOKEN": "hush"}, "Set one of them", id="both"),
        pytest.param({"TOKEN": "hush", "TOKEN_FILE": __file__}, "Set one of them", id="twice"),
        pytest.param({"TOKEN_FILE": "/nowhere"}, "names a file that is not there", id="no-file"),
        pytest.param({"CA": "/nowhere"}, "names a file that is not there", id="no-ca"),
        pytest.param({"PASWORD": "hush"}, "PNEUMODET_PACS_PASWORD is not known", id="typing-error"),
    ],
)
def test_halves_and_typing_errors_are_refused(environ, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        access.read({access.PREFIX + name: value for name, value in environ.items()})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("https://user:hush@pacs.example/dicom-web", "holds a user or password", id="credentials"),
        pytest.param("http://pacs.example/dicom-web", "without TLS", id="plain"),
        pytest.param("http://127.0.0.1.example/dicom-web", "without TLS", id="looks-like-loopback"),
        pytest.param("ftp://pacs.example", "must look like", id="ftp"),
        pytest.param("https://pacs.example/dicom-web?key=hush", "must look like", id="query"),
        pytest.param("pacs.example/dicom-web", "must look like", id="no-scheme"),
        pytest.param("https://[::1", "cannot be read", id="brackets"),
        pytest.param("https://pacs.example:99999/", "cannot be read", id="port"),
    ],
)
def test_urls_that_are_refused(url, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        access.Access().check_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://pacs.example/dicom-web/", "http://127.0.0.1:8042/dicom-web", "http://[::1]:8042/x", "http://localhost:1"]
)
def test_urls_that_are_taken(url):
    assert access.Access().check_url(url) == url.rstrip("/")


def test_plain_http_is_allowed_by_name_only():
    result = access.read({"PNEUMODET_PACS_PLAIN_HTTP": "1"})
    assert result.check_url("http://orthanc:8042/dicom-web") == "http://orthanc:8042/dicom-web"
    assert not access.read({"PNEUMODET_PACS_PLAIN_HTTP": "0"}).plain_http


def test_certificates_are_always_checked(tmp_path):
    context = access.Access().client_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    (tmp_path / "broken.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used"):
        access.Access(ca=tmp_path / "broken.pem").client_context()
    with pytest.raises(ConfigError, match="needs a certificate"):
        access.Access().server_context()
