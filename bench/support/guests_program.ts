/**
 * Several guests in one process, as an embedding program serves them.
 *
 *     guests_program.ts OPTIONS      `ServeGuestsOptions` as JSON
 *
 * It prints `ready` once all of them are served, and ends with its standard input.
 *
 * @module
 */
import { serveGuests } from "../../mod.ts";

if (import.meta.main) {
  const guests = await serveGuests(JSON.parse(Deno.args[0]!));
  console.log("ready");
  for await (const _ of Deno.stdin.readable);
  await guests.abort();
}
