/**
 * The help texts, made from the table of settings.
 *
 * @module
 */
import deno from "../../deno.json" with { type: "json" };
import { flagsOf, type FlagSpec } from "./arguments.ts";
import { type CommandName, isGroup, membersOf, OPERANDS } from "./commands.ts";
import { Exit, EXIT_HELP } from "./exit.ts";
import { FLEET_DETAILS, FLEET_SUMMARIES } from "./fleet_help.ts";

/** The version of the module. */
export const VERSION: string = deno.version;

const SUMMARIES: Readonly<Record<CommandName, string>> = {
  run: "serve a VMM (the default command)",
  check: "validate, print the configuration with the origin of each value and the deno run line",
  explain: "would the guest reach a target, by which rule, and what would change that",
  status: "a running gateway at a glance",
  top: "a running gateway live: rates, flows and refusals on the terminal's screen",
  denials: "what a running gateway has refused, with the line that allows it",
  flows: "a running gateway's flows, with their octets; or the end of one",
  dns: "what became of a guest's questions, and the gateway's own names; or a change of those",
  capture: "a guest's frames, for Wireshark: capture -w - | wireshark -k -i -",
  publish: "lead another port of the host to the guest of a running gateway",
  unpublish: "take a published port back",
  reload: "have a running gateway read its file again, as SIGHUP does",
  stop: "let a running gateway's queued bytes drain, and end it",
  ...FLEET_SUMMARIES,
  demo: "a guest inside the process, through a real socket; ends by itself",
  schema: "the JSON Schema of the YAML file, for editors",
  completions: "what bash, zsh or fish need to complete a command line",
};

const DETAILS: Readonly<Record<CommandName, string>> = {
  run: `Serves the guest of a VMM: QEMU, libkrun, krunkit, vfkit, hyperkit.

Where neither --listen nor --connect is given it listens on unix:./virtio-gateway.sock if Deno may
write it, else on tcp:127.0.0.1:7654. SIGINT and SIGTERM let queued bytes drain for --grace; a
second signal exits at once. SIGHUP reads the file again and puts its policy into force, all of it
or, where something is wrong, nothing; other settings need a restart.

A file may list several guests, which are then served together: each has keys of its own, and those
beside the list are the default of all. The flags that set something of one guest are refused then.

A RULE is TARGET[:PORTS][/PROTOCOL]. TARGET: an address or CIDR (IPv6 with ports in brackets), a
name, *.NAME for it and all below it, or public, private, host, loopback, metadata. PORTS: 443,
8000-8010, 80,443. PROTOCOL: tcp, udp, icmp, and for allowed names tls, http. Without ports a name
is allowed as TLS on port 443 and HTTP on port 80. A deny wins over every allow.`,
  check:
    `Validates what run would use and prints it as YAML that --config takes, each value with its
origin, and the exact deno run line that it needs; of several guests, each with its addresses.`,
  explain: `TARGET is pypi.org, pypi.org:443, 10.0.0.5:5432/tcp, [2001:db8::1]:443 or a URL.

Asks a running gateway, which knows what its guest has looked up, and is found as denials says.
Where there is none, or with --config or the flags of a policy, the configuration is judged, of
several guests that of --guest. Exits with 0 where the guest would reach the target and with 5 where
it would not.`,
  denials: `Asks a gateway that runs with --control. Where that is not named here, it is looked for
in VIRTIO_GATEWAY_CONTROL, then at unix:./virtio-gateway.control.sock. Refusals that are alike stand
together, the latest first, with the line that allows them. Where several guests are served, --guest
says whose; --follow without it shows what is refused to any of them.`,
  status: `Asks a gateway that runs with --control, found as denials says. Where it serves several
guests, all of them are listed, and --guest shows one.`,
  top: `Shows a gateway that runs with --control, found as denials says, on the whole screen. Keys:
q quits, s and r sort, / filters, arrows and pages move, d shows refusals, k ends the flow under the
cursor after y, p pauses, g chooses among several guests, ? lists them all. The terminal is as
before once it ends.`,
  flows: `Asks a gateway that runs with --control, found as denials says, for its guest's flows, the
latest first. FILTER is tcp or udp, the address at the other end, alone or with its port
(192.0.2.7, 192.0.2.7:443, [2001:db8::1]:443), or the name that led there or one above it.

--follow looks once a second: it shows each flow that has begun or ended since, with the octets of
the look before, and none that was not there at any look.`,
  dns: `Asks a gateway that runs with --control, found as denials says.

dns add gives names records in place of those that they had: addresses, several by several words, or
the name that one is an alias of, as in db.internal=10.0.0.5 db.internal=fd00::5 www=web.internal;
*.NAME stands for all below it that do not exist. dns remove takes a name's records away. Both last
until the gateway ends, through guests and reloads.

dns flush forgets the answers that are kept for its guest; what the guest has looked up before stays
reachable.`,
  capture:
    `Asks a gateway that runs with --control, found as denials says, for its guest's frames as
they pass, in pcapng: capture -w - | wireshark -k -i -. It has the names of addresses that the guest
has looked up, and on the answer to what is refused the rule and the line that allows it. What is
not taken fast enough is lost, and counted in the file.

FILTER is in the words of tcpdump: tcp, udp, icmp, arp, ip, ip6, port N, host ADDRESS,
net ADDRESS/BITS, src and dst in front of the last three, and, or, not and parentheses.`,
  publish:
    `SPEC is [BIND:]HOSTPORT:GUESTPORT, [BIND:]HOSTPORT, or ranges of the same length, as with
run -p: 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010; host port 0 picks a free one. It is bound
to 127.0.0.1 and ::1 where no address is named. With /udp behind it it carries datagrams:
5353:53/udp. unix:/run/web.sock:80 is a unix socket, its user's alone. All of it is published, or
nothing.

Asks a gateway that runs with --control, found as denials says. The port is published until that
ends, or until it is taken back with unpublish.`,
  unpublish: `Takes a published port back at all its addresses, or at the one that is named:
8080, 127.0.0.1:8080, [::1]:8080, a range, 8000-8010, with /udp behind it for datagrams, or
unix:/run/web.sock. Connections that came through it go on, flows of datagrams end.

Asks a gateway that runs with --control, found as denials says.`,
  reload: `Asks a gateway that runs with --control, found as denials says, and that was started with
a file. Its policy comes into force, all of it or, where something is wrong, nothing; what else has
changed in it needs a restart, and is named.`,
  stop: `Asks a gateway that runs with --control, found as denials says, to end as with SIGTERM, and
waits until it has ended.`,
  ...FLEET_DETAILS,
  demo: `Runs the gateway and a small guest in one process and shows each step: lease, ping, DNS, an
HTTP fetch, a bulk transfer, a published port, a refused one. Needs no root and no internet.`,
  schema:
    `Prints it. An editor that knows yaml-language-server then completes and checks a file that
begins with
  # yaml-language-server: $schema=./schema.json`,
  completions: `Prints a script for the shell, which has to know this program as virtio-gateway.
  bash   source <(virtio-gateway completions bash)     in ~/.bashrc
  zsh    virtio-gateway completions zsh > ~/.zfunc/_virtio-gateway     a folder of fpath
  fish   virtio-gateway completions fish > ~/.config/fish/completions/virtio-gateway.fish`,
};

/** What a command does, in one line. */
export function summaryOf(command: CommandName): string {
  return SUMMARIES[command];
}

/** What a command does, and how, as its help says it. */
export function detailsOf(command: CommandName): string {
  return DETAILS[command];
}

/** The text of `--help`. */
export function overview(): string {
  return [
    `virtio-gateway ${VERSION}: the host side of a microVM's network`,
    "",
    "Usage: virtio-gateway [COMMAND] [OPTIONS]",
    "",
    "Commands:",
    ...summaryLines(membersOf(null)),
    "",
    "COMMAND --help shows its options, --version the version.",
    "",
    EXIT_CODES,
  ].join("\n");
}

function summaryLines(names: readonly CommandName[]): string[] {
  const width = Math.max(...names.map((name) => name.length)) + 2;
  return names.map((name) => `  ${name.padEnd(width)}${SUMMARIES[name]}`);
}

/** The commands below a group, those of groups in it too. */
function commandsBelow(group: CommandName): CommandName[] {
  if (!isGroup(group)) return [group];
  return membersOf(group).flatMap(commandsBelow);
}

/** The text of `COMMAND --help`. */
export function commandHelp(command: CommandName): string {
  if (isGroup(command)) {
    return [
      `Usage: virtio-gateway ${command} COMMAND [OPTIONS]`,
      "",
      DETAILS[command],
      "",
      "Commands:",
      ...summaryLines(commandsBelow(command)),
      "",
      `${command} COMMAND --help shows its options.`,
      "",
      EXIT_CODES,
    ].join("\n");
  }
  return [
    `Usage: virtio-gateway ${[command, OPERANDS[command]].filter(Boolean).join(" ")} [OPTIONS]`,
    "",
    DETAILS[command],
    "",
    "Options:",
    ...flagLines(flagsOf(command)),
    "",
    EXIT_CODES,
  ].join("\n");
}

const [DONE, FAILED, USAGE, ...OTHERS] = (Object.keys(Exit) as (keyof typeof Exit)[])
  .map((name) => `${Exit[name]} ${EXIT_HELP[name]}`);

const EXIT_CODES = `Exit codes: ${DONE}, ${FAILED}, ${USAGE},\n${OTHERS.join(", ")}.`;

/** Longest left column before the help goes to a line of its own. */
const COLUMN = 30;

function flagLines(specs: readonly FlagSpec[]): string[] {
  return specs.flatMap(({ flag, short, argument, negated, repeats, help }) => {
    const name = `--${negated ? "no-" : ""}${flag}`;
    const left = `  ${short ? `-${short}, ` : ""}${name}${argument ? ` ${argument}` : ""}`;
    const text = repeats ? `${help}; repeatable` : help;
    return left.length < COLUMN ? [left.padEnd(COLUMN) + text] : [left, " ".repeat(COLUMN) + text];
  });
}
