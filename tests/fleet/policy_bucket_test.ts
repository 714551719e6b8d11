/** Whether a bucket is what it was, also behind an engine that has lost what it had said already. */
import { assert, assertEquals } from "@std/assert";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { PolicyBucket } from "../../lib/fleet/policy_bucket.ts";
import { mustRun } from "../guest/program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { Operator } from "./policy_rig.ts";

/** What the bucket is; `null` where it is as it was. */
async function read(url: string, known: string | null) {
  await using connection = await connectEngine({ servers: url });
  const state = await new PolicyBucket("default", ["fleet"]).read(connection, known);
  if (state === null) return null;
  assert(state.kind === "set");
  return { id: state.id, text: state.texts.documents.get("fleet")?.text };
}

Deno.test("policy bucket: a change that takes the number of one that was lost is another one", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  const put = (text: string) => operator.put("fleet", text);
  await put("{}");
  await engine.stop();
  await mustRun(["cp", "-a", `${engine.folder}/store`, `${engine.folder}/older`]);
  await engine.start();
  const second = await put('deny: ["9.9.9.1"]');
  const before = await read(engine.url, null);
  assertEquals(await read(engine.url, before!.id), null);

  await engine.stop();
  await Deno.remove(`${engine.folder}/store`, { recursive: true });
  await Deno.rename(`${engine.folder}/older`, `${engine.folder}/store`);
  await engine.start();
  assertEquals(await put('deny: ["9.9.9.2"]'), second);
  assertEquals((await read(engine.url, before!.id))?.text, 'deny: ["9.9.9.2"]');
});
