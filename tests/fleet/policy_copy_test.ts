/** The copy of a fleet's policy: what was kept comes back, and nothing else does. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import { type KeptPolicy, PolicyCopy, prepareFolder } from "../../lib/fleet/policy_copy.ts";
import { FleetFolder } from "./policy_rig.ts";

const OWNER = { fleet: "prod", gateway: "host-1" };
const KEPT: KeptPolicy = {
  revision: 7,
  keys: ["fleet", "group.ci", "guest.vm1"],
  documents: new Map([
    ["fleet", { text: 'deny: ["9.9.9.9"] # ä\n', revision: 3 }],
    ["guest.vm1", { text: "{}", revision: 7 }],
  ]),
  engine: [{ address: "10.0.0.9", port: 4222 }, { address: "fd00::9", port: 4222 }],
};

async function faultOf(copy: PolicyCopy): Promise<string> {
  return (await assertRejects(() => copy.read(), ConfigError)).message;
}

Deno.test("policy copy: what was kept comes back, for its user alone", async () => {
  using folder = new FleetFolder();
  const dir = `${folder.path}/new/one`;
  await prepareFolder(dir);
  assertEquals((await Deno.stat(dir)).mode! & 0o777, 0o700);
  const copy = new PolicyCopy(dir, OWNER);
  assertEquals(await copy.read(), null);
  await copy.write(KEPT);
  assertEquals(await copy.read(), KEPT);
  assertEquals((await Deno.stat(copy.path)).mode! & 0o777, 0o600);
  const next = { ...KEPT, revision: 8, documents: new Map() };
  await copy.write(next);
  assertEquals(await copy.read(), next);
  assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["policy.json"]);
});

Deno.test("policy copy: one that is cut off or changed anywhere is none", async () => {
  using folder = new FleetFolder();
  const copy = new PolicyCopy(folder.path, OWNER);
  await copy.write(KEPT);
  const whole = await Deno.readFile(copy.path);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
      const changed = whole.slice();
      changed[at] = changed[at]! ^ by;
      await Deno.writeFile(copy.path, changed);
      const read = await copy.read().catch((error: unknown) => error);
      // Another spelling of the same JSON is the same: all that is kept is under the sum.
      if (!(read instanceof ConfigError)) assertEquals(read, KEPT);
      await Deno.writeFile(copy.path, whole.subarray(0, at));
      assert((await faultOf(copy)).startsWith(`cannot use ${copy.path}: `));
    }),
    { numRuns: 300 },
  );
});

Deno.test("policy copy: another gateway's, another version's, and one that others may write", async () => {
  using folder = new FleetFolder();
  const copy = new PolicyCopy(folder.path, OWNER);
  await new PolicyCopy(folder.path, { fleet: "prod", gateway: "host-2" }).write(KEPT);
  assert((await faultOf(copy)).endsWith("it is that of gateway host-2 in fleet prod"));
  await new PolicyCopy(folder.path, { fleet: "test", gateway: "host-1" }).write(KEPT);
  assert((await faultOf(copy)).endsWith("it is that of gateway host-1 in fleet test"));
  await copy.write(KEPT);
  await Deno.chmod(copy.path, 0o620);
  assert((await faultOf(copy)).endsWith("others than its user may write it"));
  await Deno.chmod(copy.path, 0o600);
  for (const text of ["[]", "{}", '{"version":2}', '{"version":1,"sum":"","kept":null}', "null"]) {
    await Deno.writeTextFile(copy.path, text);
    await faultOf(copy);
  }
  // A link is no file of the gateway's own.
  await copy.write(KEPT);
  await Deno.rename(copy.path, `${folder.path}/elsewhere`);
  await Deno.symlink(`${folder.path}/elsewhere`, copy.path);
  assert((await faultOf(copy)).endsWith("it is no file"));
});

Deno.test("policy copy: a folder that others write in, or that is a file, can't be used", async () => {
  using folder = new FleetFolder();
  await Deno.chmod(folder.path, 0o770);
  const open = await prepareFolder(folder.path).catch((error: unknown) => error);
  assert(open instanceof GatewayError && open.hint.includes("chmod 700"), String(open));
  await Deno.chmod(folder.path, 0o755);
  await prepareFolder(folder.path);
  await Deno.writeTextFile(`${folder.path}/file`, "");
  await assertRejects(() => prepareFolder(`${folder.path}/file`), GatewayError);
});

Deno.test("policy copy: where it can't be written, the one before stays", async () => {
  using folder = new FleetFolder();
  const copy = new PolicyCopy(folder.path, OWNER);
  await copy.write(KEPT);
  await Deno.mkdir(`${copy.path}.new`);
  await assertRejects(() => copy.write({ ...KEPT, revision: 9 }));
  assertEquals((await copy.read())?.revision, 7);
});
