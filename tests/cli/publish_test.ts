/** `publish` and `unpublish`, as processes that ask a running gateway. */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Folder } from "./cli_process.ts";
import { ControlProgram } from "./control_program.ts";
import { freePorts } from "../support/free_port.ts";

Deno.test("a port is published, shown by status, and taken back", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const control = ["--control", gateway.control];
  const published = await gateway.ask("publish", "127.0.0.1:0:80", ...control);
  assertEquals([published.code, published.stderr], [0, ""]);
  const [, place = "", port = ""] = /^published (127\.0\.0\.1:(\d+)) as the guest's port 80\n$/
    .exec(published.stdout)!;
  const status = await gateway.ask("status", ...control);
  assertStringIncludes(status.stdout, `published  ${place} as the guest's port 80\n`);
  const taken = await gateway.ask("publish", `${place}:81`, ...control);
  assertEquals([taken.code, taken.stdout, taken.stderr], [
    1,
    "",
    `cannot publish ${place}: the address is in use. ` +
    "Choose another port of the host; 0 picks a free one\n",
  ]);
  const other = await gateway.ask("unpublish", `127.0.0.2:${port}`, ...control);
  assertEquals([other.code, other.stderr], [
    1,
    `nothing is published on 127.0.0.2:${port}. Published: ${place}\n`,
  ]);
  const gone = await gateway.ask("unpublish", port, ...control);
  assertEquals([gone.code, gone.stdout], [
    0,
    `${place} leads to the guest's port 80 no longer\n`,
  ]);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port: Number(port) }));
  const json = await gateway.ask("publish", "127.0.0.1:0:80", "--json", ...control);
  const [first] = JSON.parse(json.stdout).published;
  assertEquals([first.bind, first.guestPort], ["127.0.0.1", 80]);
  const back = await gateway.ask("unpublish", `127.0.0.1:${first.hostPort}`, "--json", ...control);
  assertEquals(JSON.parse(back.stdout), { published: [first] });
});

Deno.test("a udp port and a unix socket are published, named as what they are, and taken back", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const control = ["--control", gateway.control];
  const path = `${folder.path}/web.sock`;
  const udp = await gateway.ask("publish", "127.0.0.1:0:53/udp", ...control);
  const [, place = "", port = ""] = /^published (127\.0\.0\.1:(\d+)\/udp) as the guest's port 53\n$/
    .exec(udp.stdout)!;
  const unix = await gateway.ask("publish", `unix:${path}:80`, ...control);
  assertEquals([unix.stdout, unix.stderr], [`published unix:${path} as the guest's port 80\n`, ""]);
  assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
  const status = await gateway.ask("status", ...control);
  assertStringIncludes(status.stdout, `published  ${place} as the guest's port 53\n`);
  assertStringIncludes(status.stdout, `published  unix:${path} as the guest's port 80\n`);
  const busy = await gateway.ask("publish", place.replace("/udp", ":54/udp"), ...control);
  assertEquals([busy.code, busy.stderr], [
    1,
    `cannot publish ${place}: the address is in use. ` +
    "Choose another port of the host; 0 picks a free one\n",
  ]);
  const twice = await gateway.ask("publish", `unix:${path}:81`, ...control);
  assertEquals(
    twice.stderr,
    `cannot publish unix:${path}: it is published. Take it back first, or choose another path\n`,
  );
  const tcp = await gateway.ask("unpublish", port, ...control);
  assertEquals(tcp.stderr, `nothing is published on ${port}. Published: ${place}, unix:${path}\n`);
  const back = await gateway.ask("unpublish", `127.0.0.1:${port}/udp`, ...control);
  assertEquals(back.stdout, `${place} leads to the guest's port 53 no longer\n`);
  const gone = await gateway.ask("unpublish", `unix:${path}`, ...control);
  assertEquals(gone.stdout, `unix:${path} leads to the guest's port 80 no longer\n`);
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
});

Deno.test("of a range all is published, or nothing", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const control = ["--control", gateway.control];
  const port = freePorts(2);
  const range = `127.0.0.1:${port}-${port + 1}:80-81`;
  const blocked = Deno.listen({ hostname: "127.0.0.1", port: port + 1 });
  const refused = await gateway.ask("publish", range, ...control);
  blocked.close();
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(refused.stderr, new RegExp(`^cannot publish 127\\.0\\.0\\.1:${port + 1}: `));
  const none = await gateway.ask("unpublish", String(port), ...control);
  assertStringIncludes(none.stderr, `nothing is published on ${port}. No port is published`);
  const whole = await gateway.ask("publish", range, ...control);
  assertEquals(whole.stdout.split("\n").length, 3);
  const back = await gateway.ask("unpublish", `127.0.0.1:${port}-${port + 1}`, ...control);
  assertEquals([back.code, back.stdout], [
    0,
    `127.0.0.1:${port} leads to the guest's port 80 no longer\n` +
    `127.0.0.1:${port + 1} leads to the guest's port 81 no longer\n`,
  ]);
});

Deno.test("words that are no port are refused before anybody is asked", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  for (
    const [command, word, message] of [
      ["publish", "1:2:3:4", `"1:2:3:4" is not [BIND:]HOSTPORT:GUESTPORT, such as 8080:80`],
      ["publish", "53:53/sctp", `"53:53/sctp": a published port is of tcp or udp, not of sctp`],
      ["publish", "unix:/a", `"unix:/a" is not unix:/path:GUESTPORT`],
      ["unpublish", "unix:", `"unix:" is not [BIND:]HOSTPORT`],
      ["unpublish", "53/sctp", `"53/sctp" is not [BIND:]HOSTPORT`],
      ["unpublish", "0", `"0" is not [BIND:]HOSTPORT, such as 8080, 127.0.0.1:8080, [::1]:8080`],
      ["unpublish", "a.test:80", `"a.test:80" is not [BIND:]HOSTPORT`],
      ["unpublish", "9-8", `"9-8" is not [BIND:]HOSTPORT`],
      ["unpublish", "1-2000", `"1-2000" is not [BIND:]HOSTPORT`],
      ["unpublish", "8080:80", `"8080:80" is not [BIND:]HOSTPORT`],
    ] as const
  ) {
    const { code, stdout, stderr } = await gateway.ask(command, word);
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
  }
});
