"""The operator's own /metrics at one instant, and what lies between two of them.

Read by hand: at 10,000 triggers a page has 40,000 lines, and a parser of the whole format would
cost more than what is measured.
"""

import http.client
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

_TIMEOUT_SECONDS = 60.0
_OF_TRIGGERS = ("drifttrigger_threshold{", "drifttrigger_drifted{", "drifttrigger_ready{")
_SCORE = re.compile(r'drifttrigger_score\{namespace="([^"]*)",trigger="([^"]*)"\} (\S+)')
_BUCKET = re.compile(r'.*le="([^"]+)"')
Trigger = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of what a histogram took in between two instants.

    Attributes:
        value: Interpolated within its bucket; 0 when nothing came.
        bound: Upper bound of its bucket: it is certainly no more.
        count: How much came.
    """

    value: float
    bound: float
    count: float


@dataclass(frozen=True, slots=True)
class Scraped:
    """One page of metrics.

    Attributes:
        numbers: Series as they are written, without those of triggers.
        scores: Newest score by trigger, of the triggers that this process has evaluated.
    """

    numbers: Mapping[str, float]
    scores: Mapping[Trigger, float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text format."""
        numbers: dict[str, float] = {}
        scores: dict[Trigger, float] = {}
        for line in text.splitlines():
            if line.startswith(("#", *_OF_TRIGGERS)):
                continue
            if match := _SCORE.fullmatch(line):
                scores[match[1], match[2]] = float(match[3])
                continue
            series, _, value = line.rpartition(" ")
            numbers[series] = float(value)
        return cls(numbers, scores)

    @classmethod
    def read(cls, address: str) -> Self:
        """Scrape `host:port`.

        Raises:
            OSError: Nobody answers there.
        """
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            body = response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{address} broke off: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ConnectionError(f"{address} answered {response.status}")
        return cls.parse(body)

    def total(self, name: str) -> float | None:
        """Add up all series of a name; None where there is none."""
        found = [n for s, n in self.numbers.items() if s == name or s.startswith(name + "{")]
        return sum(found) if found else None

    def buckets(self, name: str) -> list[tuple[float, float]]:
        """List upper bounds and counts of a histogram, as Prometheus accumulates them."""
        start = f"{name}_bucket{{"
        found = [(_BUCKET.match(s), n) for s, n in self.numbers.items() if s.startswith(start)]
        return sorted((float(match[1]), number) for match, number in found if match)


def between(name: str, earlier: Sequence[Scraped], later: Sequence[Scraped]) -> float:
    """Tell how much a counter grew, in all processes together; absent series count as 0."""
    first = sum(page.total(name) or 0.0 for page in earlier)
    return sum(page.total(name) or 0.0 for page in later) - first


def quantile(
    name: str, earlier: Sequence[Scraped], later: Sequence[Scraped], *, share: float
) -> Quantile:
    """Estimate a quantile of what came between, in all processes together.

    As PromQL's histogram_quantile: linear within a bucket, the highest finite bound beyond it.

    Args:
        name: Of the histogram.
        earlier: Pages at the beginning, one per process.
        later: Pages at the end.
        share: 0.99 for the 99th percentile.
    """
    counts: dict[float, float] = {}
    for pages, sign in ((earlier, -1), (later, 1)):
        for page in pages:
            for bound, number in page.buckets(name):
                counts[bound] = counts.get(bound, 0.0) + sign * number
    total = counts.get(float("inf"), 0.0)
    rank = share * total
    low, below = 0.0, 0.0
    for bound in sorted(counts) if total else ():
        if counts[bound] >= rank:
            if bound == float("inf"):
                return Quantile(low, bound, total)
            inside = counts[bound] - below
            value = low + (bound - low) * (rank - below) / inside if inside else bound
            return Quantile(value, bound, total)
        low, below = bound, counts[bound]
    return Quantile(0.0, 0.0, 0.0)
