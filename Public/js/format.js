// Numbers and times as people read them; every function takes null and answers with a dash.

const dash = "–";
const isMissing = (value) => value === null || value === undefined || Number.isNaN(value);

/** 12345.678 -> "12,346"; `digits` after the point. */
export function number(value, digits = 0) {
  if (isMissing(value)) return dash;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Four significant digits, plain where that is readable: 0.2513, 12.43, 1.2e-5. */
export function significant(value) {
  if (isMissing(value)) return dash;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(2).replace("e+", "e");
  if (size >= 1000) return number(value);
  return size < 1 ? String(Number(value.toPrecision(4))) : value.toPrecision(4);
}

/** 0.9124 -> "91.24 %". */
export function percent(fraction, digits = 2) {
  return isMissing(fraction) ? dash : `${(fraction * 100).toFixed(digits)} %`;
}

/** A label on an axis: three digits at most and no trailing zeros. */
export function axis(value) {
  return Math.abs(value) >= 1000 ? short(value) : String(Number(value.toPrecision(3)));
}

/** A share's label on an axis: "87.25 %", "90 %". */
export function axisPercent(fraction) {
  return `${Number((fraction * 100).toFixed(2))} %`;
}

/** 431080 -> "431 k", 2293000 -> "2.29 M". */
export function short(value) {
  if (isMissing(value)) return dash;
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return number(value, Number.isInteger(value) ? 0 : 1);
}

/** 123456789 -> "118 MiB". */
export function bytes(value) {
  if (isMissing(value)) return dash;
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return `${number(value)} B`;
}

/** 2210.4 -> "2.21 kJ". */
export function joules(value) {
  if (isMissing(value)) return dash;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} MJ`;
  return value >= 1000 ? `${(value / 1000).toFixed(2)} kJ` : `${value.toFixed(value < 10 ? 1 : 0)} J`;
}

/** 96.1 -> "1:36", 4000 -> "1:06:40", 4.2 -> "4.2 s". */
export function duration(seconds) {
  if (isMissing(seconds)) return dash;
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
  const days = Math.floor(whole / 86400);
  const minutes = two(Math.floor((whole % 3600) / 60));
  const time = `${Math.floor((whole % 86400) / 3600)}:${minutes}:${two(whole % 60)}`;
  return days > 0 ? `${days} d ${time}` : time;
}

/** Unix seconds -> "just now", "5 min ago", "3 h ago", else the date. */
export function ago(at) {
  if (isMissing(at)) return dash;
  const seconds = Date.now() / 1000 - at;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(at * 1000).toLocaleDateString("en-CA");
}

/** Unix seconds -> "14:03:27". */
export function clock(at) {
  return isMissing(at) ? dash : new Date(at * 1000).toLocaleTimeString("en-GB");
}

/** Unix seconds -> "2026-11-21 14:03:27". */
export function moment(at) {
  return isMissing(at) ? dash : `${new Date(at * 1000).toLocaleDateString("en-CA")} ${clock(at)}`;
}

/** "job_01JD…3C1F": enough of an id to tell two apart. */
export function shortID(id) {
  const text = String(id ?? "");
  return text.length > 16 ? `${text.slice(0, 4)}…${text.slice(-6)}` : text;
}

const spelledOut = {
  val: "validation", train: "training", macs: "MACs", rss: "RSS", cpu: "CPU", id: "id", sha256: "SHA-256",
};

/** "val_accuracy" -> "Validation accuracy". */
export function words(name) {
  const text = String(name).split("_").map((word) => spelledOut[word] ?? word).join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
