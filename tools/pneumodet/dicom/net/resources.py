"""URLs of DICOMweb resources (PS3.18 10.1): a service's studies, a study, a series, or an instance.

resource = Resource.of("https://pacs.example/dicom-web/studies?StudyDate=20260101-", access)
resource.base, resource.query                         # "https://pacs.example/dicom-web", "StudyDate=20260101-"
"""

import dataclasses
import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pneumodet.core.errors import ConfigError
from pneumodet.dicom.elements import is_uid
from pneumodet.dicom.net.access import Access

_PATH = re.compile(r"^(?P<base>.*)/studies(?:/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?)?/?$")


@dataclasses.dataclass(frozen=True)
class Resource:
    """What a URL names.

    Attributes:
      base: URL of the service, which ends before ``/studies``.
      study: StudyInstanceUID, or None for all studies that fit the query.
      series: SeriesInstanceUID, or None.
      instance: SOPInstanceUID, or None.
      query: of a search for studies, without ``?``; may be empty.
    """

    base: str
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    query: str = ""

    @classmethod
    def of(cls, url: str, access: Access) -> "Resource":
        """Return what a URL names.

        Raises:
          ConfigError: it is no URL of DICOMweb, has credentials in it, or leads to another machine without TLS.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # such as [ without ]
            raise ConfigError(f"The URL {url!r} cannot be read. It looks like https://pacs.example/dicom-web/studies.") from None
        bare = access.check_url(urlunsplit(parts._replace(query="", fragment="")))
        matched = _PATH.match(bare)
        if matched is None:
            raise ConfigError(
                f"{bare} is no DICOMweb URL. It must end in /studies, /studies/UID, /studies/UID/series/UID or /studies/UID/series/UID/instances/UID."
            )
        if {"limit", "offset"} & {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}:
            raise ConfigError(f"Leave limit and offset out of the query {parts.query!r}: all pages are asked for.")
        wrong = next((uid for uid in (matched["study"], matched["series"], matched["instance"]) if uid and not is_uid(uid)), None)
        if wrong:
            raise ConfigError(f"{wrong!r} in {bare} is no DICOM UID.")
        return cls(**matched.groupdict(), query=parts.query)
