/**
 * The flags that are no settings: which commands take them, and what the help says of them.
 *
 * @module
 */
import { type CommandName, COMMANDS, FLEET_COMMANDS } from "./commands.ts";

/** A flag of the command line itself, no setting. */
export interface OwnFlag {
  /** Name without dashes. */
  readonly flag: string;
  /** One letter for it. */
  readonly short?: string;
  /** What its value is called; absent for a switch. */
  readonly argument?: string;
  /** Whether it is on by default and `--no-…` is its use. */
  readonly negated?: boolean;
  /** The commands that take it. */
  readonly commands: readonly CommandName[];
  /** One line for the help. */
  readonly help: string;
}

/** The flags that are no settings. */
export const OWN_FLAGS: readonly OwnFlag[] = [
  {
    flag: "config",
    argument: "FILE|-",
    commands: ["run", "check", "explain"],
    help: "YAML, - for stdin; flags win over VIRTIO_GATEWAY_…, these over it",
  },
  {
    flag: "config",
    argument: "FILE",
    commands: FLEET_COMMANDS,
    help: "YAML of a gateway of the fleet, which names the engine",
  },
  {
    flag: "guest",
    argument: "NAME",
    commands: [
      ...["explain", "status", "top", "denials", "flows", "dns"] as const,
      ...["capture", "publish", "unpublish"] as const,
    ],
    help: "the guest that is meant, where several are served",
  },
  {
    flag: "guest",
    argument: "NAME",
    commands: ["fleet policy explain", "fleet denials"],
    help: "the guest that is meant",
  },
  {
    flag: "group",
    argument: "NAME",
    commands: ["fleet policy explain"],
    help: "its group (default: what its gateway announces)",
  },
  {
    flag: "gateway",
    argument: "NAME",
    commands: ["fleet denials"],
    help: "only what this gateway has refused",
  },
  {
    flag: "revision",
    argument: "N",
    commands: ["fleet policy get"],
    help: "the document as it was with this revision",
  },
  {
    flag: "if-revision",
    argument: "N",
    commands: ["fleet policy put", "fleet policy delete"],
    help: "only where this is its revision still; 0 where there is to be none",
  },
  {
    flag: "last",
    argument: "N",
    commands: ["fleet denials"],
    help: "how many of the latest are shown (default 50)",
  },
  {
    flag: "replicas",
    argument: "1|3|5",
    commands: ["fleet init"],
    help: "on how many servers of the engine each is kept (default 1)",
  },
  {
    flag: "follow",
    short: "f",
    commands: ["denials", "flows", "fleet denials"],
    help: "and then each as it comes; with --json one document a line",
  },
  {
    flag: "end",
    argument: "ID",
    commands: ["flows"],
    help: "end this flow at once instead, a TCP flow with a reset",
  },
  {
    flag: "json",
    commands: [
      ...["check", "explain", "status", "denials", "flows", "dns"] as const,
      ...["publish", "unpublish", "reload", "demo"] as const,
      ...FLEET_COMMANDS,
    ],
    help: "print one JSON document",
  },
  {
    flag: "write",
    short: "w",
    argument: "FILE|-",
    commands: ["capture"],
    help: "where to, - for stdout (default)",
  },
  {
    flag: "filter",
    argument: "FILTER",
    commands: ["capture"],
    help: "which frames, such as: tcp port 443 and host 10.0.0.5",
  },
  {
    flag: "snap",
    argument: "OCTETS",
    commands: ["capture"],
    help: "keep so much of each frame (default all)",
  },
  {
    flag: "interval",
    argument: "SECONDS",
    commands: ["top"],
    help: "how often the gateway is asked (default 1)",
  },
  { flag: "ascii", commands: ["top", "fleet top"], help: "draw with letters and signs alone" },
  { flag: "quiet", commands: ["run", "check"], help: "the same as --log-level warn" },
  { flag: "color", negated: true, commands: COMMANDS, help: "no colours (NO_COLOR too)" },
  { flag: "help", short: "h", commands: COMMANDS, help: "this text" },
  { flag: "version", short: "V", commands: COMMANDS, help: "print the version" },
];
