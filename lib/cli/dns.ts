/**
 * `dns`: what became of the questions of a running gateway's guest, and the names that the gateway
 * answers itself; `dns flush` forgets the answers that are kept.
 *
 * @module
 */
import { didYouMean } from "../config/nearest.ts";
import type { DnsReport } from "../control/api.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { countsText, plural, row } from "./status.ts";

const FLUSH = "flush";

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runDns(io: CliIo, args: ParsedArguments): Promise<number> {
  const { operand, json } = args;
  if (operand !== undefined && operand !== FLUSH) {
    const near = didYouMean(operand, [FLUSH]);
    throw new UsageError(`unexpected argument "${operand}"${near || "; see dns --help"}`);
  }
  const client = await requireGateway(args);
  if (operand === FLUSH) {
    const hasGuest = await client.flushDns();
    if (json) io.out(JSON.stringify({ hasGuest }, null, 2));
    else io.out(hasGuest ? "no answer is kept any more" : "no guest is attached: nothing is kept");
    return Exit.Done;
  }
  const report = await client.dns();
  if (json) io.out(JSON.stringify(report, null, 2));
  else for (const line of dnsLines(report)) io.out(printable(line));
  return Exit.Done;
}

/** The report for a terminal. */
export function dnsLines({ counts, inFlight, names }: DnsReport): string[] {
  return [
    ...(counts === null ? [row("guest", "none is attached")] : [
      row("resolver", countsText({ ...counts })),
      row("waiting", inFlight === 0 ? "nothing" : plural(inFlight, "question")),
    ]),
    ...names.flatMap(({ name, records }) => {
      const texts = records.map(({ type, data }) => `${type} ${data}`);
      return (texts.length === 0 ? ["nothing"] : texts).map((text, i) => {
        return row(i === 0 ? "own name" : "", `${name}  ${text}`);
      });
    }),
  ];
}
