/** The control interface over guests in real workers, one of which fails amid the questions. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { GatewayClient } from "../../lib/control/client.ts";
import { serveControl } from "../../lib/control/control_server.ts";
import { serveGuestsIn } from "../../lib/guests.ts";
import { GatewayError } from "../../mod.ts";
import { ANY_PORT, eventually, HurtWorkers, QUIET } from "../guests/guests_rig.ts";
import { TOKEN } from "./control_rig.ts";

Deno.test("a worker that fails amid questions costs its own guest's answers, and for a while", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 2,
    guests: [
      { name: "a", endpoint: ANY_PORT, ...QUIET },
      { name: "b", endpoint: ANY_PORT, ...QUIET },
    ],
  });
  await using control = await serveControl(guests, ANY_PORT, { version: "1.2.3", token: TOKEN });
  const client = new GatewayClient(control.endpoint, { token: TOKEN });
  const [a, b] = [client.withGuest("a"), client.withGuest("b")];
  assertEquals((await client.guests()).map(({ name, worker, fault }) => [name, worker, fault]), [
    ["a", 0, null],
    ["b", 1, null],
  ]);
  const mapping = { hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] };
  const [port] = await a.publish(mapping);
  const taken = await b.publish({ ...mapping, hostPort: port!.hostPort }).catch((error: unknown) =>
    error
  );
  assert(taken instanceof GatewayError);
  assertStringIncludes(taken.message, "the address is in use");
  assertEquals(taken.hint, "Choose another port of the host; 0 picks a free one");

  workers.hurt(0);
  await eventually(async () => {
    assertEquals((await b.status()).guest, null);
    const [first, second] = await client.guests();
    assertEquals([first!.name, second!.fault], ["a", null]);
    const answer = await a.status().catch((error: unknown) => error);
    if (answer instanceof GatewayError) {
      assertEquals(answer.code, "control");
      return false;
    }
    const { workers: [worker] } = await client.guestsReport();
    return worker!.restarts > 0 && worker!.alive;
  });
  assertEquals(await a.published(), [port!]);
});
