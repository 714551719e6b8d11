/** One gateway in one directory. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { lockDir } from "../../lib/fleet/dir_lock.ts";

const HOLD = `
  import { lockDir } from "${new URL("../../lib/fleet/dir_lock.ts", import.meta.url).href}";
  const lock = await lockDir(Deno.args[0]);
  console.log(lock.missing);
  setInterval(() => {}, 60_000);
`;

Deno.test("a directory is one gateway's until that ends, also where it is killed", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const holder = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "--allow-read", "--allow-write", "-", dir],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const stdin = holder.stdin.getWriter();
    await stdin.write(new TextEncoder().encode(HOLD));
    await stdin.close();
    const out = holder.stdout.getReader();
    assertEquals(new TextDecoder().decode((await out.read()).value), "null\n");

    const error = await lockDir(dir).catch((error: unknown) => error);
    assert(error instanceof GatewayError);
    assertMatch(error.message, /another gateway does/);
    assertEquals(error.hint, "Give each gateway a directory of its own with --fleet-dir DIR");
    holder.kill("SIGKILL");
    await holder.status;
    await out.cancel();

    {
      using lock = await lockDir(dir);
      assertEquals(lock.missing, null);
      await assertRejects(() => lockDir(dir), GatewayError);
    }
    using again = await lockDir(dir);
    assertEquals(again.missing, null);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("where there can be no lock, that is said and the directory is used", async () => {
  using lock = await lockDir("/proc/self/no-such-directory");
  assertEquals(typeof lock.missing, "string");
});
