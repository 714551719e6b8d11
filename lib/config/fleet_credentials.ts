/**
 * The file that says who a gateway is to the engine of a fleet: a `.creds` file as NATS' own tools
 * make it, or YAML with one secret and what TLS is to trust and to show.
 *
 * No message repeats what stands in it, not even a key that is not known: that may be the secret,
 * written in the wrong place.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { ConfigError } from "./errors.ts";
import { isMapping, type Raw } from "./readers.ts";
import { yamlPositions } from "./yaml_positions.ts";

/** What the file says; paths as they stand in it. */
export interface CredentialsFile {
  /** The secret; `null` where a certificate says who it is. */
  readonly secret:
    | { readonly kind: "token"; readonly token: string }
    | { readonly kind: "user"; readonly user: string; readonly password: string }
    | { readonly kind: "nkey"; readonly seed: string }
    | { readonly kind: "creds"; readonly text: string }
    | { readonly kind: "creds-file"; readonly path: string }
    | null;
  /** Files for TLS; empty where nothing is said of it. */
  readonly tls: Readonly<Partial<Record<TlsFile, string>>>;
}

/** What TLS has files for. */
export type TlsFile = typeof TLS_KEYS[number];

const TLS_KEYS = ["ca", "cert", "key"] as const;
const SECRET_KEYS = ["token", "user", "password", "nkey", "creds"] as const;
const KEYS = [...SECRET_KEYS, "tls"] as const;

const ONE_SECRET = "token, user and password, nkey, or creds";
const CREDS = /-----BEGIN NATS USER JWT-----[^]*-----BEGIN USER NKEY SEED-----/;
const SEED = /^SU[A-Z2-7]{56}$/;
/** What goes in a line of the engine's protocol. */
const TEXT = /^[^\p{Cc}]{1,1024}$/u;

/**
 * Reads the file's text.
 *
 * @param name The file, for messages.
 * @param text Its content.
 * @returns What it says.
 * @throws {ConfigError} With a line for each thing that is wrong.
 */
export function parseCredentials(name: string, text: string): CredentialsFile {
  if (isCreds(text)) return { secret: { kind: "creds", text }, tls: {} };
  const root = parseYaml(name, text);
  const positions = yamlPositions(text);
  const lines: string[] = [];
  const fail = (path: string, what: string): void => {
    const at = positions.get(path) ?? { line: 1, column: 1 };
    lines.push(`${name}:${at.line}:${at.column} ${what}`);
  };
  const read = new Mapping(root, "", KEYS, fail);
  const tls = root.tls === undefined ? {} : tlsOf(root.tls, fail);
  const secret = secretOf(read, Object.keys(tls).length > 0, fail);
  if (lines.length > 0) throw new ConfigError(lines.map((line) => ({ key: "", text: line })));
  return { secret, tls };
}

/** Whether a text is that of a `.creds` file. */
export function isCreds(text: string): boolean {
  return CREDS.test(text);
}

type Fail = (path: string, what: string) => void;
type Values = { readonly [key: string]: Raw };

function parseYaml(name: string, text: string): Values {
  const fault = (what: string): ConfigError => {
    const rule = `write YAML with ${ONE_SECRET}, or name a .creds file`;
    return new ConfigError([{ key: "", text: `${name} ${what}; ${rule}` }]);
  };
  let root: unknown;
  try {
    root = parse(text, { schema: "failsafe" });
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    const [, line, column] = / at line ([0-9]+), column ([0-9]+)/.exec(message) ?? [];
    throw fault(`is no YAML${line === undefined ? "" : `, at line ${line}, column ${column}`}`);
  }
  if (!isMapping(root as Raw)) throw fault("is not a mapping of keys");
  return root as Values;
}

/** The texts of a mapping, with every other key refused. */
class Mapping {
  readonly #values: Values;
  readonly #fail: Fail;
  readonly #prefix: string;

  constructor(values: Values, prefix: string, known: readonly string[], fail: Fail) {
    this.#values = values;
    this.#fail = fail;
    this.#prefix = prefix;
    for (const key of Object.keys(values)) {
      if (!known.includes(key)) {
        fail(`${prefix}${key}`, `unknown key; known are ${known.join(", ")}`);
      }
    }
  }

  has(key: string): boolean {
    return this.#values[key] !== undefined;
  }

  text(key: string, isRight: (text: string) => boolean, rule: string): string {
    const value = this.#values[key];
    if (typeof value === "string" && isRight(value)) return value;
    if (value !== undefined) this.#fail(`${this.#prefix}${key}`, `${key} is not ${rule}`);
    return "";
  }
}

const isText = (text: string): boolean => TEXT.test(text);
const TEXT_RULE = "a text of one line";
const FILE_RULE = "the path of a file";

function secretOf(read: Mapping, hasTls: boolean, fail: Fail): CredentialsFile["secret"] {
  const given = SECRET_KEYS.filter((key) => read.has(key));
  const [first] = given;
  if (first === undefined) {
    if (!hasTls) fail("", `says nothing of who the gateway is; write ${ONE_SECRET}`);
    return null;
  }
  const isUser = read.has("user") && read.has("password") && given.length === 2;
  if (!isUser && (given.length > 1 || first === "user" || first === "password")) {
    const what = given.length === 1 ? `${first} alone is not enough` : `${given.join(" and ")}`;
    fail(given.at(-1)!, `${what}: write one of ${ONE_SECRET}`);
    return null;
  }
  switch (first) {
    case "token":
      return { kind: "token", token: read.text("token", isText, TEXT_RULE) };
    case "nkey": {
      const isSeed = (text: string): boolean => SEED.test(text);
      return {
        kind: "nkey",
        seed: read.text("nkey", isSeed, "the seed of a user, SU and 56 more"),
      };
    }
    case "creds":
      return { kind: "creds-file", path: read.text("creds", isText, FILE_RULE) };
    default:
      return {
        kind: "user",
        user: read.text("user", isText, TEXT_RULE),
        password: read.text("password", isText, TEXT_RULE),
      };
  }
}

function tlsOf(raw: Raw, fail: Fail): CredentialsFile["tls"] {
  if (!isMapping(raw)) {
    fail("tls", `tls is not a mapping of ${TLS_KEYS.join(", ")}`);
    return {};
  }
  const read = new Mapping(raw, "tls.", TLS_KEYS, fail);
  const given = TLS_KEYS.filter((key) => read.has(key));
  if (given.length === 0) fail("tls", `tls names none of ${TLS_KEYS.join(", ")}`);
  if (read.has("cert") !== read.has("key")) fail("tls", "tls needs cert and key together");
  return Object.fromEntries(given.map((key) => [key, read.text(key, isText, FILE_RULE)]));
}
