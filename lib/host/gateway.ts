/**
 * What can be asked of a gateway wherever it runs: in this process or behind its control interface.
 *
 * @module
 */
import type { PolicyConfig, PortMapping } from "../config/options.ts";
import type { RecordSpec } from "../dns/record_spec.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { Explanation } from "../policy/explain.ts";
import type { Pin } from "../policy/pins.ts";
import type { CaptureOptions } from "./capture_set.ts";
import type { FlowInfo } from "./flow_info.ts";
import type { EventStream } from "./gateway_event.ts";
import type { OwnName } from "./guest_names.ts";
import type { PublishedPlace, PublishedPort } from "../config/published.ts";

/**
 * A value, or the promise of one: `await` takes both. What {@linkcode Gateway} answers is of this
 * kind.
 */
export type Awaitable<T> = T | Promise<T>;

/**
 * A gateway, be it the server in this process or a client of one in another: a program that awaits
 * each answer works with both.
 *
 * They differ where a process boundary shows. The client's methods take an `AbortSignal` as well and
 * may throw a `GatewayError` with code `no-gateway`; its errors about a value are a `GatewayError` with
 * code `config` where the server's are a `ConfigError`. Its `events` and `capture` connect with the
 * first `next`, not with the call. `published` and `policy` are properties of the server and methods of
 * the client. Rules that say no origin stand at `policy.deny[0]` or, by the client, `control:deny[0]`.
 * The server ends by `close` or `abort`, the client asks for that by `stop`.
 *
 * @example One program for both
 * ```ts
 * import { type Gateway, serveVirtioNetwork } from "@virtio/gateway";
 * import { GatewayClient } from "@virtio/gateway/client";
 * import { serveControl } from "@virtio/gateway/control";
 * import { assert, assertEquals } from "@std/assert";
 *
 * async function allowOnly(gateway: Gateway, target: string): Promise<string> {
 *   await gateway.setPolicy({ allow: [target] });
 *   return (await gateway.explain(target)).findings[0]!.detail;
 * }
 *
 * const token = "0".repeat(64); // of 32 random octets, in a program that matters
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort);
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
 * const client = new GatewayClient(control.endpoint, { token });
 *
 * assertEquals(await allowOnly(client, "9.9.9.9:443"), await allowOnly(server, "9.9.9.9:443"));
 * assert((await client.explain("9.9.9.9:443")).allowed);
 * assertEquals((await client.explain("1.1.1.1:443")).allowed, false);
 * ```
 */
export interface Gateway {
  /** What the guest was refused, or the one before it where none is attached; the latest first. */
  denials(): Awaitable<readonly DenialGroup[]>;
  /** How often each rule has refused something to the same guest. */
  denialsByRule(): Awaitable<ReadonlyMap<string, number>>;
  /**
   * Puts another policy into force. Flows that it does not allow end at once.
   *
   * @param policy The whole policy; what is absent has its default.
   * @throws {GatewayError} With code `config` where it is wrong; the old one then stays in force.
   */
  setPolicy(policy: PolicyConfig): Awaitable<unknown>;
  /**
   * Would the guest reach a target, by which rule, and what would change that.
   *
   * @param target `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp` or a URL.
   * @throws {GatewayError} With code `config` where the target is none.
   */
  explain(target: string): Awaitable<Explanation>;
  /** Which names lead to which addresses for the guest that is attached. */
  pins(): Awaitable<readonly Pin[]>;
  /** The attached guest's flows at this moment, the latest first. */
  flows(): Awaitable<readonly FlowInfo[]>;
  /**
   * Ends a flow at once: a TCP flow with a reset.
   *
   * @param id Its number in `flows`.
   * @returns Whether there was one.
   */
  endFlow(id: number): Awaitable<boolean>;
  /**
   * Publishes another port.
   *
   * @param mapping The host's port, at whatever addresses, and the guest's.
   * @returns What is bound for it.
   * @throws {GatewayError} Where the mapping is wrong, or an address is in use or not permitted;
   * nothing is then bound.
   */
  publish(mapping: PortMapping): Awaitable<readonly PublishedPort[]>;
  /**
   * Takes a published port back. Connections that came through it go on; flows of datagrams end.
   *
   * @param place The host's TCP port, or the place.
   * @param bind Beside a port: the one address that is meant; all when absent.
   * @returns What is no longer bound; empty where nothing was.
   */
  unpublish(
    place: number | PublishedPlace,
    bind?: string,
  ): Awaitable<readonly PublishedPort[]>;
  /**
   * Gives a name records of its own, in place of those that it had, until the gateway ends.
   *
   * @param name A host name, or `*.` and one for all below it that do not exist.
   * @param records Addresses, or records by type.
   * @returns The name and what it has.
   * @throws {GatewayError} With code `config` where one of them is wrong; nothing has then changed.
   */
  setRecords(name: string, records: RecordSpec): Awaitable<OwnName>;
  /**
   * Takes the records of a name away.
   *
   * @param name The name.
   * @returns The name and what it had; `null` where there was nothing to take away.
   */
  removeRecords(name: string): Awaitable<OwnName | null>;
  /** Forgets the answers that are kept for the guest; whether one is attached. */
  flushDns(): Awaitable<boolean>;
  /**
   * What happens from now on, until the iteration is left or the gateway has ended.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream;
  /**
   * The frames of whichever guest is attached, as a file of pcapng, bit by bit.
   *
   * @param options Which frames, how much of each, and what ends it.
   */
  capture(options?: CaptureOptions): AsyncIterableIterator<Uint8Array>;
}
