/** The client against what is no gateway, or one that comes and goes. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { GatewayClient } from "../../lib/control/client.ts";
import { ControlRig, TOKEN } from "./control_rig.ts";

const encoder = new TextEncoder();

Deno.test("a client of a place where no gateway is says so", async () => {
  const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
  const path = `${folder}/c.sock`;
  const failure = async (promise: Promise<unknown>) => {
    const error = await assertRejects(() => promise, GatewayError) as GatewayError;
    assertEquals(error.code, "no-gateway");
    return error.message;
  };
  const client = new GatewayClient({ transport: "unix", path });
  assertEquals(
    await failure(client.status()),
    `no gateway answers on unix:${path}: there is no such file`,
  );
  await failure(client.events().next());
  using other = Deno.listen({ transport: "unix", path });
  const serving = (async () => {
    const replies = [
      "SSH-2.0-OpenSSH\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>",
      "",
    ];
    for (const reply of replies) {
      using conn = await other.accept();
      await conn.read(new Uint8Array(1000));
      await conn.write(encoder.encode(reply));
    }
  })();
  assertStringIncludes(await failure(client.status()), "no gateway's control interface");
  assertStringIncludes(await failure(client.status()), "its answer is not JSON");
  assertStringIncludes(await failure(client.status()), "without an answer");
  await serving;
  await Deno.remove(folder, { recursive: true });
});

Deno.test("the token of a client has to be the gateway's", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const wrong = new GatewayClient(rig.control.endpoint, { token: TOKEN.replace("0", "1") });
  const error = await assertRejects(() => wrong.status(), GatewayError) as GatewayError;
  assertEquals([error.code, error.message], ["control", "the token is another one"]);
  assertEquals((await rig.client.status()).version, "1.2.3");
});

Deno.test("a stream of events that breaks goes on behind the last one, until nobody is there", async () => {
  const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
  const path = `${folder}/c.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const asked: (string | null)[] = [];
  const data = (id: number, rules: number) =>
    `id: m-${id}\nevent: policy-changed\n` +
    `data: {"type":"policy-changed","timeMs":1,"rules":${rules}}\n\n`;
  const said = [
    ["retry: 1000\nid: m-4\n\n"],
    [data(5, 1), data(6, 2).slice(0, 9), data(6, 2).slice(9) + ": comment\n\nid: m-7\nda"],
    [data(7, 3)],
  ];
  const serving = (async () => {
    for (const parts of said) {
      using conn = await listener.accept();
      const buffer = new Uint8Array(4096);
      const request = new TextDecoder().decode(buffer.subarray(0, (await conn.read(buffer))!));
      asked.push(/^Last-Event-ID: (.*)\r$/m.exec(request)?.[1] ?? null);
      await conn.write(
        encoder.encode("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
      );
      for (const part of parts) await conn.write(encoder.encode(part));
    }
    listener.close();
  })();
  const client = new GatewayClient({ transport: "unix", path });
  const events = await Array.fromAsync(client.events());
  await serving;
  assertEquals(asked, [null, "m-4", "m-6"]);
  assertEquals(events.map((event) => event.type === "policy-changed" && event.rules), [1, 2, 3]);
  await Deno.remove(folder, { recursive: true });
});
