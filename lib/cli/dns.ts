/**
 * `dns`: what became of the questions of a running gateway's guest, and the names that the gateway
 * answers itself; `dns add` and `dns remove` change those until the gateway ends, `dns flush` forgets
 * the answers that are kept.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { didYouMean } from "../config/nearest.ts";
import { recordFault } from "../config/record_reader.ts";
import type { DnsReport } from "../control/api.ts";
import type { OwnName, RecordSpec } from "../control/client.ts";
import { normalizeName, normalizeOwner } from "../dns/name.ts";
import { printable } from "../host/log.ts";
import { parseIp } from "../wire/address.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { countsText, plural, row } from "./status.ts";

const VERBS: Readonly<Record<string, (io: CliIo, args: ParsedArguments) => Promise<void>>> = {
  flush,
  add,
  remove,
};

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runDns(io: CliIo, args: ParsedArguments): Promise<number> {
  const { operand } = args;
  if (operand === undefined) await show(io, args);
  else if (Object.hasOwn(VERBS, operand)) await VERBS[operand]!(io, args);
  else {
    const near = didYouMean(operand, Object.keys(VERBS));
    throw new UsageError(`unexpected argument "${operand}"${near || "; see dns --help"}`);
  }
  return Exit.Done;
}

async function show(io: CliIo, args: ParsedArguments): Promise<void> {
  const report = await (await requireGateway(args)).dns();
  print(io, args, report, dnsLines(report));
}

async function flush(io: CliIo, args: ParsedArguments): Promise<void> {
  const [extra] = args.more ?? [];
  if (extra !== undefined) throw new UsageError(`unexpected argument "${extra}"; see dns --help`);
  const hasGuest = await (await requireGateway(args)).flushDns();
  const line = hasGuest ? "no answer is kept any more" : "no guest is attached: nothing is kept";
  print(io, args, { hasGuest }, [line]);
}

async function add(io: CliIo, args: ParsedArguments): Promise<void> {
  const specs = readNames(args.more ?? []);
  const client = await requireGateway(args);
  const names: OwnName[] = [];
  for (const [name, spec] of specs) names.push(await client.setRecords(name, spec));
  print(io, args, { names }, names.flatMap(ownNameLines));
}

async function remove(io: CliIo, args: ParsedArguments): Promise<void> {
  const [name, extra] = args.more ?? [];
  if (name === undefined || extra !== undefined) {
    throw new UsageError("dns remove needs one NAME; see dns --help");
  }
  const client = await requireGateway(args);
  const removed = await client.removeRecords(name);
  if (removed === null) {
    throw new GatewayError("control", `"${name}" has no records that could be taken away`, {
      hint: "dns lists the names that have some; gateway.internal and host.internal stay",
    });
  }
  print(io, args, removed, [`${removed.name} is no own name any more`]);
}

/**
 * The names of `NAME=VALUE` words, each with its addresses or as an alias.
 *
 * @throws {UsageError} Where a word is none, so that none of them is put into force.
 */
export function readNames(words: readonly string[]): Map<string, RecordSpec> {
  if (words.length === 0) {
    throw new UsageError("dns add needs NAME=VALUE, such as db.internal=10.0.0.5; see dns --help");
  }
  const values = new Map<string, string[]>();
  for (const word of words) {
    const [, name, value] = /^([^=]+)=(.+)$/.exec(word) ?? [];
    if (name === undefined || value === undefined) {
      throw new UsageError(`"${word}" is not NAME=VALUE, such as db.internal=10.0.0.5`);
    }
    const owner = normalizeOwner(name) ?? name;
    values.set(owner, [...values.get(owner) ?? [], value]);
  }
  return new Map([...values].map(([name, list]) => [name, specOf(name, list)]));
}

function specOf(name: string, values: readonly string[]): RecordSpec {
  const target = values.find((value) => parseIp(value) === null);
  if (target !== undefined && normalizeName(target) === null) {
    throw new UsageError(`${name}: "${target}" is no address and no host name`);
  }
  if (target !== undefined && values.length > 1) {
    throw new UsageError(`${name}: "${target}" is a name, and an alias has one target alone`);
  }
  const spec = target === undefined ? values : { cname: target };
  const fault = recordFault(name, spec);
  if (fault !== null) throw new UsageError(fault.text);
  return spec;
}

function print(
  io: CliIo,
  { json }: ParsedArguments,
  value: unknown,
  lines: readonly string[],
): void {
  if (json) io.out(JSON.stringify(value, null, 2));
  else for (const line of lines) io.out(printable(line));
}

/** The report for a terminal. */
export function dnsLines({ counts, inFlight, kept, names }: DnsReport): string[] {
  return [
    ...(counts === null ? [row("guest", "none is attached")] : [
      row("resolver", countsText({ ...counts })),
      row("waiting", inFlight === 0 ? "nothing" : plural(inFlight, "question")),
      row("kept", kept === 0 ? "nothing" : plural(kept, "answer")),
    ]),
    ...names.flatMap(ownNameLines),
  ];
}

function ownNameLines({ name, records }: OwnName): string[] {
  const texts = records.map(({ type, data }) => `${type} ${data}`);
  return (texts.length === 0 ? ["nothing"] : texts).map((text, i) => {
    return row(i === 0 ? "own name" : "", `${name}  ${text}`);
  });
}
