/**
 * The program at both ends of a floor row (`floor_ends.c`), and the connections to it.
 *
 * @module
 */
import { BackgroundProgram, mustRun } from "../../tests/guest/program.ts";

const SOURCE = new URL("../floor_ends.c", import.meta.url).pathname;
/** After this the program begins to count. */
export const WARM_UP_MS = 500;

/** What a row runs with. */
export interface EndsOptions {
  /** The program, as `buildEnds` has made it. */
  readonly program: string;
  /** The row, as the program knows it. */
  readonly row: string;
  readonly seconds: number;
  readonly mtu: number;
  readonly streams: number;
}

/** Compiles the ends into a directory: the program. */
export async function buildEnds(directory: string): Promise<string> {
  const program = `${directory}/floor_ends`;
  await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, SOURCE]);
  return program;
}

/** Both ends, running. */
export class FloorEnds implements AsyncDisposable {
  /** The frame stream. */
  readonly vmm: Deno.Conn;
  readonly tcpPort: number;
  readonly udpPort: number;
  readonly seconds: number;
  readonly #program: BackgroundProgram;
  readonly #sockets: Deno.Conn[] = [];
  #failed: unknown = null;

  private constructor(program: BackgroundProgram, vmm: Deno.Conn, ports: string, seconds: number) {
    this.#program = program;
    this.vmm = vmm;
    const [, tcp, udp] = ports.split(" ");
    this.tcpPort = Number(tcp);
    this.udpPort = Number(udp);
    this.seconds = seconds;
  }

  /** Starts the ends and connects the frame stream. */
  static async start({ program, row, seconds, mtu, streams }: EndsOptions): Promise<FloorEnds> {
    const path = `${program}-${Deno.pid}.sock`;
    const ends = new BackgroundProgram([program, row, path, `${seconds}`, `${mtu}`, `${streams}`]);
    try {
      const ports = await ends.line(/^listening/);
      const vmm = await Deno.connect({ transport: "unix", path });
      await Deno.remove(path);
      return new FloorEnds(ends, vmm, ports, seconds);
    } catch (error) {
      await ends[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Connects to the host's port, as the gateway does. */
  async connectTcp(count: number): Promise<Deno.TcpConn[]> {
    const sockets: Deno.TcpConn[] = [];
    for (let i = 0; i < count; i++) {
      const socket = await Deno.connect({ hostname: "127.0.0.1", port: this.tcpPort });
      socket.setNoDelay(true);
      socket.setKeepAlive(true);
      sockets.push(socket);
    }
    this.#sockets.push(...sockets);
    return sockets;
  }

  /** Whether the program has ended. */
  get ended(): boolean {
    return this.#program.ended;
  }

  /** What went wrong in an operation that nobody waits for: it shows with `rate`. */
  fail(error: unknown): void {
    this.#failed ??= error;
  }

  /** What the program has counted, a second. */
  async rate(): Promise<number> {
    let line: string;
    try {
      line = await this.#program.line(/^rate /, 0, 1000 * (this.seconds + 10));
    } catch (error) {
      throw this.#failed ?? error;
    }
    if (this.#failed !== null) throw this.#failed;
    return Number(line.split(" ")[1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of [this.vmm, ...this.#sockets]) {
      try {
        socket.close();
      } catch {
        // Closed with its end.
      }
    }
    await this.#program[Symbol.asyncDispose]();
  }
}
