/**
 * Several guests in one process, as an embedding program serves them.
 *
 *     guests_program.ts OPTIONS      `ServeGuestsOptions` as JSON
 *
 * It prints `ready` once all of them are served, and ends at SIGTERM.
 *
 * @module
 */
import { serveGuests } from "../../mod.ts";

if (import.meta.main) {
  const guests = await serveGuests(JSON.parse(Deno.args[0]!));
  const stop = (): void => void guests.abort();
  Deno.addSignalListener("SIGTERM", stop);
  console.log("ready");
  await guests.finished;
  Deno.removeSignalListener("SIGTERM", stop);
}
