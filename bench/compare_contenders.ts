/**
 * A gateway as it is on this machine: found, started for a guest, and ended.
 *
 * @module
 */
import { BackgroundProgram, runProgram, until } from "../tests/guest/program.ts";
import {
  isGateway,
  isOwn,
  type Kind,
  KINDS,
  type Network,
  readyFileOf,
  socketOf,
} from "./compare_kinds.ts";
import type { Place, Space } from "./compare_place.ts";

const CONFIG = new URL("../deno.json", import.meta.url);
const READY_MS = 15_000;
const GRACE_MS = 3_000;
const JOIN_ATTEMPTS = 40;

/** One of the compared gateways as it is on this machine. */
export interface Contender {
  name: string;
  /** What it says of itself. */
  version: string;
  program: string;
  kind: Kind;
}

/** Whether a contender can serve a row. */
export function serves({ kind }: Contender, row: string): boolean {
  return kind.rows === undefined || kind.rows.includes(row.replace(/\d*@\d+$/, ""));
}

async function findProgram(name: string, folder: string | undefined): Promise<string | null> {
  if (isOwn(name)) return Deno.execPath();
  const find = 'for p in "$0/$1" "$1"; do command -v "$p" && exit; done';
  const { stdout } = await runProgram(["sh", "-c", find, folder ?? "/nowhere", name]);
  return stdout.trim().split("\n")[0] || null;
}

async function versionOf(name: string, kind: Kind, program: string): Promise<string> {
  if (isOwn(name)) {
    const { version } = JSON.parse(await Deno.readTextFile(CONFIG));
    return `${version}, Deno ${Deno.version.deno}`;
  }
  const { stdout, stderr } = await runProgram(kind.version(program));
  return /version\s+(\S+)|^\S+\s+(\S*\d\S*)/m.exec(stdout + stderr)?.slice(1).find(Boolean) ??
    "unknown";
}

/**
 * Looks for the gateways on this machine.
 *
 * @param wanted Their names.
 * @param folder Where executables of those names are looked for before the `PATH`.
 * @returns Those that are here, and the names of the others.
 */
export async function findContenders(
  wanted: readonly string[],
  folder: string | undefined,
): Promise<{ here: Contender[]; absent: string[] }> {
  const here: Contender[] = [], absent: string[] = [];
  for (const name of wanted) {
    const kind = KINDS[name]!, program = await findProgram(name, folder);
    if (program === null) absent.push(name);
    else here.push({ name, kind, program, version: await versionOf(name, kind, program) });
  }
  return { here, absent };
}

/** A gateway that runs, with a guest joined to it. */
export class Attached {
  /** The gateway's process. */
  readonly gateway: BackgroundProgram;
  /** The guest's namespace. */
  readonly guest: Space;
  /** The addresses that the guest sees. */
  readonly network: Network;
  readonly #place: Place;
  readonly #bridge: BackgroundProgram | null;
  readonly #streams: string;

  private constructor(
    place: Place,
    gateway: BackgroundProgram,
    guest: Space,
    bridge: BackgroundProgram | null,
    { network, streams }: Kind,
  ) {
    this.#place = place;
    this.gateway = gateway;
    this.guest = guest;
    this.#bridge = bridge;
    this.network = network;
    this.#streams = streams ?? "traffic";
  }

  /** Starts streams of a role in the guest, to a port of the host, and waits until it is ready. */
  streams(...words: (string | number)[]): Promise<BackgroundProgram> {
    const at = words.length - 1; // HOST stands before PORT
    const all = [...words.slice(0, at), this.network.host, words[at]!];
    return this.#place.inGuest(this.guest, all, this.#streams);
  }

  /** Starts a gateway, makes a guest, joins the two and publishes the guest's ports. */
  static async begin(
    place: Place,
    { name, kind, program }: Contender,
    mtu: number,
  ): Promise<Attached> {
    const { network, makesDevice } = kind;
    const address = { address: network.guest, router: network.router };
    const guest = await place.guest({ mtu, ...(makesDevice ? {} : address) });
    const spot = { directory: await place.folder(), mtu, guest: guest.name };
    const quiet = isGateway(name) ? ["--log-level", "error"] : [];
    await kind.prepare?.(spot);
    const gateway = await place.owner.own(
      new BackgroundProgram(place.insideHost([...kind.command(program, spot), ...quiet])),
    );
    try {
      await until("the gateway is ready", () => {
        if (gateway.ended) throw new Error(`it ended: ${gateway.tail(1)}`);
        return makesDevice ? hasText(readyFileOf(spot)) : isSocket(socketOf(spot));
      }, READY_MS);
      const bridge = makesDevice ? null : await joinSoon(place, guest, socketOf(spot), kind);
      await kind.publish?.(spot);
      return new Attached(place, gateway, guest, bridge, kind);
    } catch (error) {
      await place.owner.end(gateway);
      await place.owner.end(guest);
      throw error;
    }
  }

  /** Takes the guest away and ends the gateway. */
  async end(): Promise<void> {
    if (this.#bridge !== null) await this.#place.owner.end(this.#bridge);
    await this.gateway.end("SIGTERM", GRACE_MS);
    await this.#place.owner.end(this.gateway);
    await this.#place.owner.end(this.guest);
  }
}

async function hasText(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ size }) => size > 0, () => false);
}

async function isSocket(path: string): Promise<boolean> {
  return await Deno.lstat(path).then((info) => info.isSocket === true, () => false);
}

async function accepts(path: string): Promise<boolean> {
  const connecting = Deno.connect({ transport: "unix", path });
  return await connecting.then((connection) => (connection.close(), true), () => false);
}

/** Joins a guest to a socket that may be bound, but not be listened at. */
async function joinSoon(
  place: Place,
  guest: Space,
  socket: string,
  { bridge = [] }: Kind,
): Promise<BackgroundProgram> {
  for (let attempt = 1;; attempt++) {
    try {
      return await place.join(guest, socket, bridge);
    } catch (error) {
      if (attempt === JOIN_ATTEMPTS || place.owner.closing) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/**
 * Starts a gateway for nothing but the time that it takes: until its socket accepts, until the
 * command line prints its ready line, until slirp4netns has set up the device.
 *
 * @returns Milliseconds.
 */
export async function startUpMs(place: Place, contender: Contender): Promise<number> {
  const { name, kind, program } = contender;
  const mtu = 1_500;
  const guest = await place.guest({ mtu });
  const spot = { directory: await place.folder(), mtu, guest: guest.name };
  await kind.prepare?.(spot);
  const startMs = performance.now();
  const gateway = await place.owner.own(
    new BackgroundProgram(place.insideHost(kind.command(program, spot))),
  );
  try {
    if (isGateway(name)) {
      await gateway.line(/\bready\b/, 0, READY_MS);
    } else {
      const isReady = () => kind.makesDevice ? hasText(readyFileOf(spot)) : accepts(socketOf(spot));
      while (!(await isReady())) {
        if (gateway.ended) throw new Error(`it ended: ${gateway.tail(1)}`);
        if (performance.now() - startMs > READY_MS) throw new Error("it is not ready");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    return performance.now() - startMs;
  } finally {
    await gateway.end("SIGTERM", GRACE_MS);
    await place.owner.end(gateway);
    await place.owner.end(guest);
  }
}
