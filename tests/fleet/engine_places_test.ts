/** Where guests are kept from the engine, however often it says that it is elsewhere. */
import { assertEquals } from "@std/assert";
import type { EngineAddress, EngineState } from "../../lib/fleet/engine.ts";
import { EnginePlaces } from "../../lib/fleet/engine_places.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("guests are kept from an engine's new place at once, and from all of them after a flood", async () => {
  const clock = new VirtualClock();
  const listeners = new Set<(state: EngineState) => void>();
  let address = "192.0.2.1";
  const engine = {
    addresses: (): EngineAddress[] => [{ address, port: 4222 }],
    onState(listener: (state: EngineState) => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const said = (at: string): void => {
    address = at;
    for (const listener of listeners) listener("connected");
  };
  const taken: string[] = [];
  const places = new EnginePlaces(engine, ([place]) => {
    taken.push(`${clock.now()} ${place!.address}`);
    return Promise.resolve();
  }, clock);
  said("192.0.2.2");
  assertEquals(taken, ["1000 192.0.2.2"]);
  clock.after(10, () => {
    for (let at = 0; at < 10_000; at++) said(`198.51.100.${at % 200}`);
  });
  await clock.run(2_000);
  assertEquals(taken.slice(1), ["1250 198.51.100.199"]);
  said("192.0.2.3");
  said("192.0.2.4");
  places[Symbol.dispose]();
  await clock.run(2_000);
  assertEquals([taken.slice(2), listeners.size], [["3000 192.0.2.3"], 0]);
});
