/**
 * Finding a flow among 16,384: the same one again, and any of them.
 *
 *     deno task microbench
 */
import { FlowTable } from "../lib/stack/flow_table.ts";

const FLOWS = 16_384;
const TAG = 6;
const bytes = new DataView(new ArrayBuffer(8));
const table = new FlowTable<{ readonly port: number }>(
  FLOWS,
  crypto.getRandomValues(new Uint32Array(4)),
);
for (let port = 0; port < FLOWS; port++) {
  table.key4(bytes, TAG, 0, 4, port, 443);
  table.insert({ port });
}
let next = 0;

Deno.bench("find the flow of the last segment", { group: "find", baseline: true }, () => {
  table.key4(bytes, TAG, 0, 4, 4711, 443);
  table.find();
});

Deno.bench("find any flow", { group: "find" }, () => {
  next = (next + 7919) % FLOWS;
  table.key4(bytes, TAG, 0, 4, next, 443);
  table.find();
});
