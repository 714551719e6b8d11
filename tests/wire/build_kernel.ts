/**
 * Makes `lib/wire/checksum_kernel.ts` from `lib/wire/checksum_kernel.wat`. Run it after a change:
 *
 *     deno run --allow-read=lib/wire --allow-write=lib/wire tests/wire/build_kernel.ts
 *
 * @module
 */
import wabt from "wabt";

const SOURCE = new URL("../../lib/wire/checksum_kernel.wat", import.meta.url);
/** The generated file. */
export const TARGET: URL = new URL("../../lib/wire/checksum_kernel.ts", import.meta.url);

/** The text of the generated file. */
export async function renderKernel(): Promise<string> {
  const assembler = await wabt();
  const source = assembler.parseWat("checksum_kernel.wat", await Deno.readTextFile(SOURCE), {
    simd: true,
  });
  source.validate();
  const { buffer } = source.toBinary({});
  source.destroy();
  const lines: string[] = [];
  for (let i = 0; i < buffer.length; i += 16) {
    const octets = Array.from(
      buffer.subarray(i, i + 16),
      (octet) => `0x${octet.toString(16).padStart(2, "0")}`,
    );
    lines.push(`  ${octets.join(", ")},`);
  }
  return `/**
 * The checksum kernel as WebAssembly: made from \`checksum_kernel.wat\` by
 * \`tests/wire/build_kernel.ts\`, never written by hand.
 *
 * @module
 */

/** The octets of the module: it imports the memory as \`m.m\`, exports \`sum\` and \`copySum\`. */
// deno-fmt-ignore
export const CHECKSUM_KERNEL: Uint8Array<ArrayBuffer> = new Uint8Array([
${lines.join("\n")}
]);
`;
}

if (import.meta.main) await Deno.writeTextFile(TARGET, await renderKernel());
