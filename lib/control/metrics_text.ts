/**
 * Metrics as text: the Prometheus text format 0.0.4 and OpenMetrics 1.0.
 *
 * They differ little: OpenMetrics names a counter's family without `_total`, knows units and infos,
 * and says where it ends. Label values and help texts are escaped, whatever stands in them.
 *
 * @module
 */

/** What a family's samples are: counts that only grow, figures that come and go, or plain facts. */
export type MetricType = "counter" | "gauge" | "info";

/** One sample of a family. */
export interface MetricSample {
  /** What tells it from the others, by names of small letters. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Its value; 1 for an info. */
  readonly value: number;
}

/** Samples of one meaning. */
export interface MetricFamily {
  /** Its name, without `_total` or `_info`, which its type adds. */
  readonly name: string;
  /** What its samples are. */
  readonly type: MetricType;
  /** The base unit that its name ends with. */
  readonly unit?: "bytes" | "seconds";
  /** One sentence about it. */
  readonly help: string;
  /** Its samples. */
  readonly samples: readonly MetricSample[];
}

/** A text format. */
export interface MetricFormat {
  /** The value of Content-Type. */
  readonly contentType: string;
  /** Writes families. */
  readonly write: (families: readonly MetricFamily[]) => string;
}

const SUFFIX: Readonly<Record<MetricType, string>> = {
  counter: "_total",
  gauge: "",
  info: "_info",
};

/** The Prometheus text format. */
export const PROMETHEUS_TEXT: MetricFormat = {
  contentType: "text/plain; version=0.0.4; charset=utf-8",
  write: (families) =>
    families.map(({ name, type, help, samples }) => {
      const whole = name + SUFFIX[type];
      return lines([
        `# HELP ${whole} ${escapeText(help)}`,
        `# TYPE ${whole} ${type === "info" ? "gauge" : type}`,
        ...samples.map((sample) => sampleLine(whole, sample)),
      ]);
    }).join(""),
};

/** OpenMetrics. */
export const OPEN_METRICS: MetricFormat = {
  contentType: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  write: (families) =>
    families.map(({ name, type, unit, help, samples }) =>
      lines([
        `# TYPE ${name} ${type}`,
        ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
        `# HELP ${name} ${escapeLabel(help)}`,
        ...samples.map((sample) => sampleLine(name + SUFFIX[type], sample)),
      ])
    ).join("") + "# EOF\n",
};

/**
 * Chooses the format that a reader likes best.
 *
 * @param accept The value of Accept; absent where the reader has not said.
 * @returns OpenMetrics where it is named and liked as well as plain text, which is for all others.
 */
export function metricFormat(accept: string | undefined): MetricFormat {
  const ranges = (accept ?? "").toLowerCase().split(",").map(parseRange);
  const open = likes(ranges, ["application/openmetrics-text"], "1.0.0");
  const plain = likes(ranges, ["text/plain", "text/*", "*/*"], "0.0.4");
  return open > 0 && open >= plain ? OPEN_METRICS : PROMETHEUS_TEXT;
}

interface MediaRange {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

function parseRange(text: string): MediaRange {
  const [type = "", ...rest] = text.split(";").map((part) => part.trim());
  const parameters = new Map(rest.map((part) => {
    const equals = part.indexOf("=");
    const value = part.slice(equals + 1).trim().replace(/^"(.*)"$/, "$1");
    return [part.slice(0, Math.max(0, equals)).trim(), value];
  }));
  const quality = Number(parameters.get("q") ?? 1);
  return {
    type,
    version: parameters.get("version"),
    quality: quality >= 0 && quality <= 1 ? quality : 0,
  };
}

/** The best quality of ranges that take a type in one version. */
function likes(ranges: readonly MediaRange[], types: readonly string[], wanted: string): number {
  const qualities = ranges
    .filter(({ type, version = wanted }) => types.includes(type) && version === wanted)
    .map(({ quality }) => quality);
  return Math.max(0, ...qualities);
}

function sampleLine(name: string, { labels = {}, value }: MetricSample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${numberText(value)}`;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}

function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeText(text).replaceAll('"', '\\"');
}

function lines(all: readonly string[]): string {
  return all.map((line) => `${line}\n`).join("");
}
