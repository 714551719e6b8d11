/**
 * The wires between the servers of a cluster, to be cut: what is between two sides no longer gets
 * through, nobody is told, and the connections stay, as in a network that is parted.
 *
 * @module
 */

/** A wire: whoever dials its port is led on to another one. */
class Wire {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #target: number;
  readonly #conns = new Set<Deno.Conn>();
  readonly #running = this.#run();
  /** Of a wire that is cut: settles when it is whole again. */
  #healed: PromiseWithResolvers<void> | null = null;

  constructor(target: number) {
    this.#target = target;
  }

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  cut(): void {
    this.#healed ??= Promise.withResolvers<void>();
  }

  heal(): void {
    this.#healed?.resolve();
    this.#healed = null;
  }

  async #run(): Promise<void> {
    const leading = new Set<Promise<void>>();
    for await (const conn of this.#listener) {
      const lead = this.#lead(conn).finally(() => leading.delete(lead));
      leading.add(lead);
    }
    await Promise.all(leading);
  }

  async #lead(near: Deno.Conn): Promise<void> {
    this.#conns.add(near);
    try {
      const far = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
      this.#conns.add(far);
      await Promise.race([this.#carry(near, far), this.#carry(far, near)]);
      end(far);
      this.#conns.delete(far);
    } catch {
      // The server is not there.
    }
    end(near);
    this.#conns.delete(near);
  }

  async #carry(from: Deno.Conn, to: Deno.Conn): Promise<void> {
    const block = new Uint8Array(64 * 1024);
    try {
      for (let count = await from.read(block); count !== null; count = await from.read(block)) {
        while (this.#healed !== null) await this.#healed.promise;
        for (let at = 0; at < count;) at += await to.write(block.subarray(at, count));
      }
    } catch {
      // One of the two has ended.
    }
  }

  async close(): Promise<void> {
    this.heal();
    this.#listener.close();
    for (const conn of this.#conns) end(conn);
    await this.#running;
  }
}

function end(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It has ended by itself.
  }
}

/** The wires of a cluster: each server dials each other one by one of its own. */
export class Wires implements AsyncDisposable {
  readonly #wires: { readonly from: number; readonly to: number; readonly wire: Wire }[] = [];

  /** Between servers that listen to each other at these ports. */
  constructor(ports: readonly number[]) {
    ports.forEach((_, from) =>
      ports.forEach((port, to) => {
        if (from !== to) this.#wires.push({ from, to, wire: new Wire(port) });
      })
    );
  }

  /** Where a server dials the others. */
  from(node: number): number[] {
    return this.#wires.flatMap(({ from, wire }) => from === node ? wire.port : []);
  }

  /** Parts a server from all others. */
  cut(node: number): void {
    for (const wire of this.#of(node)) wire.cut();
  }

  /** Joins it with them again; what was on its way arrives. */
  heal(node: number): void {
    for (const wire of this.#of(node)) wire.heal();
  }

  #of(node: number): Wire[] {
    return this.#wires.flatMap(({ from, to, wire }) => from === node || to === node ? wire : []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#wires.map(({ wire }) => wire.close()));
  }
}
