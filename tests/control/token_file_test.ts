import { assertEquals, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { readToken } from "../../lib/control/token_file.ts";

const HEX = "0123456789abcdef".repeat(4);
const BASE64 = "-_AZaz09".repeat(5) + "abc";

async function inFile(text: string, mode: number, use: (path: string) => Promise<void>) {
  const path = await Deno.makeTempFile({ prefix: "vgtoken-" });
  try {
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, mode);
    await use(path);
  } finally {
    await Deno.remove(path);
  }
}

async function fault(path: string): Promise<GatewayError> {
  return await assertRejects(() => readToken(path), GatewayError) as GatewayError;
}

Deno.test("a token is 256 bits, in either spelling, with any space around it", async () => {
  for (const token of [HEX, HEX.toUpperCase(), BASE64, `${BASE64}=`]) {
    await inFile(` ${token}\r\n`, 0o600, async (path) => {
      assertEquals(await readToken(path), token);
    });
  }
  await inFile(HEX, 0o400, async (path) => assertEquals(await readToken(path), HEX));
});

Deno.test("what is no such token is refused, with the line that makes one", async () => {
  const wrong = ["", "secret", HEX.slice(1), `${HEX}0`, `${HEX} ${HEX}`, `${BASE64}==`, "\u00e9"];
  for (const text of [...wrong, "0".repeat(2_000)]) {
    await inFile(text, 0o600, async (path) => {
      const { code, message, hint } = await fault(path);
      assertEquals([code, message, hint], [
        "config",
        `cannot use the token in ${path}: it is not 64 hexadecimal digits, nor 43 of base64url`,
        `Make it with: (umask 077; openssl rand -hex 32 > ${path})`,
      ]);
    });
  }
});

Deno.test("a file that others can read or write is refused", async () => {
  for (const mode of [0o604, 0o640, 0o602, 0o620, 0o610, 0o644]) {
    await inFile(HEX, mode, async (path) => {
      const { message, hint } = await fault(path);
      assertEquals(
        message,
        `cannot use the token in ${path}: others than its user may read or write it`,
      );
      assertEquals(
        hint,
        `Make it private with: chmod 600 ${path}, and another token, as that one was open`,
      );
    });
  }
});

Deno.test("a file that is not there, or is none, says so", async () => {
  assertEquals(
    (await fault("/nowhere/token")).message,
    "cannot use the token in /nowhere/token: there is no such file",
  );
  const folder = await Deno.makeTempDir();
  await Deno.chmod(folder, 0o700);
  assertEquals((await fault(folder)).code, "config");
  await Deno.remove(folder);
});

Deno.test({
  name: "without the permission its flag is named",
  permissions: {},
  async fn() {
    const { code, hint } = await fault("/etc/token");
    assertEquals([code, hint], ["permission", "Add --allow-read=/etc/token"]);
  },
});
