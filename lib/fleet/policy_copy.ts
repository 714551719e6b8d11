/**
 * The last good policy of a fleet in a file, so that guests have it from their first frame on while
 * the engine is not reached.
 *
 *     DIR/policy.json    { version, sum, kept }, written as a whole: a new file that takes its place
 *
 * A copy that is not exactly what was written, or is another gateway's, is no policy: whoever reads it
 * hears why, and everything stays closed. Nobody but the gateway's user may write it.
 *
 * @module
 */
import { ConfigError, GatewayError } from "../config/errors.ts";
import { shellQuote } from "../config/permission_line.ts";
import { missingFileFlags, permissionError } from "../host/permissions.ts";
import { parseIp } from "../wire/address.ts";
import type { EngineAddress } from "./engine.ts";
import { parsePolicyKey } from "./names.ts";
import type { DocumentText, DocumentTexts } from "./policy_set.ts";

/** What is kept. */
export interface KeptPolicy extends DocumentTexts {
  /** The keys that were looked for. */
  readonly keys: readonly string[];
  /** Where the engine was then. */
  readonly engine: readonly EngineAddress[];
}

/** Whose copy it is. */
export interface CopyOwner {
  /** The fleet's name. */
  readonly fleet: string;
  /** The gateway's. */
  readonly gateway: string;
}

const VERSION = 1;
const FILE = "policy.json";
/** Several guests with documents of the largest size. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
const OTHERS_WRITE = 0o022;

/**
 * Makes a gateway's folder, or looks whether it can be used.
 *
 * @param dir The folder.
 * @throws {GatewayError} Where it can't be used.
 */
export async function prepareFolder(dir: string): Promise<void> {
  const flags = missingFileFlags(dir);
  if (flags.length > 0) {
    throw permissionError(`use the folder ${dir}`, flags.map(shellQuote).join(" "));
  }
  let info: Deno.FileInfo;
  try {
    await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
    info = await Deno.stat(dir);
  } catch (error) {
    throw folderError(dir, (error as Error).message, "");
  }
  if (!isOthersToo(info)) return;
  const hint = `Make it private with: chmod 700 ${shellQuote(dir)}`;
  throw folderError(dir, "others than its user may write in it", hint);
}

function folderError(dir: string, why: string, hint: string): GatewayError {
  return new GatewayError("config", `cannot use the fleet's folder ${dir}: ${why}`, { hint });
}

function isOthersToo({ mode }: Deno.FileInfo): boolean {
  return mode !== null && (mode & OTHERS_WRITE) !== 0;
}

/** The copy of one gateway. */
export class PolicyCopy {
  readonly #dir: string;
  readonly #owner: CopyOwner;

  /** Takes the folder, which is there, and whose copy it is. */
  constructor(dir: string, owner: CopyOwner) {
    this.#dir = dir;
    this.#owner = owner;
  }

  /** Where it is. */
  get path(): string {
    return `${this.#dir}/${FILE}`;
  }

  /**
   * Reads it.
   *
   * @returns What was kept; `null` where nothing was.
   * @throws {ConfigError} Where it can't be used.
   */
  async read(): Promise<KeptPolicy | null> {
    let text: string;
    try {
      const info = await Deno.lstat(this.path);
      if (!info.isFile) throw this.#broken("it is no file");
      if (isOthersToo(info)) throw this.#broken("others than its user may write it");
      if (info.size > FILE_BYTES_MAX) throw this.#broken(`it has ${info.size} bytes`);
      text = await Deno.readTextFile(this.path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw error instanceof ConfigError ? error : this.#broken((error as Error).message);
    }
    const { fleet, gateway, ...kept } = await this.#parse(text);
    if (fleet === this.#owner.fleet && gateway === this.#owner.gateway) return kept;
    throw this.#broken(`it is that of gateway ${gateway} in fleet ${fleet}`);
  }

  /**
   * Puts another one in its place.
   *
   * @throws {Error} Where that can't be; the one before is then still there.
   */
  async write({ revision, documents, keys, engine }: KeptPolicy): Promise<void> {
    const kept = {
      ...this.#owner,
      revision,
      keys,
      documents: [...documents].map(([key, { text, revision }]) => ({ key, revision, text })),
      engine,
    };
    const text = JSON.stringify({ version: VERSION, sum: await sumOf(kept), kept });
    const path = `${this.path}.new`;
    {
      using file = await Deno.open(path, {
        write: true,
        create: true,
        truncate: true,
        mode: 0o600,
      });
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
      await file.sync();
    }
    await Deno.rename(path, this.path);
    await syncFolder(this.#dir);
  }

  async #parse(text: string): Promise<KeptPolicy & CopyOwner> {
    let root: unknown;
    try {
      root = JSON.parse(text);
    } catch {
      throw this.#broken("it is cut off, or no JSON");
    }
    if (!isObject(root) || root.version !== VERSION) {
      throw this.#broken(`it is none of version ${VERSION}`);
    }
    if (root.sum !== await sumOf(root.kept)) throw this.#broken("it was changed, or damaged");
    const kept = readKept(root.kept);
    if (kept === null) throw this.#broken("it has not the form of a copy");
    return kept;
  }

  #broken(why: string): ConfigError {
    return new ConfigError([{ key: "", text: `cannot use ${this.path}: ${why}` }]);
  }
}

/** Has the folder know its new file, where the system can be asked for that. */
async function syncFolder(dir: string): Promise<void> {
  try {
    using folder = await Deno.open(dir);
    await folder.sync();
  } catch {
    // The file itself is whole; after a crash of the machine it may be the one before.
  }
}

async function sumOf(value: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(value) ?? "");
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

function readKept(value: unknown): (KeptPolicy & CopyOwner) | null {
  if (!isObject(value)) return null;
  const { fleet, gateway, revision, keys, documents, engine } = value;
  if (typeof fleet !== "string" || typeof gateway !== "string" || !isCount(revision)) return null;
  if (!Array.isArray(keys) || !keys.every(isKey)) return null;
  if (!Array.isArray(documents) || !documents.every(isDocument)) return null;
  if (!Array.isArray(engine) || !engine.every(isEngineAddress)) return null;
  const texts = documents.map(({ key, text, revision }) => [key, { text, revision }] as const);
  return { fleet, gateway, revision, keys, documents: new Map(texts), engine };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isKey(value: unknown): value is string {
  return typeof value === "string" && parsePolicyKey(value) !== null;
}

function isDocument(value: unknown): value is DocumentText & { key: string } {
  return isObject(value) && isKey(value.key) && typeof value.text === "string" &&
    isCount(value.revision);
}

function isEngineAddress(value: unknown): value is EngineAddress {
  return isObject(value) && typeof value.address === "string" && parseIp(value.address) !== null &&
    isCount(value.port) && value.port <= 65_535;
}
