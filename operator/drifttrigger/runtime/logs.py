"""Log lines: JSON for machines, one readable line for people; the same keys in both."""

import logging
import sys
from typing import Any

from pythonjsonlogger.orjson import OrjsonFormatter

from drifttrigger.runtime.settings import LogFormat

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """One line: time, level, object, message, and the other keys as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        keys: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        where = "/".join(str(keys.pop(k)) for k in ("namespace", "object") if keys.get(k))
        text = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:<7} "
        text += f"{where}: " if where else ""
        text += record.getMessage()
        shown = {k: v for k, v in keys.items() if v not in (None, "") and not isinstance(v, dict)}
        text += "".join(f" {key}={value}" for key, value in shown.items())
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(log_format: LogFormat, level: str) -> None:
    """Send all log lines to standard error in one format; libraries speak from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format is LogFormat.JSON:
        handler.setFormatter(
            OrjsonFormatter(
                "%(levelname)s %(name)s %(message)s",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp=True,
            )
        )
    else:
        handler.setFormatter(TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("drifttrigger").setLevel(level)
    # The audit trail is complete whatever the level of the rest.
    logging.getLogger("drifttrigger.audit").setLevel(logging.INFO)
