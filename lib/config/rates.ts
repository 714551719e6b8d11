/**
 * The bounds of a guest's rates, and the relations among them.
 *
 * @module
 */
import type { ConfigProblem } from "./errors.ts";
import type { RateConfig } from "./options.ts";

/** Keys of rates and bursts that count bytes, and of those that count flows. */
const BYTE_RATES = ["up", "down"] as const;
const BYTE_BURSTS = ["upBurst", "downBurst"] as const;
const FLOW_RATES = ["flowsPerSecond"] as const;
const FLOW_BURSTS = ["flowsBurst"] as const;

/** All keys of the rates. */
export const RATE_KEYS: readonly (keyof RateConfig)[] = [
  ...BYTE_RATES,
  ...FLOW_RATES,
  ...BYTE_BURSTS,
  ...FLOW_BURSTS,
];

/** Each burst and the rate that it belongs to. */
const RATE_OF_BURST: readonly [burst: keyof RateConfig, rate: keyof RateConfig][] = [
  ["upBurst", "up"],
  ["downBurst", "down"],
  ["flowsBurst", "flowsPerSecond"],
];

/** Bounds of bytes a second: a guest with less than the one has no network, none has the other. */
const BYTES_MIN = 1_000;
const BYTES_MAX = 1e12;

/** Most bytes that may come at once. */
const BURST_MAX_BYTES = 2 ** 31;

/** Most flows in a second or at once. */
const FLOWS_MAX = 1_000_000;

/**
 * What is wrong with a guest's rates.
 *
 * @param rate The rates that are set.
 * @returns The problems; none where the rates can be used.
 */
export function checkRates(rate: RateConfig): ConfigProblem[] {
  return [
    ...outOf(rate, BYTE_RATES, BYTES_MIN, BYTES_MAX, "number of bytes a second"),
    ...outOf(rate, FLOW_RATES, 1, FLOWS_MAX, "number"),
    ...outOf(rate, BYTE_BURSTS, BYTES_MIN, BURST_MAX_BYTES, "number of bytes"),
    ...outOf(rate, FLOW_BURSTS, 1, FLOWS_MAX, "number"),
    ...RATE_OF_BURST
      .filter(([burst, of]) => rate[burst] !== undefined && rate[of] === undefined)
      .map(([burst, of]) => ({ key: `rate.${burst}`, text: `is of no use without rate.${of}` })),
  ];
}

function outOf(
  rate: RateConfig,
  keys: readonly (keyof RateConfig)[],
  min: number,
  max: number,
  what: string,
): ConfigProblem[] {
  return keys.filter((key) => {
    const value: unknown = rate[key];
    const isInside = Number.isInteger(value) && (value as number) >= min &&
      (value as number) <= max;
    return value !== undefined && !isInside;
  }).map((key) => {
    return {
      key: `rate.${key}`,
      text: `${rate[key]} is not a whole ${what} from ${min} to ${max}`,
    };
  });
}
