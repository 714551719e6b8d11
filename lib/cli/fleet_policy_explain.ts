/**
 * `fleet policy explain`: would a guest of the fleet reach a target, by which line of which document.
 * The documents are merged as gateways do; the host's own configuration is a part of the policy that
 * is known only where `--config` names its file, and the answer says which of the two it is.
 *
 * @module
 */
import { resolveLimits } from "../config/limits.ts";
import type { PolicyConfig } from "../config/options.ts";
import { resolveSources } from "../config/resolve_guests.ts";
import { documentPlace } from "../fleet/document_place.ts";
import { mergePolicies } from "../fleet/merge.ts";
import { keysOf, PolicySet } from "../fleet/policy_set.ts";
import { PolicyStore } from "../fleet/policy_store.ts";
import { callRoll } from "../fleet/roll_call.ts";
import { compilePolicy } from "../host/guest_policy.ts";
import { printable } from "../host/log.ts";
import { explainPolicy } from "../host/policy_view.ts";
import { type Finding, formatFinding } from "../policy/explain.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { type OpenFleet, openFleet } from "./fleet_engine.ts";
import { readName } from "./fleet_words.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { configPath, readTextFile } from "./load.ts";

/** Whose policy it is, and how its group is known. */
interface Member {
  readonly name: string;
  readonly group: string | null;
  /** In words. */
  readonly by: string;
}

/** What the host itself says. */
interface HostPart {
  readonly policy: PolicyConfig;
  /** The file that says so; `null` where none was named. */
  readonly file: string | null;
}

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPolicyExplain(io: CliIo, args: ParsedArguments): Promise<number> {
  const target = args.operand!;
  const name = readName("guest", args.guest);
  const group = readName("group", args.fleet.group);
  if (name === undefined) {
    throw new UsageError("fleet policy explain needs --guest NAME: whose policy is asked about");
  }
  const host = await hostPart(args, name);
  await using access = await openFleet(args);
  const { fleet, engine } = access;
  const store = await PolicyStore.open(engine, fleet);
  const documents = await store.all();
  const member = group === undefined
    ? await announcedMember(access, name)
    : { name, group, by: `as a guest of group ${group}` };
  const texts = new Map(documents.map((document) => [document.key, document]));
  const keys = keysOf(member);
  const set = new PolicySet({ revision: await store.revision(), documents: texts }, keys);
  const layers = set.documentsOf(member);
  const policy = compilePolicy(
    mergePolicies(layers, host.policy, engine.addresses()),
    resolveLimits({}),
  );
  const { allowed, findings } = explainPolicy(policy, target);
  const placed = findings.map((finding) => placedFinding(finding, texts, keys));
  const source = {
    fleet,
    ...{ guest: name, group: member.group, revision: set.revision },
    documents: layers.map(({ key, revision }) => ({ key, revision })),
    host: host.file,
  };
  if (args.json) io.out(jsonText({ target, allowed, source, findings: placed }, 2));
  else {
    const lines = [
      ...placed.flatMap(formatFinding),
      `${member.by}: ${layersText(layers, keys)}`,
      hostText(host),
    ];
    for (const line of lines) io.out(printable(line));
  }
  return allowed ? Exit.Done : Exit.Denied;
}

/** The guest as its gateway announces it. */
async function announcedMember({ engine, fleet }: OpenFleet, name: string): Promise<Member> {
  const has = (announced: Iterable<{ guests: readonly { name: string }[] }>) =>
    Iterator.from(announced).some(({ guests }) => guests.some((guest) => guest.name === name));
  const { announcements } = await callRoll(engine, fleet, {
    isEnough: (heard) => has(heard.values()),
  });
  for (const { gateway, guests } of announcements) {
    const found = guests.find((guest) => guest.name === name);
    if (found === undefined) continue;
    const { group } = found;
    const of = group === null ? "of no group" : `of group ${group}`;
    return { name, group, by: `as guest ${name} ${of}, which gateway ${gateway} serves` };
  }
  return {
    name,
    group: null,
    by: `as a guest ${name} of no group, which no gateway announces (--group says which it has)`,
  };
}

async function hostPart(args: ParsedArguments, guest: string): Promise<HostPart> {
  const file = configPath(args);
  if (file === undefined) return { policy: {}, file: null };
  // The file alone: what this command line and its environment set is not that host's.
  const config = resolveSources({ file: await readTextFile(file) });
  if (config.kind === "guest") return { policy: config.settings.network.policy, file };
  const found = config.guests.find(({ name }) => name === guest);
  if (found !== undefined) return { policy: found.settings.network.policy, file };
  throw new UsageError(
    `--guest: ${file} has no guest "${guest}"; it has ` +
      config.guests.map(({ name }) => name).join(", "),
  );
}

/** A finding that names the document and the line, and what to change in which document. */
function placedFinding(
  finding: Finding,
  documents: ReadonlyMap<string, { readonly text: string }>,
  keys: readonly string[],
): Finding {
  const texts = new Map([...documents].map(([key, { text }]) => [key, text]));
  const { origin, rule } = finding;
  const place = documentPlace(origin, texts);
  const [, added] = /^policy: \{ (allow: \[.*\]) \}$/.exec(finding.hint ?? "") ?? [];
  const hint = added === undefined
    ? finding.hint?.replace(`(${origin})`, `(${place})`) ?? null
    : `${added} in ${keys.join(", ")} or the host's own configuration`;
  return {
    ...finding,
    // What closes everything are rules of nobody's document.
    rule: origin.endsWith(".closed") ? "closed: true" : rule,
    origin: place,
    hint,
  };
}

function layersText(
  layers: readonly { readonly key: string; readonly revision: number }[],
  keys: readonly string[],
): string {
  if (layers.length === 0) return `there is none of the documents ${keys.join(", ")}`;
  return layers.map(({ key, revision }) => `${key} (revision ${revision})`).join(", ");
}

function hostText({ file }: HostPart): string {
  return file === null
    ? "its host's own configuration is not known here, and may deny more; --config names its file"
    : `and its host's own configuration ${file}`;
}
