/**
 * An audit's stream on a real engine, and what of a gateway writes into it.
 *
 * @module
 */
import { jetstreamManager, StorageType, type StreamConfig } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import type { SpoolFiles } from "../../lib/fleet/audit_files.ts";
import type { AuditRecord } from "../../lib/fleet/audit_record.ts";
import { AuditSender } from "../../lib/fleet/audit_sender.ts";
import { AuditSpool } from "../../lib/fleet/audit_spool.ts";
import type { Credentials } from "../../lib/fleet/credentials.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { AUDIT_DESCRIPTION, auditStream, auditSubjects } from "../../lib/fleet/names.ts";
import { systemClock } from "../../lib/host/host_clock.ts";
import { GATEWAY, type Records } from "./audit_rig.ts";

export const FLEET = "test";

/** Makes the stream. */
export async function makeStream(
  connection: NatsConnection,
  more: Partial<StreamConfig> = {},
): Promise<void> {
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: auditStream(FLEET),
    subjects: [auditSubjects(FLEET)],
    description: AUDIT_DESCRIPTION,
    storage: StorageType.File,
    duplicate_window: 600_000_000_000,
    ...more,
  });
}

/** All messages of the stream, as records; asks again while the engine chooses a leader. */
export async function storedRecords(
  connection: NatsConnection,
  fleet = FLEET,
): Promise<AuditRecord[]> {
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const name = auditStream(fleet);
  const { state } = await manager.streams.info(name);
  const records: AuditRecord[] = [];
  for (let seq = Math.max(state.first_seq, 1); seq <= state.last_seq; seq++) {
    const message = await manager.streams.getMessage(name, { seq });
    if (message !== null) records.push(message.json<AuditRecord>());
  }
  return records;
}

interface DeliveryOptions {
  readonly logger?: GatewayLogger;
  readonly maxBytes?: number;
  /** Whom the engine knows it as. */
  readonly user?: string | null;
}

/** Credentials of a user whose password is the name. */
export function as(user: string): Credentials {
  return { path: "test", secret: { kind: "user", user, password: user }, tls: null, files: [] };
}

/** A spool with its sender. */
export class Delivery implements AsyncDisposable {
  private constructor(
    readonly engine: Engine,
    readonly spool: AuditSpool,
    readonly sender: AuditSender,
  ) {}

  static async open(
    servers: readonly string[],
    files: SpoolFiles,
    records: Records,
    { logger = silentLogger, maxBytes = 0, user = null }: DeliveryOptions = {},
  ): Promise<Delivery> {
    const clock = systemClock;
    const engine = Engine.open({ servers, name: GATEWAY, auth: user === null ? null : as(user) });
    const shedRecord = records.shed;
    const spool = await AuditSpool.open({ files, maxBytes, clock, logger, shedRecord });
    const options = { engine, spool, fleet: FLEET, gateway: GATEWAY, clock, logger };
    return new Delivery(engine, spool, new AuditSender(options));
  }

  /** Waits until all of it is acknowledged. */
  async delivered(): Promise<void> {
    await until(() => this.spool.waiting === 0);
  }

  /** Ends it in order, without waiting for the engine. */
  async close(): Promise<void> {
    await this.sender.close(0);
    await this.spool.close();
    await this.engine.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Waits until something holds. */
export async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 10));
}
