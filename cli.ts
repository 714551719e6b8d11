/**
 * The command line of the gateway: `deno run --allow-net jsr:@virtio/gateway/cli --help`.
 *
 * @module
 */
import { main } from "./lib/cli/main.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));
