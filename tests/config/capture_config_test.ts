/** The settings of a capture: how they are read, and their bounds. */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { checkNetworkConfig } from "../../lib/config/network_config.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";

function fromFile(text: string) {
  return resolveConfig({ file: { name: "g.yaml", text } }).settings.network.capture;
}

function faultOf(text: string): string {
  return assertThrows(() => fromFile(text), ConfigError).message;
}

Deno.test("capture settings: from the file and from flags; nothing where nothing is set", () => {
  assertEquals(resolveConfig({}).settings.network.capture, undefined);
  assertEquals(
    fromFile("capture: { file: vm1.pcapng, limit: 100MB, snapLength: 256, filter: tcp port 443 }"),
    { file: "vm1.pcapng", limit: 100_000_000, snapLength: 256, filter: "tcp port 443" },
  );
  const flags = { capture: "a.pcapng", "capture-limit": "2MiB" };
  assertEquals(resolveConfig({ flags }).settings.network.capture, {
    file: "a.pcapng",
    limit: 2 * 1024 * 1024,
  });
});

Deno.test("capture settings: what is wrong is told with its place and the way out", () => {
  assertEquals(
    faultOf("capture: { file: a, limit: 10M }"),
    `g.yaml:1:21 capture.limit: "10M" is not a number of bytes, such as 100MB or 64MiB`,
  );
  assertEquals(
    faultOf("capture: { file: a, limit: 1000 }"),
    "g.yaml:1:21 capture.limit: 1000 is not a whole number of bytes from 1000000 to " +
      "1125899906842624",
  );
  assertEquals(
    faultOf("capture: { file: a, snapLength: 13 }"),
    "g.yaml:1:21 capture.snapLength: 13 is not a whole number of octets from 14 to 262144",
  );
  assertEquals(
    faultOf("capture: { file: a, filter: tcp port http }"),
    `g.yaml:1:21 capture.filter: "http" is not a port from 0 to 65535`,
  );
  assertEquals(
    faultOf("capture: { filter: tcp }"),
    "g.yaml:1:12 capture.filter: is of no use without capture.file",
  );
});

Deno.test("capture settings: a program's are checked likewise", () => {
  checkNetworkConfig({ capture: { file: "a", limit: 1_000_000, snapLength: 14, filter: "" } });
  const wrong = { capture: { file: 7, limit: 1.5, snapLength: "x", filter: "x", size: 1 } };
  const shape = assertThrows(() => checkNetworkConfig(wrong as never), ConfigError) as ConfigError;
  assertEquals(shape.problems.map(({ key }) => key), ["capture.size"]);
  const { size: _size, ...capture } = wrong.capture;
  const error = assertThrows(
    () => checkNetworkConfig({ capture } as never),
    ConfigError,
  ) as ConfigError;
  assertEquals(error.problems.map(({ key }) => key), [
    "capture.file",
    "capture.limit",
    "capture.snapLength",
    "capture.filter",
  ]);
  const alone = { capture: { limit: 1_000_000 } };
  assertThrows(() => checkNetworkConfig(alone), ConfigError, "of no use without capture.file");
});
