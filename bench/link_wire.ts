/**
 * The ends of a bad link: network namespaces whose tap device is bridged onto a frame stream by
 * `faulty_bridge.c`, and an owner that takes everything down again, however the bench ends.
 *
 * @module
 */
import { BackgroundProgram, mustRun, runProgram } from "../tests/guest/program.ts";

const BRIDGE_SOURCE = new URL("./faulty_bridge.c", import.meta.url).pathname;

/** What a link does to each frame, in both directions alike. */
export interface Faults {
  /** Percentage of frames that are lost. */
  loss?: number;
  /** Percentage that come twice. */
  dup?: number;
  /** Percentage that are displaced by up to 5 ms. */
  reorder?: number;
  /** Percentage with one bit turned. */
  flip?: number;
  /** Milliseconds that each frame takes. */
  delay?: number;
  /** Start of the random sequence. */
  seed: number;
}

/** What the bridge did to one direction's frames. */
export interface Direction {
  /** Frames that came in. */
  frames: number;
  /** Of them lost. */
  lost: number;
  /** Of them sent twice. */
  duplicated: number;
  /** Frames let go later than their turn. */
  reordered: number;
  /** Frames with one bit turned. */
  flipped: number;
  /** Frames that the kernel did not take. */
  refused: number;
  /** How often the bridge did not read because its queue or its reader was full. */
  stalls: number;
  /** Mean time that a frame stayed beyond its release, in microseconds. */
  lateUs: number;
}

/** What the bridge did in all. */
export interface BridgeReport {
  /** From the namespace onto the stream. */
  toStream: Direction;
  /** From the stream into the namespace. */
  toTap: Direction;
}

/** The addresses of a namespace's end. */
export interface EndSpec {
  /** Its address with the prefix length. */
  address: string;
  /** Its device's MAC address. */
  mac: string;
  /** The other end, also the default route. */
  peer: string;
  /** The other end's MAC address: ARP has no checksum that would save it from a turned bit. */
  peerMac: string;
}

/** The bench was asked to stop. */
export class Interrupted extends Error {}

/** Owns what the bench has started; the newest goes first, each once. */
export class Owner implements AsyncDisposable {
  /** Files of this run. */
  readonly directory = Deno.makeTempDirSync({ prefix: "vglink-" });
  readonly #owned: AsyncDisposable[] = [];
  #closing: Promise<void> | null = null;

  /** Whether everything is being taken down. */
  get closing(): boolean {
    return this.#closing !== null;
  }

  /**
   * Takes what is being started into its care; what starts while all ends is ended at once.
   *
   * @param starting What is being started.
   * @returns It, running.
   */
  async own<T extends AsyncDisposable>(starting: T | Promise<T>): Promise<T> {
    const started = await starting;
    if (this.closing) {
      await started[Symbol.asyncDispose]();
      throw new Interrupted();
    }
    this.#owned.push(started);
    return started;
  }

  /** Ends one thing before the rest. */
  async end(thing: AsyncDisposable): Promise<void> {
    const at = this.#owned.indexOf(thing);
    if (at < 0) return;
    this.#owned.splice(at, 1);
    await thing[Symbol.asyncDispose]();
  }

  /**
   * Runs a program until it has printed what is waited for.
   *
   * @param words The program and its arguments.
   * @param last The line that ends its answer.
   * @param timeoutMs After this the call throws.
   * @returns All that it has printed.
   */
  async answer(words: string[], last: RegExp, timeoutMs: number): Promise<string> {
    const program = await this.own(new BackgroundProgram(words));
    try {
      await program.line(last, 0, timeoutMs);
      return program.lines.join("\n");
    } finally {
      await this.end(program);
    }
  }

  /** Takes everything down; a second call waits for the first one. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= (async () => {
      for (let thing = this.#owned.pop(); thing !== undefined; thing = this.#owned.pop()) {
        await thing[Symbol.asyncDispose]();
      }
      await Deno.remove(this.directory, { recursive: true });
    })();
    return this.#closing;
  }
}

/**
 * Compiles the bridge.
 *
 * @param owner Whose folder it goes to.
 * @returns The program's path.
 */
export async function compileBridge(owner: Owner): Promise<string> {
  const program = `${owner.directory}/faulty_bridge`;
  // deno-fmt-ignore
  await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program,
    BRIDGE_SOURCE]);
  return program;
}

/** A network namespace with a tap device; programs in it are the kernel at this end of the link. */
export class End implements AsyncDisposable {
  /** The namespace's name. */
  readonly namespace = `vglink-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
  #bridge: BackgroundProgram | null = null;

  /** Makes the namespace, with its device and addresses; the device leads nowhere yet. */
  static async make({ address, mac, peer, peerMac }: EndSpec): Promise<End> {
    const end = new End();
    const name = end.namespace;
    const lines = [
      "set -e",
      `ip netns add ${name}`,
      `ip -n ${name} link set lo up`,
      `ip netns exec ${name} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'`,
      `ip -n ${name} tuntap add tap0 mode tap`,
      `ip -n ${name} link set tap0 address ${mac} mtu 1500 txqueuelen 10000 up`,
      `ip -n ${name} addr add ${address} dev tap0`,
      `ip -n ${name} route add default via ${peer}`,
      `ip -n ${name} neigh replace ${peer} lladdr ${peerMac} dev tap0`,
    ];
    try {
      await mustRun(["sh", "-c", lines.join("\n")]);
    } catch (error) {
      await runProgram(["ip", "netns", "del", name]);
      throw error;
    }
    return end;
  }

  /**
   * Starts the bridge of this end.
   *
   * @param program The compiled bridge.
   * @param role Whether it waits at the socket or connects to it.
   * @param path The unix socket.
   * @param faults What it does to frames; a sound link where it is left out.
   */
  async bridge(
    program: string,
    role: "listen" | "connect",
    path: string,
    faults?: Faults,
  ): Promise<void> {
    const words = Object.entries(faults ?? {}).map(([name, value]) => `${name}=${value}`);
    this.#bridge = new BackgroundProgram([program, this.namespace, "tap0", role, path, ...words]);
    await this.#bridge.line(role === "listen" ? /^listening$/ : /^joined$/);
  }

  /** The words that run a program at this end. */
  inside(...words: string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...words];
  }

  /** Ends the bridge and returns what it did to the frames. */
  async report(): Promise<BridgeReport> {
    const bridge = this.#bridge!;
    await bridge.end("SIGTERM");
    const line = bridge.lines.find((line) => line.startsWith("{"));
    if (line === undefined) throw new Error(`The bridge broke off\n${bridge.tail()}`);
    return JSON.parse(line);
  }

  /** Ends the bridge and removes the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bridge?.end("SIGTERM");
    await runProgram(["ip", "netns", "del", this.namespace]);
  }
}
