/** The host's own ping, run for real at the loopback. */
import { assertEquals } from "@std/assert";
import { pingArguments, pingProgram, type RunningPing } from "../../lib/host/ping_program.ts";
import { parseIp } from "../../lib/wire/address.ts";
import { Folder } from "../cli/cli_process.ts";

function firstOf(...paths: string[]): string | undefined {
  return paths.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

const busybox = firstOf("/bin/busybox", "/usr/bin/busybox");
const hasPing = Deno.build.os === "linux" && firstOf("/bin/ping", "/usr/bin/ping") !== undefined;

/** Registers a test that runs the host's ping. */
function pingTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `ping program: ${name}`, ignore: !hasPing, fn });
}

const request = (to: string, more = {}) => {
  return { address: parseIp(to)!, dataBytes: 56, hops: 63, timeoutMs: 2_000, ...more };
};

Deno.test("ping program: it gets numbers and a literal, nothing else", () => {
  assertEquals(
    pingArguments(request("10.0.0.1")).join(" "),
    "-4 -n -c 1 -W 2 -s 56 -t 63 -- 10.0.0.1",
  );
  const six = request("2001:db8:0:0::1", { dataBytes: 0, hops: 1, timeoutMs: 4_001 });
  assertEquals(pingArguments(six).join(" "), "-6 -n -c 1 -W 5 -s 0 -t 1 -- 2001:db8::1");
  assertEquals(pingArguments(request("::", { timeoutMs: 1 }))[5], "1");
});

pingTest("the loopback answers, at any size", async () => {
  for (const to of ["127.0.0.1", "::1"]) {
    for (const dataBytes of [0, 7, 56, 1473, 60_000]) {
      const { outcome } = pingProgram.start(request(to, { dataBytes, timeoutMs: 60_000 }));
      assertEquals(await outcome, { kind: "answered" }, `${to} ${dataBytes}`);
    }
  }
});

Deno.test({
  name: "ping program: busybox's answers too",
  ignore: !hasPing || busybox === undefined,
  fn: async () => {
    await using folder = await Folder.make();
    await Deno.symlink(busybox!, `${folder.path}/ping`);
    const source = `
      import { pingProgram } from "${import.meta.resolve("../../lib/host/ping_program.ts")}";
      for (const address of [Uint8Array.of(127, 0, 0, 1), new Uint8Array(16).fill(1, 15)]) {
        for (const dataBytes of [0, 56, 60_000]) {
          const { outcome } = pingProgram.start({ address, dataBytes, hops: 9, timeoutMs: 60_000 });
          console.log((await outcome).kind);
        }
      }`;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      // deno-fmt-ignore
      args: ["run", "--no-prompt", "--allow-import", "--allow-run=ping",
        `data:text/typescript,${encodeURIComponent(source)}`],
      env: { PATH: `${folder.path}:${Deno.env.get("PATH")}` },
    }).output();
    const said = new TextDecoder().decode(stdout).trim().split("\n");
    assertEquals(said, Array(6).fill("answered"), new TextDecoder().decode(stderr));
  },
});

pingTest("one that is killed is silent, and gone; killing it again is no error", async () => {
  // One that waits as in a black hole: some network or other answers for every address.
  await using folder = await Folder.make();
  await Deno.writeTextFile(`${folder.path}/ping`, "#!/bin/sh\nexec sleep 600\n", { mode: 0o755 });
  const path = Deno.env.get("PATH")!;
  let ping: RunningPing;
  try {
    Deno.env.set("PATH", `${folder.path}:${path}`);
    ping = pingProgram.start(request("192.0.2.1"));
  } finally {
    Deno.env.set("PATH", path);
  }
  ping.kill();
  assertEquals(await ping.outcome, { kind: "silent" });
  ping.kill();
});

pingTest("without the permission nothing is run", async () => {
  const source = `
    import { pingProgram } from "${import.meta.resolve("../../lib/host/ping_program.ts")}";
    const before = pingProgram.obstacle(Uint8Array.of(127, 0, 0, 1));
    const six = pingProgram.obstacle(new Uint8Array(16));
    let error = "";
    try {
      pingProgram.start({ address: Uint8Array.of(127, 0, 0, 1), dataBytes: 8, hops: 9, timeoutMs: 1000 });
    } catch ({ name }) {
      error = name;
    }
    console.log(before?.flag, six?.flag, error);`;
  const said = async (...flags: string[]) => {
    const url = `data:text/typescript,${encodeURIComponent(source)}`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--allow-import", ...flags, url],
    }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  const flag = "--allow-run=ping";
  assertEquals(await said(), `${flag} ${flag} NotCapable`);
  assertEquals(await said("--allow-run=true", "--allow-net"), `${flag} ${flag} NotCapable`);
  const outside = "'--allow-net=127.0.0.1' '--allow-net=[::]'".replaceAll("'", "");
  assertEquals(await said(flag), outside);
  assertEquals(await said(flag, "--allow-net=127.0.0.1:80"), outside);
  assertEquals(await said(flag, "--allow-net=127.0.0.1"), "undefined --allow-net=[::]");
  assertEquals(await said(flag, "--allow-net", "--deny-net=[::]"), "undefined --allow-net=[::]");
  assertEquals(await said(flag, "--allow-net"), "undefined undefined");
});
