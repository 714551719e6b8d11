/**
 * Asks all gateways of a fleet to announce themselves, and gathers what they say for a moment. It
 * needs no JetStream and no bucket: gateways are heard as they hear each other.
 *
 * A gateway answers within 300 ms, at random, so that many do not speak at once; who asks for a
 * state that is about to come asks again.
 *
 * Limits: `GATEWAYS_MAX` gateways; what is no announcement is passed over.
 *
 * @module
 */
import type { NatsConnection } from "@nats-io/nats-core";
import { type Announcement, parseAnnouncement } from "./announcement.ts";
import type { Engine } from "./engine.ts";
import { reached, requestError } from "./engine_request.ts";
import { aliveSubject, gatewayOfSubject, goneSubject, whoSubject } from "./names.ts";
import { compareNames } from "./roll_findings.ts";

/** How long answers are waited for where nothing else is said: their jitter, and then the way. */
const GATHER_MS = 1_000;
/** Between two questions. */
const ASK_AGAIN_MS = 500;
const GATEWAYS_MAX = 1_024;
const HEARING = "hear the fleet's gateways";

/** How long, and for what. For {@linkcode callRoll}. */
export interface RollCallOptions {
  /** The longest time. */
  readonly forMs?: number;
  /** Ends it earlier, once what was heard is enough. */
  readonly isEnough?: (heard: ReadonlyMap<string, Announcement>) => boolean;
  /** Those that were heard before, which count until they say something else. */
  readonly known?: readonly Announcement[];
  /** Ends the wait for an engine that is not there; after 5 s when absent. */
  readonly signal?: AbortSignal;
}

/** What was heard. As {@linkcode callRoll} yields it. */
export interface RollCall {
  /** The latest word of each gateway, in the order of their names. */
  readonly announcements: readonly Announcement[];
  /** Announcements that could not be read, such as those of another version. */
  readonly unread: number;
}

/** What a gateway has said. */
export type HeardWord =
  | { readonly kind: "alive"; readonly announcement: Announcement }
  | { readonly kind: "gone"; readonly gateway: string }
  | { readonly kind: "unread" }
  /** The engine does not let them be heard. */
  | { readonly kind: "refused"; readonly error: Error };

/**
 * Hears announcements until it is ended.
 *
 * @param connection The engine.
 * @param fleet Whose gateways.
 * @param onWord Called with each.
 * @returns Asks all of them to announce themselves, and ends the hearing.
 */
export function hearFleet(
  connection: NatsConnection,
  fleet: string,
  onWord: (word: HeardWord) => void,
): { ask(): void } & Disposable {
  const alive = connection.subscribe(aliveSubject(fleet), {
    callback: (error, { subject, data }) => {
      if (error !== null) return onWord({ kind: "refused", error });
      const announcement = parseAnnouncement(data, gatewayOfSubject(subject));
      onWord(announcement === null ? { kind: "unread" } : { kind: "alive", announcement });
    },
  });
  const gone = connection.subscribe(goneSubject(fleet), {
    callback: (error, { subject }) => {
      if (error !== null) onWord({ kind: "refused", error });
      else onWord({ kind: "gone", gateway: gatewayOfSubject(subject) });
    },
  });
  return {
    ask: () => {
      // Whoever asks again and again is not to fail where the connection has ended meanwhile.
      if (!connection.isClosed()) connection.publish(whoSubject(fleet));
    },
    [Symbol.dispose]: () => {
      alive.unsubscribe();
      gone.unsubscribe();
    },
  };
}

/**
 * Calls the roll.
 *
 * @param engine The engine, which is waited for.
 * @param fleet Whose gateways.
 * @param options How long, and for what.
 * @returns Who is there.
 * @throws {GatewayError} Where the engine is not reached, or does not let them be heard.
 *
 * @example Without an engine nobody is heard
 * ```ts
 * import { GatewayError } from "@virtio/gateway";
 * import { callRoll, Engine } from "@virtio/gateway/fleet";
 * import { assert, assertEquals } from "@std/assert";
 *
 * await using engine = Engine.open({ servers: ["nats://127.0.0.1:9"], name: "example" });
 * const calling = callRoll(engine, "default", { signal: AbortSignal.timeout(50) });
 * const error = await calling.catch((error: unknown) => error);
 * assert(error instanceof GatewayError);
 * assertEquals(error.code, "no-engine");
 * ```
 */
export async function callRoll(
  engine: Engine,
  fleet: string,
  options: RollCallOptions = {},
): Promise<RollCall> {
  const { forMs = GATHER_MS, isEnough = () => false, known = [], signal } = options;
  const connection = await reached(engine, HEARING, signal);
  const heard = new Map(known.map((each) => [each.gateway, each]));
  const { promise: enough, resolve, reject } = Promise.withResolvers<void>();
  let unread = 0;
  using hearing = hearFleet(connection, fleet, (word) => {
    if (word.kind === "refused") reject(requestError(HEARING, word.error));
    else if (word.kind === "unread") unread++;
    else if (word.kind === "gone") heard.delete(word.gateway);
    else {
      const { gateway } = word.announcement;
      if (heard.has(gateway) || heard.size < GATEWAYS_MAX) heard.set(gateway, word.announcement);
    }
    if (isEnough(heard)) resolve();
  });
  const end = setTimeout(resolve, forMs);
  const again = setInterval(() => hearing.ask(), ASK_AGAIN_MS);
  try {
    hearing.ask();
    await enough;
  } finally {
    clearTimeout(end);
    clearInterval(again);
  }
  const announcements = [...heard.values()];
  announcements.sort((a, b) => compareNames(a.gateway, b.gateway));
  return { announcements, unread };
}
