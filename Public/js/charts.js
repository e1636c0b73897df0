// Line charts: the only file that knows the charting library (dygraphs, from Debian's libjs-dygraphs).
import { fill, h, setText } from "./dom.js";
import * as format from "./format.js";

const Dygraph = globalThis.Dygraph;
// The library's own legend writes style attributes, which our content security policy refuses.
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);

const cssColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Charts whose colours must follow when the system changes between light and dark. */
const shown = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const repaint of shown) repaint();
});

/**
 * A chart of lines over a common x axis.
 *
 * `update(lines, range)` takes `[{label, xs, values, isSmoothed}]` and the ends of the x axis; a smoothed
 * line is drawn bold over its faint raw values. `y` and `x` write a value, `axis` one beside the y axis.
 */
export function lineChart({ y, axis = y, x = format.short, isSmall = false, startsAtZero = false }) {
  const plot = h("div", { class: "plot" });
  const legend = h("div", { class: "legend", hidden: isSmall });
  const nothing = h("div", { class: "empty-plot" }, "no values yet");
  const element = h("figure", { class: isSmall ? "chart small" : "chart" }, legend, plot, nothing);
  let graph = null;
  let lines = [];
  let range = [];
  let isLogarithmic = false;

  const resizing = new ResizeObserver(() => {
    if (graph && plot.clientWidth > 0) graph.resize();
  });

  function options() {
    const drawn = drawnLines(lines);
    const series = {};
    for (const line of drawn) {
      series[line.label] = {
        color: line.isFaint ? faint(line.color) : line.color,
        strokeWidth: line.isFaint ? 1 : isSmall ? 1.4 : 2,
        drawPoints: line.values.length < (isSmall ? 2 : 40), pointSize: isSmall ? 2 : 3,
        highlightCircleSize: line.isFaint ? 0 : isSmall ? 2.5 : 4,
      };
    }
    return {
      labels: ["x", ...drawn.map((line) => line.label)], series, logscale: isLogarithmic,
      connectSeparatedPoints: true, includeZero: startsAtZero && !isLogarithmic,
      gridLineColor: cssColor("--grid"), axisLineColor: cssColor("--line-strong"), gridLineWidth: 1,
      xRangePad: 5, yRangePad: 8, rightGap: 12, animatedZooms: false,
      axes: {
        x: { axisLabelFormatter: (value) => x(value), pixelsPerLabel: isSmall ? 56 : 70, drawGrid: false },
        y: {
          axisLabelFormatter: (value) => axis(value), axisLabelWidth: 58, pixelsPerLabel: isSmall ? 22 : 36,
        },
      },
      highlightCallback: (_event, at, points) => showLegend(at, points),
      unhighlightCallback: () => showLegend(null, []),
    };
  }

  function showLegend(at, points) {
    if (isSmall) return;
    const keys = lines.map((line, index) => {
      const point = points.find((candidate) => candidate.name === line.label);
      const value = point ? point.yval : line.values.at(-1);
      return h("span", { class: `key c${index + 1}` }, line.label, h("b", {}, y(value)));
    });
    fill(legend, keys, at === null ? null : h("span", {}, `at ${x(at)}`));
  }

  function draw() {
    const isEmpty = lines.every((line) => line.values.length === 0);
    nothing.hidden = !isEmpty;
    showLegend(null, []);
    if (isEmpty || plot.clientWidth === 0) return;
    const file = table(drawnLines(lines), range);
    if (graph) {
      graph.updateOptions({ file, ...options() });
    } else {
      graph = new Dygraph(plot, file, options());
      resizing.observe(plot);
    }
  }

  shown.add(draw);
  return {
    element,
    update(next, nextRange = []) {
      lines = next;
      range = nextRange;
      draw();
    },
    setLogarithmic(isOn) {
      isLogarithmic = isOn;
      draw();
    },
    destroy() {
      shown.delete(draw);
      resizing.disconnect();
      graph?.destroy();
      graph = null;
    },
  };
}

/** A small chart with its name and latest value above it. */
export function sparkChart(title, y, x) {
  const chart = lineChart({ y, x, isSmall: true, startsAtZero: true });
  const now = h("div", { class: "now" }, "–");
  return {
    element: h("div", {}, h("h3", {}, title), now, chart.element),
    update(line) {
      setText(now, y(line.values.at(-1)));
      chart.update([{ label: title, ...line }]);
    },
    destroy: chart.destroy,
  };
}

/** The lines with each smoothed one split into its faint raw values and its bold mean. */
function drawnLines(lines) {
  return lines.flatMap((line) => {
    const color = cssColor(`--curve-${(lines.indexOf(line) % 4) + 1}`);
    if (!line.isSmoothed || line.values.length < 30) return [{ ...line, color }];
    const raw = { ...line, color, isFaint: true };
    return [raw, { ...line, color, label: `${line.label} (smoothed)`, values: smoothed(line.values) }];
  });
}

/** The mean over a fortieth of the points around each one; centred, so that it does not lag behind. */
function smoothed(values) {
  const reach = Math.max(1, Math.round(values.length / 80));
  return values.map((_, index) => {
    const side = Math.min(reach, index, values.length - 1 - index);
    const near = values.slice(index - side, index + side + 1).filter(Number.isFinite);
    return near.length > 0 ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
  });
}

/** Rows `[x, y1, y2, ...]` over the union of `range` and all x values; null where a line has no value. */
function table(lines, range) {
  const rows = new Map(range.map((at) => [at, [at, ...lines.map(() => null)]]));
  lines.forEach((line, column) => {
    line.xs.forEach((at, index) => {
      if (!rows.has(at)) rows.set(at, [at, ...lines.map(() => null)]);
      const value = line.values[index];
      rows.get(at)[column + 1] = Number.isFinite(value) ? value : null;
    });
  });
  return [...rows.values()].sort((one, other) => one[0] - other[0]);
}

/** The same colour at a third of its strength. */
function faint(color) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, 0.32)`;
}
