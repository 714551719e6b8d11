/**
 * Resolvers that go, come back, answer with garbage, or leave the work to the second one. A
 * question that nobody answers ends with SERVFAIL, and nothing has to be started again.
 */
import { assertEquals, assertLess } from "@std/assert";
import { Buffer } from "node:buffer";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import packet from "dns-packet";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { FaultGateway } from "./fault_gateway.ts";

/** What a resolver does with a question. */
type Behaviour = "answer" | "silent" | "garbage" | "garbage first";

/** A resolver on 127.0.0.1 that can go and come back on its port. */
class FickleResolver implements AsyncDisposable {
  behaviour: Behaviour = "answer";
  asked = 0;
  port = 0;
  readonly #data: string;
  #socket: Socket | null = null;

  private constructor(data: string) {
    this.#data = data;
  }

  /** Starts one that answers every question with that address. */
  static async start(data: string): Promise<FickleResolver> {
    const resolver = new FickleResolver(data);
    await resolver.come();
    return resolver;
  }

  async come(): Promise<void> {
    const socket = createSocket("udp4");
    socket.on("message", (query: Buffer, from: RemoteInfo) => {
      this.asked++;
      for (const message of this.#replies(query)) socket.send(message, from.port, from.address);
    });
    socket.bind(this.port, "127.0.0.1");
    await once(socket, "listening");
    this.port = socket.address().port;
    this.#socket = socket;
  }

  async go(): Promise<void> {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.close();
    await once(socket, "close");
  }

  #replies(query: Buffer): Buffer[] {
    if (this.behaviour === "silent") return [];
    const { id, questions } = packet.decode(query);
    const [question] = questions!;
    const build = (over: Record<string, unknown>) =>
      Buffer.from(packet.encode({
        type: "response",
        id: id!,
        flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE,
        questions: [question!],
        answers: [{ type: "A", name: question!.name, ttl: 60, data: this.#data }],
        ...over,
      }));
    const right = build({});
    if (this.behaviour === "answer") return [right];
    const looped = Buffer.from(query);
    looped.set([0xc0, 0x0c], 12); // the name points at itself
    const garbage = [
      Buffer.alloc(0),
      Buffer.from([1]),
      right.subarray(0, 11),
      Buffer.from(crypto.getRandomValues(new Uint8Array(512))),
      query, // a question is no answer
      looped,
      build({ id: id! ^ 0x5555 }),
      build({ questions: [{ ...question!, name: "other.test" }] }),
    ];
    return this.behaviour === "garbage" ? garbage : [...garbage, right];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.go();
  }
}

let names = 0;

/** Asks for a name that was never asked for; the code, and the address if there is one. */
async function ask(guest: EmbeddedGuest): Promise<string> {
  const { code, answers } = await guest.resolve(`n${names++}.test`, "A", { timeoutMs: 20_000 });
  return answers.length === 0 ? code : String(answers[0]!.data);
}

Deno.test("a resolver that goes, answers with garbage, and comes back", async () => {
  await using resolver = await FickleResolver.start("192.0.2.1");
  await using gateway = await FaultGateway.start({
    config: "limits: { dnsTimeoutMs: 900 }",
    args: ["--dns", `127.0.0.1:${resolver.port}`],
  });
  await using guest = await gateway.guest();
  assertEquals(await ask(guest), "192.0.2.1");
  await resolver.go();
  assertEquals(await Promise.all([ask(guest), ask(guest)]), ["SERVFAIL", "SERVFAIL"]);
  await resolver.come();
  assertEquals(await ask(guest), "192.0.2.1", "without a word from anybody");
  resolver.behaviour = "garbage";
  assertEquals(await ask(guest), "SERVFAIL");
  resolver.behaviour = "garbage first";
  assertEquals(await ask(guest), "192.0.2.1", "garbage does not end the wait");
  const dnsLines = gateway.said(/^upstream DNS/).map(({ level }) => level);
  assertLess(dnsLines.length, 6, gateway.process.tail());
  assertEquals(dnsLines.slice(0, 2), ["warn", "info"], "it failed, it answers again");
  await guest.close();
  await gateway.countersOfLast();
  await gateway.stop();
});

Deno.test("the second resolver takes over, and is asked first for a while", async () => {
  await using first = await FickleResolver.start("192.0.2.1");
  await using second = await FickleResolver.start("192.0.2.2");
  await using gateway = await FaultGateway.start({
    config: "limits: { dnsTimeoutMs: 3000 }",
    args: ["--dns", `127.0.0.1:${first.port}`, "--dns", `127.0.0.1:${second.port}`],
  });
  await using guest = await gateway.guest();
  assertEquals([await ask(guest), second.asked], ["192.0.2.1", 0]);
  await first.go();
  assertEquals(await ask(guest), "192.0.2.2");
  await first.come();
  const { asked } = first;
  assertEquals([await ask(guest), first.asked], ["192.0.2.2", asked], "the first one rests");
  await second.go();
  assertEquals(await ask(guest), "192.0.2.1", "and is asked where the second one is gone");
  await gateway.stop();
});
