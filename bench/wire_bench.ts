/**
 * What one frame costs on its way through `lib/wire`: sums, copies, header and option parsing.
 *
 *     deno task microbench
 */
import { FrameMemory } from "../lib/wire/memory.ts";
import { parseTcpOptions, TcpOptions, writeTimestampsOption } from "../lib/wire/tcp_options.ts";

const memory = new FrameMemory(4 * 1024 * 1024);
const plain = new FrameMemory(4 * 1024 * 1024, { wasm: false });
crypto.getRandomValues(memory.bytes.subarray(0, 65_536));
plain.bytes.set(memory.bytes.subarray(0, 65_536));
const TO = 2 * 1024 * 1024;

for (const bytes of [40, 1460, 65_480]) {
  Deno.bench(`sum ${bytes} bytes, WebAssembly`, { group: `sum ${bytes}`, baseline: true }, () => {
    memory.sum(54, bytes);
  });
  Deno.bench(`sum ${bytes} bytes, JavaScript`, { group: `sum ${bytes}` }, () => {
    plain.sum(54, bytes);
  });
  Deno.bench(`copy and sum ${bytes} bytes`, { group: `copy ${bytes}`, baseline: true }, () => {
    memory.copySum(TO, 54, bytes);
  });
  Deno.bench(`copy ${bytes} bytes`, { group: `copy ${bytes}` }, () => {
    memory.copy(TO, 54, bytes);
  });
}

const options = new TcpOptions();
writeTimestampsOption(memory.view, 1024, 1, 2);
Deno.bench("parse a timestamps option", () => {
  parseTcpOptions(memory.view, 1024, 12, options);
});
