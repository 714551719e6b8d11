/**
 * Runs seeds for `simulate.ts`, one after the other, and says what became of each.
 *
 * @module
 */
import { type Outcome, simulate } from "./simulation.ts";

/** What a worker is told to run. */
export interface Batch {
  readonly seeds: readonly number[];
}

const port = self as unknown as {
  onmessage: (event: MessageEvent<Batch>) => void;
  postMessage(outcomes: readonly Outcome[]): void;
};

/** Rejections of the seed at hand. */
let lost: string[] = [];

self.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  const error = (event as PromiseRejectionEvent).reason as Error;
  lost.push(`a promise was rejected and nobody cared: ${error.stack ?? error}`);
});

port.onmessage = async ({ data: { seeds } }) => {
  const outcomes: Outcome[] = [];
  for (const seed of seeds) {
    lost = [];
    const outcome = await simulate(seed);
    outcomes.push({ ...outcome, faults: [...outcome.faults, ...lost] });
  }
  port.postMessage(outcomes);
};
