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
import { FaultGateway, PATIENCE_MS } from "./fault_gateway.ts";

/** What a resolver does with a question. */
type Behaviour = "answer" | "silent" | "garbage" | "garbage first";

/**
 * A resolver that can go and come back on its port, which nobody takes meanwhile: its address is its
 * own, and at the one after it a socket keeps the port from those that want it at every address.
 */
class FickleResolver implements AsyncDisposable {
  behaviour: Behaviour = "answer";
  asked = 0;
  readonly #address = `127.${crypto.getRandomValues(new Uint8Array(2)).join(".")}.`;
  readonly #data: string;
  #port = 0;
  #keeper: Socket | null = null;
  #socket: Socket | null = null;

  private constructor(data: string) {
    this.#data = data;
  }

  /** Starts one that answers every question with that address. */
  static async start(data: string): Promise<FickleResolver> {
    const resolver = new FickleResolver(data);
    const keeper = await bound(`${resolver.#address}2`, 0);
    resolver.#keeper = keeper;
    resolver.#port = keeper.address().port;
    await resolver.come();
    return resolver;
  }

  /** Where it is asked. */
  get place(): string {
    return `${this.#address}1:${this.#port}`;
  }

  async come(): Promise<void> {
    const socket = await bound(`${this.#address}1`, this.#port);
    socket.on("message", (query: Buffer, from: RemoteInfo) => {
      this.asked++;
      for (const message of this.#replies(query)) socket.send(message, from.port, from.address);
    });
    this.#socket = socket;
  }

  async go(): Promise<void> {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    await closed(socket);
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
    if (this.#keeper !== null) await closed(this.#keeper);
  }
}

async function bound(address: string, port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(port, address);
  await once(socket, "listening");
  return socket;
}

async function closed(socket: Socket): Promise<void> {
  socket.close();
  await once(socket, "close");
}

let names = 0;

/** Asks for a name that was never asked for; the code, and the address if there is one. */
async function ask(guest: EmbeddedGuest): Promise<string> {
  const { code, answers } = await guest.resolve(`n${names++}.test`, "A", {
    timeoutMs: PATIENCE_MS,
  });
  return answers.length === 0 ? code : String(answers[0]!.data);
}

Deno.test("a resolver that goes, answers with garbage, and comes back", async () => {
  await using resolver = await FickleResolver.start("192.0.2.1");
  await using gateway = await FaultGateway.start({
    // Of garbage alone all of it is waited for; what is answered must be while this process stalls.
    config: "limits: { dnsTimeoutMs: 6000 }",
    args: ["--dns", resolver.place],
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
    // A sixth of it is the first one's, a stall of this process included; one that is gone says so.
    config: "limits: { dnsTimeoutMs: 24000, udpDnsMs: 24000 }",
    args: ["--dns", first.place, "--dns", second.place],
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
