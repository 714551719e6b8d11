/**
 * `fleet policy get` and `fleet policy history`: the documents as they were written, which there
 * are, and how they came to be so.
 *
 * @module
 */
import { ConfigError, GatewayError } from "../config/errors.ts";
import { parsePolicyKey } from "../fleet/names.ts";
import { changesText, type PolicyChange, policyChanges } from "../fleet/policy_changes.ts";
import { parsePolicyDocument, type PolicyDocument } from "../fleet/policy_document.ts";
import { PolicyStore, type StoredDocument } from "../fleet/policy_store.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { columns } from "./columns.ts";
import { Exit, UsageError } from "./exit.ts";
import { openFleet } from "./fleet_engine.ts";
import { readKey, readRevision } from "./fleet_words.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { octetsText } from "./octets_text.ts";
import { plural } from "./status.ts";
import { timeText } from "./time_text.ts";

/**
 * Runs `fleet policy get`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPolicyGet(io: CliIo, args: ParsedArguments): Promise<number> {
  const key = args.operand === undefined ? undefined : readKey(args.operand);
  const revision = readRevision("revision", args.fleet.revision, 1);
  if (key === undefined && revision !== undefined) {
    throw new UsageError(
      "--revision is of one document; name it: fleet policy get KEY --revision N",
    );
  }
  await using access = await openFleet(args);
  const { engine, fleet } = access;
  const store = await PolicyStore.open(engine, fleet);
  if (key === undefined) await list(io, args, store, fleet);
  else await show(io, args, requirePresent(await store.get(key, revision), key, fleet, revision));
  return Exit.Done;
}

function requirePresent(
  document: StoredDocument | null,
  key: string,
  fleet: string,
  revision: number | undefined,
): StoredDocument & { readonly text: string } {
  if (document === null && revision !== undefined) {
    throw new GatewayError("fleet", `revision ${revision} is none of the policy document ${key}`, {
      hint: `fleet policy history ${key} lists those that are kept`,
    });
  }
  if (document !== null && document.text !== null) return { ...document, text: document.text };
  const gone = document === null ? "" : `: it was taken away with revision ${document.revision}`;
  throw new GatewayError("fleet", `fleet "${fleet}" has no policy document ${key}${gone}`, {
    hint: "fleet policy get lists those that it has",
  });
}

/** As it was written, so that it can be changed and put back. */
function show(
  io: CliIo,
  { json }: ParsedArguments,
  document: StoredDocument & { readonly text: string },
): void {
  const text = document.text.replace(/\n$/, "");
  // A terminal is not to obey what stands in it; a file gets all of it as it is.
  const shown = Deno.stdout.isTerminal() ? text.split("\n").map(printable).join("\n") : text;
  io.out(json ? jsonText(document, 2) : shown);
}

async function list(
  io: CliIo,
  { json }: ParsedArguments,
  store: PolicyStore,
  fleet: string,
): Promise<void> {
  const documents = await store.all();
  const revision = await store.revision();
  const rows = documents.map((document) => ({ ...document, says: readDocument(document) }));
  if (json) {
    const listed = rows.map(({ key, revision, createdMs, text, says }) => ({
      ...{ key, revision, createdMs, bytes: bytesOf(text) },
      ...(typeof says === "string" ? { fault: says } : {
        closed: says.closed,
        allowRules: rules(says, "allow"),
        denyRules: rules(says, "deny"),
      }),
    }));
    io.out(jsonText({ fleet, revision, documents: listed }, 2));
    return;
  }
  if (rows.length === 0) {
    io.out(`fleet "${fleet}" has no policy document; write one with: fleet policy put fleet FILE`);
    return;
  }
  const heading = ["KEY", "REVISION", "SINCE", "SIZE", "SAYS"];
  const cells = rows.map(({ key, revision, createdMs, text, says }) => [
    key,
    String(revision),
    timeText(createdMs),
    octetsText(bytesOf(text)),
    typeof says === "string" ? `malformed: ${says.split("\n", 1)[0]}` : saysText(key, says),
  ]);
  for (const line of columns([heading, ...cells], [1, 3])) io.out(printable(line));
}

function saysText(key: string, document: PolicyDocument): string {
  if (parsePolicyKey(key) === null) return "nothing to any gateway: that is no key of a document";
  if (document.closed) return "closed";
  const { protect, denyPage, ech } = document.policy;
  const words = [
    ...countText(rules(document, "allow"), "allow rule"),
    ...countText(rules(document, "deny"), "deny rule"),
    ...(protect === undefined ? [] : [`protect ${protect}`]),
    ...(ech === undefined ? [] : [`ech ${ech}`]),
    ...(denyPage === undefined ? [] : [`denyPage ${denyPage}`]),
  ];
  return words.join(", ") || "nothing";
}

function countText(count: number, what: string): string[] {
  return count === 0 ? [] : [plural(count, what)];
}

function rules({ policy }: PolicyDocument, list: "allow" | "deny"): number {
  return policy[list]?.length ?? 0;
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** What a document says, or what is wrong with it. */
function readDocument(
  { key, text, revision }: { key: string; text: string; revision: number },
): PolicyDocument | string {
  try {
    return parsePolicyDocument(text, key, { revision });
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

/** A revision and what came with it. */
interface HistoryEntry {
  readonly key: string;
  readonly revision: number;
  readonly createdMs: number;
  /** `null` where the document was taken away. */
  readonly bytes: number | null;
  readonly changes: readonly PolicyChange[];
  /** Why the changes are not known; `null` where they are. */
  readonly fault: string | null;
}

/**
 * Runs `fleet policy history`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPolicyHistory(io: CliIo, args: ParsedArguments): Promise<number> {
  const key = args.operand === undefined ? undefined : readKey(args.operand);
  await using access = await openFleet(args);
  const { engine, fleet } = access;
  const store = await PolicyStore.open(engine, fleet);
  const entries = historyOf(await store.history(key)).toReversed();
  if (args.json) io.out(jsonText({ fleet, revisions: entries }, 2));
  else for (const line of historyLines(entries, key, fleet)) io.out(printable(line));
  return Exit.Done;
}

/** What came with each revision; with the first that is kept, all that it says. */
export function historyOf(revisions: readonly StoredDocument[]): HistoryEntry[] {
  const before = new Map<string, PolicyDocument | null>();
  return revisions.map(({ key, revision, createdMs, text }) => {
    const says = text === null ? null : readDocument({ key, text, revision });
    const bytes = text === null ? null : bytesOf(text);
    if (typeof says === "string") {
      return { key, revision, createdMs, bytes, changes: [], fault: says.split("\n", 1)[0]! };
    }
    const changes = policyChanges(before.get(key) ?? null, says);
    before.set(key, says);
    return { key, revision, createdMs, bytes, changes, fault: null };
  });
}

function historyLines(
  entries: readonly HistoryEntry[],
  key: string | undefined,
  fleet: string,
): string[] {
  if (entries.length === 0) {
    const what = key === undefined ? "no policy document was" : `no policy document ${key} was`;
    return [`${what} ever written in fleet "${fleet}"`];
  }
  const cells = entries.map(({ key, revision, createdMs, bytes, changes, fault }) => [
    String(revision),
    timeText(createdMs),
    key,
    bytes === null ? "-" : octetsText(bytes),
    fault !== null
      ? `malformed: ${fault}`
      : bytes === null
      ? "taken away"
      : changesText(changes) || "no rule changed",
  ]);
  return columns([["REVISION", "WHEN", "KEY", "SIZE", "WHAT"], ...cells], [0, 3]);
}
