/** Commands that ask a gateway with several guests, as processes and as lines. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { guestsLines } from "../../lib/cli/status.ts";
import type { GuestListing } from "../../lib/control/api.ts";
import { formatEndpoint } from "../../lib/config/endpoint.ts";
import { attachTo } from "../control/control_rig.ts";
import { GuestsRig } from "../control/guests_rig.ts";
import { BackgroundProgram } from "../guest/program.ts";
import { cliWords, runCliWith } from "./cli_process.ts";

const TWO = { db: { policy: { deny: ["10.1.2.3"] } }, web: {} };

/** The permissions of a command that asks it, and the words that name it. */
function asking(rig: GuestsRig): { permissions: string[]; control: string[] } {
  const { endpoint } = rig.control;
  if (endpoint.transport !== "unix") throw new Error("it is on a unix socket");
  const { path } = endpoint;
  return {
    permissions: ["--allow-net", `--allow-read=${path}`, `--allow-write=${path}`],
    control: ["--control", formatEndpoint(endpoint)],
  };
}

function ask(rig: GuestsRig, ...args: string[]): ReturnType<typeof runCliWith> {
  const { permissions, control } = asking(rig);
  return runCliWith({}, permissions, ...args, ...control);
}

Deno.test("status lists several guests, and shows the one that is named", async () => {
  await using rig = await GuestsRig.open(TWO, { networks: { web: "lan" } });
  const guest = await attachTo(rig.server("db"));
  const all = await ask(rig, "status");
  assertEquals([all.code, all.stderr], [0, ""]);
  assertStringIncludes(all.stdout, "gateway    virtio-gateway 1.2.3 with 2 guests\n");
  assertMatch(all.stdout, /^db {4}attached +0 +0 +0 +\S+ k?B +\S+ k?B +- +tcp:127/m);
  assertMatch(all.stdout, /^web {3}- +0 +0 +0 +0 B +0 B +lan +tcp:127/m);
  const json = JSON.parse((await ask(rig, "status", "--json")).stdout);
  assertEquals(json.guests.map(({ name }: GuestListing) => name), ["db", "web"]);
  const one = await ask(rig, "status", "--guest", "db");
  assertMatch(one.stdout, /^guest {6}attached$/m);
  assertMatch((await ask(rig, "status", "--guest=web")).stdout, /^guest {6}none is attached$/m);
  await guest.close();
});

Deno.test("each command asks about the guest that is named, and of several one has to be", async () => {
  await using rig = await GuestsRig.open(TWO);
  const [port] = await rig.server("web").publish({
    hostPort: 0,
    guestPort: 80,
    bind: ["127.0.0.1"],
  });
  const hostPort = String(port!.hostPort);
  const guest = await attachTo(rig.server("db"));
  await guest.connect("10.1.2.3", 443).catch(() => {});
  const commands: [code: number, out: RegExp, ...words: string[]][] = [
    [0, /DENY {2}tcp 10\.1\.2\.3:443/, "denials"],
    [0, /no flows/, "flows"],
    [0, /resolver/, "dns"],
    [0, /own name.*x\.test/, "dns", "add", "x.test=10.0.0.5"],
    [5, /as the gateway on .* says for guest db, with what its guest/, "explain", "10.1.2.3:443"],
    [0, /published 127\.0\.0\.1:\d+ as the guest's port 81/, "publish", "127.0.0.1:0:81"],
    [1, /nothing is published on/, "unpublish", hostPort],
  ];
  for (const [code, out, ...words] of commands) {
    const named = await ask(rig, ...words, "--guest", "db");
    assertEquals(named.code, code, named.stdout + named.stderr);
    assertMatch(named.stdout + named.stderr, out);
    const unnamed = await ask(rig, ...words);
    assertEquals([unnamed.code, unnamed.stdout], [1, ""], words.join(" "));
    assertStringIncludes(unnamed.stderr, "2 guests are served: name one. Use --guest NAME");
    assertStringIncludes(unnamed.stderr, "Guests: db, web");
  }
  assertEquals((await ask(rig, "unpublish", hostPort, "--guest", "web")).code, 0);
  const mistyped = await ask(rig, "flows", "--guest", "wbe");
  assertEquals([mistyped.code, mistyped.stderr], [
    1,
    `there is no guest "wbe". Did you mean "web"? Guests: db, web\n`,
  ]);
  const captured = await ask(rig, "capture", "--guest", "x");
  assertEquals([captured.code, captured.stdout], [1, ""]);
  assertEquals((await ask(rig, "flows", "--guest", "")).code, 2);
  assertEquals((await ask(rig, "reload", "--guest", "db")).code, 2);
  await guest.close();
});

Deno.test("denials --follow shows what is refused to any of several guests", async () => {
  await using rig = await GuestsRig.open(TWO);
  const { permissions, control } = asking(rig);
  await using following = new BackgroundProgram(
    cliWords(permissions, ["denials", "--follow", ...control]),
  );
  while ((await rig.client.withGuest("db").status()).readers < 1);
  const guest = await attachTo(rig.server("db"));
  await guest.connect("10.1.2.3", 443).catch(() => {});
  assertMatch(await following.line(/DENY/), /Z {2}db {2}DENY {2}tcp 10\.1\.2\.3:443/);
  await guest.close();
});

Deno.test("guests that give no answer, and workers", () => {
  const listing: GuestListing = {
    name: "a",
    endpoint: "unix:a",
    link: "attached",
    network: null,
    worker: 0,
    flows: 12,
    published: 1,
    refused: 3,
    upBytes: 1_500,
    downBytes: 0,
    fault: null,
  };
  const lines = guestsLines({
    version: "1",
    startedMs: 0,
    guests: [listing, { ...listing, name: "bcd", endpoint: null, link: null, fault: "why" }],
    workers: [
      { guests: ["a"], restarts: 0, alive: true },
      { guests: ["bcd"], restarts: 1, alive: false },
    ],
  }, 1_000);
  assertEquals(lines, [
    "gateway    virtio-gateway 1 with 2 guests",
    "since      1970-01-01 00:00:00Z, 1 s ago",
    "workers    2, 1 restart, 1 being started again",
    "NAME  GUEST      FLOWS  PORTS  REFUSED       UP  DOWN  NETWORK  ENDPOINT",
    "a     attached      12      1        3  1.50 kB   0 B  -        unix:a",
    "bcd   no answer      -      -        -        -     -  -        -",
    "bcd: why",
  ]);
});
