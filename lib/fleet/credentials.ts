/**
 * What a gateway shows to the engine, read from its file and from those that it names. Loads nothing
 * of the engine's client, so that a configuration can be checked without it.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { isCreds, parseCredentials, type TlsFile } from "../config/fleet_credentials.ts";
import { shellQuote } from "../config/permission_line.ts";
import { isGranted, permissionError } from "../host/permissions.ts";

/** Who a gateway is towards the engine. Read by {@linkcode readCredentials}. */
export type Secret = TokenSecret | UserSecret | NkeySecret | CredsSecret;

/** A token that all share. A {@linkcode Secret}, read by {@linkcode readCredentials}. */
export interface TokenSecret {
  /** Which kind it is. */
  readonly kind: "token";
  /** The token. */
  readonly token: string;
}

/** A user and a password. A {@linkcode Secret}, read by {@linkcode readCredentials}. */
export interface UserSecret {
  /** Which kind it is. */
  readonly kind: "user";
  /** The user's name. */
  readonly user: string;
  /** The password. */
  readonly password: string;
}

/** A user's key pair. A {@linkcode Secret}, read by {@linkcode readCredentials}. */
export interface NkeySecret {
  /** Which kind it is. */
  readonly kind: "nkey";
  /** Its seed, `SU…`. */
  readonly seed: string;
}

/** A user's JWT with its key. A {@linkcode Secret}, read by {@linkcode readCredentials}. */
export interface CredsSecret {
  /** Which kind it is. */
  readonly kind: "creds";
  /** The text of the `.creds` file. */
  readonly text: string;
}

/** What TLS trusts and shows; texts in PEM. Read by {@linkcode readCredentials}. */
export interface TlsMaterial {
  /** Certificates of the authorities that are trusted; the system's where absent. */
  readonly ca?: string;
  /** The gateway's own certificate. */
  readonly cert?: string;
  /** The key of that. */
  readonly key?: string;
}

/** What a file of credentials says. Read by {@linkcode readCredentials}. */
export interface Credentials {
  /** Where it stands, for messages. */
  readonly path: string;
  /** The secret; `null` where the certificate alone says who it is. */
  readonly secret: Secret | null;
  /** For TLS; `null` where nothing is said of it. */
  readonly tls: TlsMaterial | null;
  /** All files that it was read from. */
  readonly files: readonly string[];
}

const FILE_MAX_BYTES = 64 * 1024;

/**
 * Reads a file of credentials, and those that it names. Their paths are from its own folder.
 *
 * @param path The file.
 * @returns What it says.
 * @throws {GatewayError} Where it can't be read or used, or others can read a secret.
 *
 * @example Why a file can't be used is told with the way out
 * ```ts
 * import { GatewayError } from "@virtio/gateway";
 * import { readCredentials } from "@virtio/gateway/fleet";
 * import { assert, assertEquals } from "@std/assert";
 *
 * // With `token: …`, `user: …` and `password: …`, `nkey: SU…`, or `creds: FILE`; and `tls:`.
 * const error = await readCredentials("/run/engine.yaml").catch((error: unknown) => error);
 * assert(error instanceof GatewayError);
 * assertEquals(error.hint, "Add --allow-read=/run/engine.yaml");
 * ```
 */
export async function readCredentials(path: string): Promise<Credentials> {
  const { secret, tls } = parseCredentials(path, await readFile(path, "private"));
  const files = [path];
  const beside = async (file: string, mode: "private" | "open"): Promise<string> => {
    const at = file.startsWith("/") ? file : `${folderOf(path)}${file}`;
    files.push(at);
    return await readFile(at, mode);
  };
  const material: Partial<Record<TlsFile, string>> = {};
  for (const [kind, file] of Object.entries(tls) as [TlsFile, string][]) {
    material[kind] = await beside(file, kind === "key" ? "private" : "open");
    const label = kind === "key" ? "PRIVATE KEY" : "CERTIFICATE";
    if (!new RegExp(`-----BEGIN [A-Z ]*${label}-----`).test(material[kind])) {
      throw cannotUse(files.at(-1)!, `it has no ${label.toLowerCase()} in PEM`, "");
    }
  }
  const isOfTls = Object.keys(tls).length > 0;
  const rest = { path, tls: isOfTls ? material : null, files };
  if (secret?.kind !== "creds-file") return { ...rest, secret };
  const text = await beside(secret.path, "private");
  if (isCreds(text)) return { ...rest, secret: { kind: "creds", text } };
  throw cannotUse(files.at(-1)!, "it is no .creds file", "");
}

async function readFile(path: string, mode: "private" | "open"): Promise<string> {
  if (!isGranted({ name: "read", path })) {
    throw permissionError(`read ${path}`, shellQuote(`--allow-read=${path.replaceAll(",", ",,")}`));
  }
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound;
    throw cannotUse(path, isMissing ? "there is no such file" : (error as Error).message, "");
  }
  const file = shellQuote(path);
  if (mode === "private" && info.mode !== null && (info.mode & 0o077) !== 0) {
    throw cannotUse(
      path,
      "others than its user may read or write it",
      `Make it private with: chmod 600 ${file}, and the secret another one, as that was open`,
    );
  }
  if (!info.isFile) throw cannotUse(path, "it is no file", "");
  if (info.size > FILE_MAX_BYTES) throw cannotUse(path, `it has over ${FILE_MAX_BYTES} bytes`, "");
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw cannotUse(path, (error as Error).message, "");
  }
}

function cannotUse(path: string, why: string, hint: string): GatewayError {
  const options = hint === "" ? {} : { hint };
  return new GatewayError("config", `cannot use the credentials in ${path}: ${why}`, options);
}

/** The folder that a file is in, with its slash. */
function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}
