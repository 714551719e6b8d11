/**
 * What a guest tries under a policy, and the world that it tries it in.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Denial, nameOrDestination } from "../../lib/policy/denial.ts";
import type { RecordTable } from "./fake_resolver.ts";
import { CLI, type GatewayProcess } from "./gateway_process.ts";
import type { GuestShell } from "./guest_shell.ts";
import { Outside, type OutsideSpec } from "./outside.ts";
import { mustRun, runProgram, until } from "./program.ts";

/** Addresses of the internet; all of them serve everything. */
export const PLACES = Object.freeze({
  web: "93.184.216.34",
  web6: "2606:2800:220:1::34",
  forge: "140.82.112.3",
  cdn: "151.101.2.5",
  doh: "9.9.9.9",
  database: "10.20.30.40",
  router: "192.168.7.7",
  metadata: "169.254.169.254",
});

const a = (address: string) => ({ type: "A", data: address });
const alias = (name: string) => ({ type: "CNAME", data: name });
const web = [a(PLACES.web), { type: "AAAA", data: PLACES.web6 }];

const RECORDS: RecordTable = {
  "example.test": web,
  "www.example.test": web,
  "other.test": web,
  "plain.test": [a(PLACES.web)],
  "forge.example.test": [a(PLACES.forge)],
  "alias.example.test": [alias("one.elsewhere.test")],
  "one.elsewhere.test": [alias("two.elsewhere.test")],
  "two.elsewhere.test": [a(PLACES.cdn)],
  "cdn.test": [a(PLACES.cdn)],
  "inner.example.test": [a(PLACES.router)],
  "mixed.example.test": [a(PLACES.router), a(PLACES.web)],
  "database.example.test": [a(PLACES.database)],
  "trap.test": [alias("other.test")],
};

const WORLD: OutsideSpec = {
  addresses: Object.values(PLACES),
  records: RECORDS,
  certified: ["*.example.test", ...Object.keys(RECORDS)],
};

/** Starts the world of these tests. */
export function startWorld(): Promise<Outside> {
  return Outside.start(WORLD);
}

/** An attempt that a policy refuses. */
export interface Refused {
  /** What is tried, for the table of times. */
  readonly what: string;
  /** The script. */
  readonly script: string;
  /** What the guest has to see. */
  readonly says: RegExp;
  /** What the log calls it: protocol, then the name or the destination. */
  readonly logged: string;
  /** The rule that the log names. */
  readonly rule: string;
  /** What the log says to write; absent where nothing allows it. */
  readonly hint?: string;
  /**
   * What to ask `explain` about it, if not what the log calls it; `null` where the question can't
   * hold what is wrong: what a flow's first bytes are, or where a name leads.
   */
  readonly explained?: string | null;
  /** What passes where the hint is followed, if it is another script; `null` where none can. */
  readonly allowed?: string | null;
}

/**
 * What to ask `explain` about an attempt: `tcp other.test:443` as `other.test:443/tcp`, a lookup by
 * its name; `null` where the question can't hold what is wrong.
 */
export function explainedTarget({ logged, explained }: Refused): string | null {
  if (explained !== undefined) return explained;
  const [protocol, place] = logged.split(" ") as [string, string];
  return protocol === "dns" ? place : `${place}/${protocol}`;
}

/** What `explain` says. */
export interface Explained {
  /** Its exit code: 0 for yes, 5 for no. */
  readonly code: number;
  /** The lines that would change a no. */
  readonly hints: string[];
}

/** Asks `explain` as a user of that host does. */
export async function explain(prefix: readonly string[], words: string[]): Promise<Explained> {
  // deno-fmt-ignore
  const command = [...prefix, Deno.execPath(), "run", "--no-prompt", "--allow-net", "--allow-read",
    CLI, "explain", "--json", ...words];
  const { code, stdout, stderr } = await runProgram(command);
  assert(stdout !== "", stderr);
  const { allowed, findings } = JSON.parse(stdout) as {
    allowed: boolean;
    findings: { hint: string | null }[];
  };
  assertEquals(allowed, code === 0, stdout);
  return { code, hints: findings.flatMap(({ hint }) => hint ?? []) };
}

/** The refusals that `denials` lists of a running gateway, by what was tried and the rule. */
export async function listedDenials({ control }: GatewayProcess): Promise<string[]> {
  // deno-fmt-ignore
  const text = await mustRun([Deno.execPath(), "run", "--no-prompt", "--allow-net", "--allow-read",
    "--allow-write", CLI, "denials", "--json", "--control", `unix:${control}`]);
  const { groups } = JSON.parse(text) as { groups: { denial: Denial }[] };
  return groups.map(({ denial }) => {
    return `${denial.protocol} ${nameOrDestination(denial)} by ${denial.rule}`;
  });
}

/** A refusal as the log has it. */
export interface LoggedDenial {
  /** Protocol, then the name or the destination. */
  readonly what: string;
  /** The reason in words. */
  readonly detail: string;
  readonly rule: string;
  readonly origin?: string;
  /** The line that allows it. */
  readonly allow?: string;
}

/** The refusals in a log of JSON lines. */
export function loggedDenials({ log }: GatewayProcess): LoggedDenial[] {
  return log.lines.flatMap((line): LoggedDenial[] => {
    if (!line.startsWith("{")) return [];
    const { message, ...fields } = JSON.parse(line);
    const [, what, detail] = /^denied (\S+ .*?): (.*)$/.exec(message) ?? [];
    if (what === undefined || detail === undefined) return [];
    const { rule, origin, allow } = fields;
    return [{ what, detail, rule, origin, allow }];
  });
}

/** The log tells of no more than ten refusals a second: attempts keep so far apart. */
const APART_MS = 110;

/** Makes each attempt and checks what the guest sees and what the log tells. */
export class RefusalChecker {
  /** One line for each attempt, with its time. */
  readonly times: string[] = [];
  readonly #gateway: GatewayProcess;
  readonly #shell: GuestShell;
  readonly #tried: Refused[] = [];
  #lastMs = -APART_MS;

  constructor(gateway: GatewayProcess, shell: GuestShell) {
    this.#gateway = gateway;
    this.#shell = shell;
  }

  /** Makes one attempt. */
  async try(attempt: Refused): Promise<void> {
    const restMs = this.#lastMs + APART_MS - performance.now();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, restMs)));
    const { text, ms } = await this.#shell.run(attempt.script);
    this.#lastMs = performance.now();
    assertMatch(text, attempt.says, attempt.script);
    assert(ms >= 0, `no time in ${text}`);
    this.times.push(`${ms.toFixed(1).padStart(7)} ms  ${attempt.what}`);
    if (!this.#tried.some(({ logged }) => logged === attempt.logged)) this.#tried.push(attempt);
    const isLogged = () => loggedDenials(this.#gateway).some(({ what }) => what === attempt.logged);
    await until(`the log tells of ${attempt.logged}`, isLogged);
  }

  /** Each refusal stands in the log once, with its rule and the line that allows it. */
  checkLog(): void {
    const byName = <T extends { what: string }>(list: T[]) => {
      return list.toSorted((one, other) => one.what < other.what ? -1 : 1);
    };
    const expected = this.#tried.map(({ logged, rule, hint = null }) => {
      return { what: logged, rule, allow: hint };
    });
    const seen = loggedDenials(this.#gateway).map(({ what, rule, allow = null }) => {
      return { what, rule, allow };
    });
    assertEquals(byName(seen), byName(expected));
  }
}
