/** Reads the flows of fixtures/inspect, and looks at flows. */
import { type Inspected, Inspector } from "../../lib/inspect/inspector.ts";

/** The first bytes of a real client's flow: `fixtures/inspect/NAME.hex`. */
export function capturedFlow(name: string): Uint8Array {
  const url = new URL(`../../fixtures/inspect/${name}.hex`, import.meta.url);
  const digits = Deno.readTextFileSync(url).replace(/\s+/g, "");
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The verdict on a flow that comes at once. */
export function inspectAll(flow: Uint8Array): Inspected {
  return new Inspector().inspect(flow);
}

/** The verdict on a flow in segments that end at these places. */
export function inspectCut(flow: Uint8Array, ends: Iterable<number>): Inspected {
  const inspector = new Inspector();
  for (const end of ends) inspector.inspect(flow.slice(0, end));
  return inspector.inspect(flow);
}
