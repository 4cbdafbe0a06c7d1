"""A small chart of scores for a terminal."""

from collections.abc import Sequence

from rich.text import Text

ROWS = 8
_TOP = 0.3
_AXIS = 5
_POINT, _LINE = "●", "╌"


def chart(scores: Sequence[float], *, threshold: float, width: int) -> Text:
    """Draw scores by step, and the threshold as a dashed line.

    Args:
        scores: By step; the newest that fit are drawn.
        threshold: θ.
        width: Columns in all.
    """
    room = width - _AXIS
    spacing = 2 if len(scores) * 2 <= room else 1
    shown = scores[-(room // spacing) :]
    top = max([_TOP, *shown])
    line = _row(threshold, top)
    points = [_beside(_row(score, top), line, score - threshold) for score in shown]
    text = Text(no_wrap=True)
    for row in reversed(range(ROWS)):
        is_line = row == line
        text.append(f"{threshold if is_line else row * top / (ROWS - 1):4.2f} ", style="dim")
        for column in range(room):
            step, between = divmod(column, spacing)
            if not between and step < len(shown) and points[step] == row:
                text.append(_POINT, style="red" if shown[step] > threshold else "cyan")
            else:
                text.append(_LINE if is_line else " ", style="yellow")
        text.append("\n")
    return text


def _row(score: float, top: float) -> int:
    return round(score / top * (ROWS - 1))


def _beside(row: int, line: int, distance: float) -> int:
    """Keep a score that is not the threshold off its line, on the side where it belongs."""
    if row != line or not distance:
        return row
    return line + 1 if distance > 0 else line - 1
