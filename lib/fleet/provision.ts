/**
 * The bucket of a fleet's policy and the stream of its audit: known again by their descriptions, and
 * made by `fleet init` alone. Gateways need no right to make anything.
 *
 * What is there under a name of the fleet and does not say that it is of one belongs to somebody
 * else: it is never changed, and while one of the two is such nothing is made.
 *
 * @module
 */
import {
  jetstream,
  type JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { nanos, type NatsConnection } from "@nats-io/nats-core";
import { GatewayError } from "../config/errors.ts";
import { RECORD_MAX_BYTES } from "./audit_record.ts";
import { isMissing, requestError } from "./engine_request.ts";
import {
  AUDIT_DESCRIPTION,
  auditStream,
  auditSubjects,
  POLICY_DESCRIPTION,
  policyBucket,
} from "./names.ts";

/** Revisions of a document that the bucket keeps: as many as a bucket can. */
const HISTORY = 64;

/** Largest message of the bucket: a document, and what the engine writes beside it. */
const DOCUMENT_MAX_BYTES = 256 * 1024 + 4 * 1024;

/** How much the stream keeps, and for how long, where nothing else is said. */
const AUDIT_BYTES = 1024 * 1024 * 1024;
const AUDIT_DAYS = 30;

/** Largest message of the stream: a record with its headers, so that nobody fills who reads. */
const RECORD_MESSAGE_MAX_BYTES = RECORD_MAX_BYTES + 1024;

/** For so long a record that comes twice counts once. */
const DUPLICATE_WINDOW_MS = 10 * 60_000;

const DAY_MS = 24 * 3_600_000;

/** How many servers may keep what a fleet has in common. */
export const REPLICAS = [1, 3, 5] as const;

/** What `fleet init` is asked for. */
export interface ProvisionOptions {
  /** How many servers keep it; 1 for what is made, and as it is for what is there, when absent. */
  readonly replicas?: typeof REPLICAS[number];
  /** How many octets of the audit are kept. */
  readonly auditBytes?: number;
  /** How many days of it. */
  readonly auditDays?: number;
}

/** A bucket or a stream as it stands. */
export interface Standing {
  /** Its name in the engine. */
  readonly name: string;
  /** Whether it is the fleet's, another's, or not there. */
  readonly state: "there" | "missing" | "foreign";
  /** How many servers keep it; 0 where it is not there. */
  readonly replicas: number;
}

/** What became of a bucket or a stream. */
export interface Provided {
  /** Its name in the engine. */
  readonly name: string;
  /** Whether it was made, was there, or keeps other numbers of copies. */
  readonly outcome: "made" | "there" | "changed";
  /** How many servers keep it. */
  readonly replicas: number;
}

/** What a fleet has in the engine. */
export interface FleetParts<T> {
  /** The bucket of its policy. */
  readonly policy: T;
  /** The stream of its audit. */
  readonly audit: T;
}

/**
 * Looks what of a fleet is in the engine.
 *
 * @param connection The engine.
 * @param fleet The fleet's name.
 * @throws {GatewayError} Where the engine does not say.
 */
export async function standingOf(
  connection: NatsConnection,
  fleet: string,
): Promise<FleetParts<Standing>> {
  return (await lookAt(connection, fleet)).standing;
}

/**
 * Makes what of a fleet is not in the engine; asked again it changes nothing but the number of copies.
 *
 * @param connection The engine.
 * @param fleet The fleet's name.
 * @param options How it is kept.
 * @returns What became of each.
 * @throws {GatewayError} Where something under its names is another's, or the engine refuses.
 */
export async function provision(
  connection: NatsConnection,
  fleet: string,
  options: ProvisionOptions = {},
): Promise<FleetParts<Provided>> {
  const { manager, standing, infos } = await lookAt(connection, fleet);
  refuseForeign(standing.policy, "bucket");
  refuseForeign(standing.audit, "stream");
  const { replicas = 1, auditBytes = AUDIT_BYTES, auditDays = AUDIT_DAYS } = options;
  return {
    policy: await provided(manager, standing.policy, infos.policy, options, async () => {
      await new Kvm(jetstream(connection)).create(policyBucket(fleet), {
        description: POLICY_DESCRIPTION,
        history: HISTORY,
        maxValueSize: DOCUMENT_MAX_BYTES,
        replicas,
      });
    }),
    audit: await provided(manager, standing.audit, infos.audit, options, async () => {
      await manager.streams.add({
        name: auditStream(fleet),
        description: AUDIT_DESCRIPTION,
        subjects: [auditSubjects(fleet)],
        max_bytes: auditBytes,
        max_msg_size: RECORD_MESSAGE_MAX_BYTES,
        max_age: nanos(auditDays * DAY_MS),
        duplicate_window: nanos(DUPLICATE_WINDOW_MS),
        num_replicas: replicas,
      });
    }),
  };
}

interface Look {
  readonly manager: JetStreamManager;
  readonly standing: FleetParts<Standing>;
  readonly infos: FleetParts<StreamInfo | null>;
}

async function lookAt(connection: NatsConnection, fleet: string): Promise<Look> {
  try {
    const manager = await jetstreamManager(connection);
    const bucket = policyBucket(fleet);
    const stream = auditStream(fleet);
    const policy = await infoOf(manager, `KV_${bucket}`);
    const audit = await infoOf(manager, stream);
    return {
      manager,
      standing: {
        policy: standingFrom(bucket, policy, POLICY_DESCRIPTION),
        audit: standingFrom(stream, audit, AUDIT_DESCRIPTION),
      },
      infos: { policy, audit },
    };
  } catch (error) {
    throw requestError(`look for what fleet "${fleet}" has in the engine`, error);
  }
}

async function infoOf(manager: JetStreamManager, stream: string): Promise<StreamInfo | null> {
  try {
    return await manager.streams.info(stream);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function standingFrom(name: string, info: StreamInfo | null, description: string): Standing {
  if (info === null) return { name, state: "missing", replicas: 0 };
  const state = info.config.description === description ? "there" : "foreign";
  return { name, state, replicas: info.config.num_replicas };
}

function refuseForeign({ name, state }: Standing, kind: "bucket" | "stream"): void {
  if (state !== "foreign") return;
  throw new GatewayError(
    "fleet",
    `the engine has a ${kind} ${name} that fleet init has not made; nothing was changed`,
    { hint: "Name another fleet with --fleet-name, or take that one away" },
  );
}

async function provided(
  manager: JetStreamManager,
  { name, state, replicas: before }: Standing,
  info: StreamInfo | null,
  { replicas }: ProvisionOptions,
  make: () => Promise<void>,
): Promise<Provided> {
  try {
    if (state === "missing") {
      await make();
      return { name, outcome: "made", replicas: replicas ?? 1 };
    }
    if (replicas === undefined || replicas === before) {
      return { name, outcome: "there", replicas: before };
    }
    await manager.streams.update(info!.config.name, { ...info!.config, num_replicas: replicas });
    return { name, outcome: "changed", replicas };
  } catch (error) {
    throw makingError(name, replicas ?? 1, error);
  }
}

/** What the engine answers where it has too few servers, or keeps that subject already. */
const TOO_FEW_SERVERS = [10_005, 10_074, 10_128];
const SUBJECTS_OVERLAP = 10_065;
const TOO_LITTLE_STORAGE = [10_047, 10_028, 10_002];

function makingError(name: string, replicas: number, error: unknown): GatewayError {
  const { code } = error as Partial<JetStreamApiError>;
  const failed = (why: string, hint: string): GatewayError => {
    return new GatewayError("fleet", `cannot make ${name}: ${why}`, { hint, cause: error });
  };
  if (code === SUBJECTS_OVERLAP) {
    const hint = "Take those subjects out of it, or name another fleet with --fleet-name";
    return failed("another stream of the engine takes the fleet's subjects already", hint);
  }
  if (code !== undefined && TOO_FEW_SERVERS.includes(code)) {
    return failed(
      `the engine has no ${replicas} servers with JetStream for ${replicas} copies`,
      "Ask for fewer with --replicas, or have more servers",
    );
  }
  if (code !== undefined && TOO_LITTLE_STORAGE.includes(code)) {
    return failed("the engine has too little storage for it", "Give its JetStream more");
  }
  return requestError(`make ${name}`, error);
}
