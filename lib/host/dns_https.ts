/**
 * Questions to upstreams over HTTPS (RFC 8484): each is posted, under id 0, over the connections
 * of one client for each upstream; whether one connection carries many is for HTTP to agree on.
 *
 * An answer is taken from a response of status 200, of the type of DNS messages, with at most
 * 65,535 octets, of which no more are read; a redirect is not followed, as the configuration names
 * who is asked. What is posted is never answered from a cache on the way, so the TTLs are fresh.
 * Questions with EDNS are padded.
 *
 * A client whose questions were given up while nothing came for {@linkcode SILENCE_MS} makes way
 * for another one: a peer that is gone without a word would swallow what comes after, too.
 *
 * @module
 */
import { MESSAGE_MAX_BYTES, setId } from "../dns/message.ts";
import { isAnswerTo } from "../dns/match.ts";
import { padQuestion, unpadAnswer } from "../dns/padding.ts";
import type { Asked, Attempt, AttemptOwner, Channel } from "./dns_attempt.ts";
import type { HostSystem } from "./host_system.ts";
import type { Upstream } from "./dns_upstream_list.ts";
import { certificateFault, type HttpsClient, reasonOf } from "./tls_connect.ts";

/** How long nothing may come of a client while questions wait. */
export const SILENCE_MS = 1_000;

const MEDIA_TYPE = "application/dns-message";

const HEADERS: Readonly<Record<string, string>> = {
  "accept": MEDIA_TYPE,
  "content-type": MEDIA_TYPE,
};

/** Asks over HTTPS. */
export class HttpsChannel implements Channel {
  readonly #system: HostSystem;
  readonly #peers = new Map<Upstream, HttpsPeer>();
  readonly #running = new Map<HttpsAttempt, Promise<void>>();

  /** @param system The machine. */
  constructor(system: HostSystem) {
    this.#system = system;
  }

  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt {
    let peer = this.#peers.get(upstream);
    if (peer === undefined) this.#peers.set(upstream, peer = new HttpsPeer(this.#system));
    const attempt = new HttpsAttempt(asked, upstream, peer, owner);
    const running = attempt.run();
    this.#running.set(attempt, running);
    running.then(() => this.#running.delete(attempt));
    return attempt;
  }

  async close(): Promise<void> {
    for (const attempt of this.#running.keys()) attempt.cancel();
    await Promise.all(this.#running.values());
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
  }
}

/** The client of one upstream. */
class HttpsPeer {
  readonly #system: HostSystem;
  #client: HttpsClient | null = null;
  #heardMs = -Infinity;

  constructor(system: HostSystem) {
    this.#system = system;
  }

  get client(): HttpsClient {
    return this.#client ??= this.#system.openHttps();
  }

  now(): number {
    return this.#system.now();
  }

  /** Something has come. */
  heard(): void {
    this.#heardMs = this.now();
  }

  /** A question that was asked at that time was given up. */
  gaveUp(askedMs: number): void {
    if (this.now() - Math.max(askedMs, this.#heardMs) >= SILENCE_MS) this.close();
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }
}

class HttpsAttempt implements Attempt {
  readonly upstream: Upstream;
  readonly mayLinger = true;
  readonly #asked: Asked;
  readonly #peer: HttpsPeer;
  readonly #owner: AttemptOwner;
  readonly #askedMs: number;
  readonly #stop = new AbortController();

  constructor(asked: Asked, upstream: Upstream, peer: HttpsPeer, owner: AttemptOwner) {
    this.upstream = upstream;
    this.#asked = asked;
    this.#peer = peer;
    this.#owner = owner;
    this.#askedMs = peer.now();
  }

  cancel(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#peer.gaveUp(this.#askedMs);
  }

  /** The whole exchange; it never rejects. */
  async run(): Promise<void> {
    await Promise.resolve(); // so that nobody hears of a failure before this is an attempt
    const outcome = await this.#exchange().catch((error) => ({ cause: error as unknown }));
    if (this.#stop.signal.aborted) return;
    if (outcome instanceof Uint8Array) return this.#owner.onAnswer(this, outcome);
    const fault = certificateFault(outcome.cause);
    this.#owner.onFailed(this, fault ?? reasonOf(outcome.cause), fault !== null);
  }

  async #exchange(): Promise<Uint8Array> {
    const { place } = this.upstream;
    if (place.kind !== "https") throw new TypeError("is not asked over HTTPS");
    const { question, message } = this.#asked;
    const padded = padQuestion(message);
    const body = new Uint8Array(padded);
    setId(body, 0);
    const { signal } = this.#stop;
    const response = await this.#peer.client.post(place.url, { headers: HEADERS, body, signal });
    this.#peer.heard();
    const answer = await readAnswer(response);
    if (!isAnswerTo(body, question.end, answer)) throw new Error("it answered another question");
    return padded === message ? answer : unpadAnswer(answer);
  }
}

/** The message that a response carries. */
async function readAnswer(response: Response): Promise<Uint8Array> {
  const fault = faultOf(response);
  if (fault === null) return await readBody(response);
  await response.body?.cancel();
  throw new Error(fault);
}

function faultOf({ status, headers }: Response): string | null {
  if (status >= 300 && status < 400) return `it sends elsewhere (status ${status})`;
  if (status !== 200) return `it says status ${status}`;
  const type = (headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
  if (type !== MEDIA_TYPE) return "its answer is no DNS message by its type";
  const declared = headers.get("content-length");
  return declared !== null && Number(declared) > MESSAGE_MAX_BYTES ? TOO_LONG : null;
}

const TOO_LONG = `its answer has more than ${MESSAGE_MAX_BYTES} octets`;

async function readBody({ body }: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body ?? []) {
    bytes += part.length;
    if (bytes > MESSAGE_MAX_BYTES) throw new Error(TOO_LONG); // leaving the loop cancels the body
    parts.push(part);
  }
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
