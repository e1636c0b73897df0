#!/usr/bin/env python3
"""Draws a job's curves on the terminal: reads the answer of /v1/jobs/{id}/metrics, writes a chart in Braille dots."""

import json
import sys

COLUMNS, ROWS = 64, 12
# Braille: each character is 2 dots wide and 4 high; the bit of dot (x, y).
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
MEAN_OVER = 25


def smoothed(values):
    """The mean over a few neighbours: single batches are noisy."""
    reach = max(1, len(values) // MEAN_OVER) // 2
    parts = [values[max(0, index - reach):index + reach + 1] for index in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def draw(curves, is_braille):
    """The chart's lines; `curves` are `[(steps, values)]`."""
    first, last = 0, max(max(steps) for steps, _ in curves)
    low = min(min(values) for _, values in curves)
    high = max(max(values) for _, values in curves)
    width, height = (COLUMNS * 2, ROWS * 4) if is_braille else (COLUMNS, ROWS)
    dots = set()
    for steps, values in curves:
        xs = [(step - first) / max(1, last - first) * (width - 1) for step in steps]
        ys = [(high - value) / (high - low or 1) * (height - 1) for value in values]
        places = list(zip(xs, ys))
        for (left, top), (right, bottom) in zip(places, places[1:] or places):
            count = int(max(abs(right - left), abs(bottom - top))) + 1
            for index in range(count + 1):
                share = index / count
                dots.add((round(left + (right - left) * share), round(top + (bottom - top) * share)))
    lines = []
    for row in range(ROWS):
        if is_braille:
            cells = (sum(BITS[y][x] for y in range(4) for x in range(2) if (column * 2 + x, row * 4 + y) in dots)
                     for column in range(COLUMNS))
            text = "".join(chr(0x2800 + cell) for cell in cells)
        else:
            text = "".join("*" if (column, row) in dots else " " for column in range(COLUMNS))
        label = f"{high - (high - low) * row / (ROWS - 1):8.3f}" if row % 3 == 0 or row == ROWS - 1 else " " * 8
        lines.append(f"{label} |{text}")
    lines.append(" " * 9 + "+" + "-" * COLUMNS)
    lines.append(" " * 10 + f"{first:<{COLUMNS - 12}}{last:>12} steps")
    return lines


def main():
    series = json.load(sys.stdin)["series"]
    curves = []
    for name, curve in series.items():
        pairs = [(step, value) for step, value in zip(curve["steps"], curve["values"]) if value is not None]
        if pairs:
            steps, values = map(list, zip(*pairs))
            curves.append((steps, smoothed(values) if name.startswith("train") else values))
    if not curves:
        sys.exit("curve: no points")
    is_braille = (sys.stdout.encoding or "").lower().startswith("utf")
    print("   loss: training (smoothed) and validation")
    for line in draw(curves, is_braille):
        print("   " + line)


if __name__ == "__main__":
    main()
