import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Endpoint } from "../../lib/config/endpoint.ts";
import { GatewayError } from "../../lib/config/errors.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { connectVmm, listenForVmm } from "../../lib/host/vmm_endpoint.ts";

const NEVER = new AbortController().signal;

/** A folder of its own for each test's sockets. */
class Folder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "vgw-endpoint-" });

  endpoint(name = "vmm.sock"): Endpoint & { transport: "unix" } {
    return { transport: "unix", path: `${this.path}/${name}` };
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

async function failure(what: Promise<unknown>): Promise<GatewayError> {
  const error = await assertRejects(() => what, GatewayError);
  assert(error instanceof GatewayError);
  return error;
}

Deno.test("vmm endpoint: a unix socket is private, serves, and vanishes when closed", async () => {
  using folder = new Folder();
  const endpoint = folder.endpoint();
  const listener = await listenForVmm(endpoint, silentLogger);
  assertEquals(listener.endpoint, endpoint);
  assertEquals(Deno.lstatSync(endpoint.path).mode! & 0o777, 0o600);
  for (let i = 0; i < 2; i++) {
    const [near, far] = await Promise.all([listener.accept(), connectVmm(endpoint, NEVER)]);
    await far!.write(Uint8Array.of(i));
    const into = new Uint8Array(1);
    await near!.read(into);
    assertEquals(into[0], i);
    near!.close();
    far!.close();
  }
  listener.close();
  listener.close();
  assert(!exists(endpoint.path));
  assertEquals(await listener.accept(), null);
});

Deno.test("vmm endpoint: closing ends an accept that waits", async () => {
  using folder = new Folder();
  const listener = await listenForVmm(folder.endpoint(), silentLogger);
  const accepting = listener.accept();
  listener.close();
  assertEquals(await accepting, null);
});

Deno.test({
  name: "vmm endpoint: who comes by a socket that was moved away, after the end, is sent off",
  sanitizeResources: false, // what listens there ends with the process: a file of another's is at stake
  sanitizeOps: false,
  async fn() {
    using folder = new Folder();
    const { path } = folder.endpoint();
    const listener = await listenForVmm(folder.endpoint(), silentLogger);
    const accepting = listener.accept();
    Deno.renameSync(path, `${path}.moved`);
    Deno.writeTextFileSync(path, "another's");
    listener.close();
    assertEquals(await accepting, null);
    using late = await Deno.connect({ transport: "unix", path: `${path}.moved` });
    assertEquals(await late.read(new Uint8Array(1)), null);
    assertEquals(Deno.readTextFileSync(path), "another's");
  },
});

Deno.test("vmm endpoint: TCP port 0 is replaced by the one that was chosen", async () => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    const listener = await listenForVmm({ transport: "tcp", hostname, port: 0 }, silentLogger);
    const { endpoint } = listener;
    assert(endpoint.transport === "tcp" && endpoint.port > 0);
    assertEquals(endpoint.hostname, hostname);
    const [near, far] = await Promise.all([listener.accept(), connectVmm(endpoint, NEVER)]);
    near!.close();
    far!.close();
    listener.close();
  }
});

Deno.test("vmm endpoint: a stale socket is replaced", async () => {
  using folder = new Folder();
  const endpoint = folder.endpoint();
  // The file of a process that was killed: it stands there, and nobody listens.
  const dead = Deno.listen({ transport: "unix", path: endpoint.path });
  Deno.renameSync(endpoint.path, `${endpoint.path}.kept`);
  dead.close();
  Deno.renameSync(`${endpoint.path}.kept`, endpoint.path);
  assert(exists(endpoint.path));
  const listener = await listenForVmm(endpoint, silentLogger);
  const [near, far] = await Promise.all([listener.accept(), connectVmm(endpoint, NEVER)]);
  near!.close();
  far!.close();
  listener.close();
  assert(!exists(endpoint.path));
});

Deno.test("vmm endpoint: a socket that a live process serves is refused and left alone", async () => {
  using folder = new Folder();
  const endpoint = folder.endpoint();
  const first = await listenForVmm(endpoint, silentLogger);
  const error = await failure(listenForVmm(endpoint, silentLogger));
  assertEquals(error.code, "socket-in-use");
  assertEquals(
    error.message,
    `cannot listen on unix:${endpoint.path}: a live process serves it`,
  );
  assert(error.hint !== "");
  (await first.accept())!.close(); // the question whether it lives
  const [near, far] = await Promise.all([first.accept(), connectVmm(endpoint, NEVER)]);
  near!.close();
  far!.close();
  first.close();
});

Deno.test("vmm endpoint: a file, a folder or a link in the way is left alone", async () => {
  using folder = new Folder();
  const file = folder.endpoint("file");
  Deno.writeTextFileSync(file.path, "precious");
  const directory = folder.endpoint("directory");
  Deno.mkdirSync(directory.path);
  const link = folder.endpoint("link");
  Deno.symlinkSync(file.path, link.path);
  for (const endpoint of [file, directory, link]) {
    const error = await failure(listenForVmm(endpoint, silentLogger));
    assertEquals(error.code, "socket-in-use");
    assert(error.message.includes("a file is in the way"));
    assert(exists(endpoint.path));
  }
  assertEquals(Deno.readTextFileSync(file.path), "precious");
});

Deno.test("vmm endpoint: a folder that is not there, and a TCP port in use", async () => {
  using folder = new Folder();
  const nowhere = await failure(listenForVmm(folder.endpoint("none/vmm.sock"), silentLogger));
  assertEquals(nowhere.code, "config");
  assert(nowhere.message.includes("no such file"));
  const first = await listenForVmm(
    { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    silentLogger,
  );
  const taken = await failure(listenForVmm(first.endpoint, silentLogger));
  assertEquals(taken.code, "address-in-use");
  assert(taken.hint.includes("--listen"));
  first.close();
});

Deno.test("vmm endpoint: going to a VMM that is not there says why", async () => {
  using folder = new Folder();
  const endpoint = folder.endpoint();
  const missing = await failure(connectVmm(endpoint, NEVER));
  assertEquals(missing.code, "unreachable");
  assertEquals(missing.message, `cannot reach the VMM at unix:${endpoint.path}: no such file`);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const tcp: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port };
  listener.close();
  const refused = await failure(connectVmm(tcp, NEVER));
  assertEquals(refused.code, "unreachable");
  assert(refused.message.endsWith("nothing listens there"));
});

Deno.test("vmm endpoint: an aborted connect is no error and leaves nothing open", async () => {
  using folder = new Folder();
  const unix = folder.endpoint();
  const listeners = [
    await listenForVmm(unix, silentLogger),
    await listenForVmm({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, silentLogger),
  ];
  for (const listener of listeners) {
    assertEquals(await connectVmm(listener.endpoint, AbortSignal.abort()), null);
    const controller = new AbortController();
    const connecting = connectVmm(listener.endpoint, controller.signal);
    controller.abort();
    assertEquals(await connecting, null);
    listener.close();
  }
  assertEquals(await connectVmm(unix, AbortSignal.abort()), null, "nothing there either");
});

Deno.test({
  name: "vmm endpoint: a missing permission is named, and nothing prompts",
  permissions: { net: [], read: false, write: false },
  fn: async () => {
    const unix: Endpoint = { transport: "unix", path: "/nowhere/vmm.sock" };
    const tcp: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 };
    for (const what of [listenForVmm(unix, silentLogger), connectVmm(unix, NEVER)]) {
      const error = await failure(what);
      assertEquals(error.code, "permission");
      assert(error.hint.includes("--allow-read=/nowhere/vmm.sock"));
    }
    for (const what of [listenForVmm(tcp, silentLogger), connectVmm(tcp, NEVER)]) {
      const error = await failure(what);
      assertEquals(error.code, "permission");
      assertEquals(error.hint, "Add --allow-net=127.0.0.1:7654");
    }
  },
});

Deno.test("vmm endpoint: where the system does not permit it, no flag is asked for", async () => {
  const { listen } = Deno;
  // Root is permitted everything, so this says it in the system's place.
  Deno.listen = () => {
    throw new Deno.errors.PermissionDenied("Permission denied (os error 13)");
  };
  try {
    const unix = await failure(listenForVmm({ transport: "unix", path: "/no/vmm" }, silentLogger));
    assertEquals([unix.code, unix.message, unix.hint], [
      "permission",
      "cannot use unix:/no/vmm: the system does not permit it",
      "Run as the user whose folder and socket that is, or choose another path",
    ]);
    const tcp = await failure(
      listenForVmm({ transport: "tcp", hostname: "127.0.0.1", port: 80 }, silentLogger),
    );
    assertEquals(tcp.hint, "Ports below 1024 belong to root: choose another one");
  } finally {
    Deno.listen = listen;
  }
});
