"""TF_CONFIG, which names the processes that train together. TensorFlow is not needed to read it.

addresses, worker = workers()          # (("host-0:2222", "host-1:2222"), 1), or ((), 0) where the variable is not set
"""

import json
import os

from pneumodet.core.errors import ConfigError

TF_CONFIG = "TF_CONFIG"
"""Environment variable: {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}."""

_FORM = 'It is {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}.'


def workers() -> tuple[tuple[str, ...], int]:
    """Return (addresses of all workers, index of this one).

    Raises:
      ConfigError: TF_CONFIG cannot be read, or names another task than one of its workers.
    """
    text = os.environ.get(TF_CONFIG)
    if not text:
        return (), 0
    try:
        values = json.loads(text)
        addresses, kinds = tuple(map(str, values["cluster"]["worker"])), set(values["cluster"])
        kind, index = values["task"]["type"], int(values["task"]["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{TF_CONFIG} cannot be read ({error!r}). {_FORM}") from error
    if kinds != {"worker"} or kind != "worker" or not 0 <= index < len(addresses):
        raise ConfigError(f"{TF_CONFIG} names task {kind} {index} among {len(addresses)} workers; only workers from 0 on train. {_FORM}")
    return addresses, index
