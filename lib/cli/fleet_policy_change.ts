/**
 * `fleet policy put` and `fleet policy delete`: a document is checked as gateways do, what changes is
 * shown, it is written where nobody was faster, and the gateways are asked where it is in force.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { Announcement } from "../fleet/announcement.ts";
import {
  changeLine,
  changesText,
  type PolicyChange,
  policyChanges,
} from "../fleet/policy_changes.ts";
import { checkChange, type CheckedChange } from "../fleet/policy_check.ts";
import { parsePolicyDocument } from "../fleet/policy_document.ts";
import { PolicyStore, type PresentDocument } from "../fleet/policy_store.ts";
import { callRoll } from "../fleet/roll_call.ts";
import { concerns, type GatewayStanding, standings } from "../fleet/roll_findings.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { type OpenFleet, openFleet } from "./fleet_engine.ts";
import { inForceText, lackingLines } from "./fleet_standing.ts";
import { readKey, readRevision } from "./fleet_words.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { readTextFile } from "./load.ts";
import { plural } from "./status.ts";

/** How long gateways are waited for until a change is in force everywhere. */
const IN_FORCE_MS = 2_000;

/**
 * Runs `fleet policy put`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPolicyPut(io: CliIo, args: ParsedArguments): Promise<number> {
  const key = readKey(args.operand!);
  const ifRevision = readRevision("if-revision", args.fleet.ifRevision, 0);
  const { name, text } = await readTextFile(args.more![0]!);
  // What is wrong with the text is said with the file's name, before anybody is asked.
  parsePolicyDocument(text, key, { name });
  return await change(io, args, { key, text, ifRevision });
}

/**
 * Runs `fleet policy delete`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPolicyDelete(io: CliIo, args: ParsedArguments): Promise<number> {
  const key = readKey(args.operand!);
  const ifRevision = readRevision("if-revision", args.fleet.ifRevision, 1);
  return await change(io, args, { key, text: null, ifRevision });
}

/** What is asked for. */
interface Wanted {
  readonly key: string;
  /** `null` takes the document away. */
  readonly text: string | null;
  readonly ifRevision: number | undefined;
}

/** What came of it. */
interface Outcome {
  readonly key: string;
  readonly revision: number;
  /** Whether something was written: a text that is there already is not. */
  readonly written: boolean;
  readonly changes: readonly PolicyChange[];
  readonly gateways: readonly GatewayStanding[];
}

async function change(io: CliIo, args: ParsedArguments, wanted: Wanted): Promise<number> {
  const { key, text, ifRevision } = wanted;
  await using access = await openFleet(args);
  const { engine, fleet } = access;
  const store = await PolicyStore.open(engine, fleet);
  if (text === null) await store.require(key);
  if (ifRevision !== undefined) await store.requireRevision(key, ifRevision);
  const [documents, roll] = await Promise.all([store.all(), callRoll(engine, fleet)]);
  const known = documents.find((document) => document.key === key);
  const checked = checkChange(documents, { key, text }, membersOf(roll.announcements));
  for (const fault of checked.faults) io.err(printable(`also: ${fault}`));
  const changes = policyChanges(checked.before, checked.after);
  if (!args.json) {
    for (const line of changeLines(wanted, known, checked, changes)) {
      say(io, line);
    }
  }
  const isSame = text !== null && text === known?.text;
  // What was shown is what is changed.
  const expected = known?.revision ?? 0;
  const revision = isSame
    ? known.revision
    : text === null
    ? await store.delete(key, { ifRevision: expected })
    : await store.put(key, text, { ifRevision: expected });
  if (!args.json) say(io, writtenText(wanted, isSame, revision));
  const gateways = await whereInForce(access, key, revision, roll.announcements);
  const outcome: Outcome = { key, revision, written: !isSame, changes, gateways };
  if (args.json) io.out(jsonText(outcome, 2));
  else for (const line of inForceLines(key, gateways, roll.announcements.length)) say(io, line);
  return gateways.some(({ standing }) => standing === "rejected") ? Exit.Failed : Exit.Done;
}

function say(io: CliIo, line: string): void {
  io.out(printable(line));
}

function membersOf(announcements: readonly Announcement[]) {
  return announcements.flatMap(({ guests }) => guests.map(({ name, group }) => ({ name, group })));
}

function changeLines(
  { key, text }: Wanted,
  known: PresentDocument | undefined,
  { before }: CheckedChange,
  changes: readonly PolicyChange[],
): string[] {
  const what = changesText(changes) || "no rule changes";
  const start = text === null
    ? `${key} goes`
    : known === undefined
    ? `${key} is new`
    : before === null
    ? `${key} was malformed`
    : key;
  return [`${start}: ${what}`, ...changes.map((each) => `  ${changeLine(each)}`)];
}

function writtenText({ key, text }: Wanted, isSame: boolean, revision: number): string {
  if (isSame) return `${key} has this text already, since revision ${revision}`;
  return text === null ? `taken away with revision ${revision}` : `written as revision ${revision}`;
}

/** Asks until all that it is about have it in force or have refused it, for 2 s at most. */
async function whereInForce(
  { engine, fleet }: OpenFleet,
  key: string,
  revision: number,
  known: readonly Announcement[],
): Promise<GatewayStanding[]> {
  const stand = (all: Iterable<Announcement>) => {
    return standings([...all].filter((each) => concerns(key, each)), () => revision);
  };
  const isSettled = (all: Iterable<Announcement>) => {
    return stand(all).every(({ standing }) => standing === "in force" || standing === "rejected");
  };
  if (isSettled(known)) return stand(known);
  try {
    const { announcements } = await callRoll(engine, fleet, {
      forMs: IN_FORCE_MS,
      known,
      isEnough: (heard) => isSettled(heard.values()),
    });
    return stand(announcements);
  } catch (error) {
    // It is written; that gateways can't be heard any more is another matter.
    if (!(error instanceof GatewayError)) throw error;
    return stand(known);
  }
}

function inForceLines(
  key: string,
  gateways: readonly GatewayStanding[],
  answered: number,
): string[] {
  if (gateways.length > 0) return [inForceText(gateways), ...lackingLines(gateways)];
  return [
    answered === 0
      ? "no gateway has answered; it comes into force where one meets the engine"
      : `none of the ${plural(answered, "gateway")} that have answered has a guest of ${key}`,
  ];
}
