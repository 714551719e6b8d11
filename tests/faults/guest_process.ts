/**
 * An embedded guest as a process of its own, so that it can be stopped: it downloads and uploads
 * that many bytes at once, says when it is amid that, and prints what arrived where.
 *
 *     guest_process.ts SOCKET PORT BYTES
 *
 * @module
 */
import { receiveAll, type Received, sendPattern, sendRequest } from "../guest/bulk.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { attachGuest, GATEWAY } from "./fault_gateway.ts";

const [path = "", port = "", size = ""] = Deno.args;
const bytes = Number(size);

const AMID_BYTES = 16 * 1024 * 1024;
const amid = new Set<string>();

/** Says once that both ways have moved something. */
function moved(way: "down" | "up", total: number): void {
  if (total < AMID_BYTES || amid.has(way)) return;
  amid.add(way);
  if (amid.size === 2) console.log("amid transfers");
}

/** The connection as the bulk server's other end knows it. */
function asConn(flow: GuestTcp) {
  let readBytes = 0;
  let writtenBytes = 0;
  return {
    async read(into: Uint8Array): Promise<number | null> {
      const count = await flow.read(into);
      moved("down", readBytes += count ?? 0);
      return count;
    },
    async write(data: Uint8Array): Promise<number> {
      await flow.write(data);
      moved("up", writtenBytes += data.length);
      return data.length;
    },
  };
}

async function download(): Promise<Received> {
  const flow = await guest.connect(GATEWAY, Number(port));
  const conn = asConn(flow);
  await sendRequest(conn, { verb: "download", bytes });
  const received = await receiveAll(conn);
  flow.finish();
  return received;
}

async function upload(): Promise<Received> {
  const flow = await guest.connect(GATEWAY, Number(port));
  const conn = asConn(flow);
  await sendRequest(conn, { verb: "upload", bytes });
  await sendPattern(conn, bytes);
  flow.finish();
  return JSON.parse(new TextDecoder().decode(await flow.readAll())) as Received;
}

const guest = attachGuest(await Deno.connect({ transport: "unix", path }));
await guest.lease();
const [down, up] = await Promise.all([download(), upload()]);
console.log(JSON.stringify({ down, up }));
await guest.close();
Deno.exit(0);
