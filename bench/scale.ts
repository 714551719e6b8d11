/**
 * How much the gateway carries: flows, connects, black holes, and how flows share it.
 *
 *     deno task scale [--flows N] [--seconds N] [--only PART,…] [--json]
 *
 * A real kernel guest behind the shipped command line (behind a program that tells its figures
 * where tables are looked into). The servers, the gateway and the guest live in namespaces that
 * are made here and removed at the end, also after Ctrl-C. Needs root, /dev/net/tun and a C
 * compiler. Speed wants a machine with nothing else to do.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { measureConnects, measureHoles, measureStorm } from "./scale_connects.ts";
import { measureFlows, measureUdpFlows } from "./scale_flows.ts";
import { measureSharing } from "./scale_sharing.ts";
import { inLab, type Lab } from "./support/lab.ts";
import { Report } from "./support/report.ts";

interface Sizes {
  flows: number;
  seconds: number;
}

/** The parts in their order. */
const PARTS: Readonly<Record<string, (lab: Lab, report: Report, sizes: Sizes) => Promise<void>>> = {
  flows: (lab, report, { flows }) => measureFlows(lab, report, flows),
  connects: measureConnects,
  storm: (lab, report, { seconds }) => measureStorm(lab, report, seconds),
  udp: measureUdpFlows,
  hole: (lab, report) => measureHoles(lab, report, false),
  holes: (lab, report) => measureHoles(lab, report, true),
  sharing: measureSharing,
};

function usage(problem: string): never {
  console.error(`scale: ${problem}`);
  console.error(`deno task scale [--flows N] [--seconds N] [--json] [--only PART,…]`);
  console.error(`parts: ${Object.keys(PARTS).join(", ")}`);
  Deno.exit(2);
}

function positive(name: string, value: unknown): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 2) usage(`--${name} is a whole number from 2 on`);
  return number;
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["flows", "seconds", "only"],
    boolean: ["json"],
    default: { flows: "10000", seconds: "60", only: Object.keys(PARTS).join(",") },
  });
  const sizes = {
    flows: positive("flows", args.flows),
    seconds: positive("seconds", args.seconds),
  };
  const wanted = String(args.only).split(",");
  const unknown = wanted.find((name) => !(name in PARTS));
  if (unknown !== undefined) usage(`no part ${unknown}`);
  const report = new Report(Boolean(args.json));
  await inLab(sizes.flows, async (lab) => {
    report.say(`every process may have ${lab.descriptors} descriptors (ulimit -n)`);
    for (const name of Object.keys(PARTS)) {
      if (wanted.includes(name)) await PARTS[name]!(lab, report, sizes);
    }
  });
  report.finish();
  Deno.exit(report.allMet ? 0 : 1);
}
