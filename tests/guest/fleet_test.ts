/**
 * Two hosts, a fleet between them, and a real kernel as the guest of each: one reaches by name what
 * the other publishes, for as long as the fleet's policy says so and the other is there.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { resolveGuests } from "../../lib/config/guests.ts";
import { resolveSources } from "../../lib/config/resolve_guests.ts";
import type { Attempt } from "./guest_program.ts";
import { FLEET_HOSTS, FleetHosts, NamedGuest } from "./fleet_hosts.ts";
import { Guest } from "./harness.ts";
import { LAN, LanGuest } from "./lan_guest.ts";
import { guestTest } from "./prerequisites.ts";
import { BackgroundProgram, until } from "./program.ts";

const WEB = "web.db.fleet.internal";
const ECHO = "echo.db.fleet.internal";
const [{ ip, ip6 }] = FLEET_HOSTS;

/** A page, over each of both versions; what curl said where there is none. */
async function pages(guest: NamedGuest): Promise<string[]> {
  const both = await Promise.all(["-4", "-6"].map((version) => {
    return guest.run(`curl -sS -m 50 ${version} http://${WEB}:8080/page.txt 2>&1`);
  }));
  return both.map(({ stdout }) => stdout.trim());
}

/** How attempts at addresses end. */
async function attempts(guest: Guest, port: number, ...hosts: string[]): Promise<string[]> {
  const tried = await guest.program<Attempt[]>("connect", `${port}`, ...hosts);
  return tried.map(({ result }) => result);
}

guestTest(
  "a guest reaches by name what one of another host publishes, as far as the fleet says",
  async (t) => {
    await using hosts = await FleetHosts.start();
    const allowed = `["${WEB}:8080", "${ECHO}:1-65535", example.com]`;
    await hosts.put("fleet", `allow: ${allowed}`);
    const publish = ["-p", "[::]:8080:80", "-p", "[::]:7007:7"];
    const services = ["--fleet-service", "web=80", "--fleet-service", "echo=7"];
    await using atDb = await hosts.gateway(0, "db", ...publish, ...services);
    await using atApp = await hosts.gateway(1, "app");
    await using db = await Guest.join(atDb);
    await using kernel = await Guest.join(atApp);
    const app = new NamedGuest(kernel);
    await Deno.writeTextFile(`${atDb.directory}/page.txt`, "a page of db\n");
    // deno-fmt-ignore
    await using _web = new BackgroundProgram(["ip", "netns", "exec", db.namespace, "busybox", "httpd",
    "-f", "-p", "80", "-h", atDb.directory]);
    await db.launch("echo-server", "7").line(/^listening$/);

    await t.step("it is told where, by A, AAAA and SRV", async () => {
      await until("the name", async () => await app.ask(WEB, "A") === `NOERROR ${ip}`, 60_000);
      assertEquals(await app.ask(WEB, "AAAA"), `NOERROR ${ip6}`);
      assertEquals(await app.ask(WEB, "SRV"), `NOERROR 0 0 8080 ${WEB}.`);
      assertEquals(await app.ask(`_web._tcp.db.fleet.internal`, "SRV"), `NOERROR 0 0 8080 ${WEB}.`);
      assertEquals(await app.ask("web.nobody.fleet.internal", "A"), "NXDOMAIN");
    });

    await t.step("it reaches the service, and nothing else at its address", async () => {
      await until("a page", async () => (await pages(app))[0] === "a page of db", 60_000);
      assertEquals(await pages(app), ["a page of db", "a page of db"]);
      assertEquals(await attempts(kernel, 8080, ip, ip6), ["open", "open"]);
      const refused = await attempts(kernel, 4222, ip, ip6);
      assert(refused.every((result) => result !== "open"), `the engine: ${refused}`);
      const sshd = await attempts(kernel, 22, ip, ip6);
      assert(sshd.every((result) => result === "EHOSTUNREACH" || result === "EACCES"), `${sshd}`);
    });

    const live = await app.start(
      `exec 3<>/dev/tcp/${ECHO}/7007; echo hello >&3; cat <&3; echo "it has ended"`,
    );
    await using _live = live;
    await live.line(/^hello$/, 0, 60_000);

    await t.step(
      "it is refused as soon as the policy says so, and what is live is cut",
      async () => {
        const said = await hosts.put("guest.app", `deny: ["*.db.fleet.internal"]`);
        await live.line(/it has ended/, 0, 60_000);
        const [four, six] = await pages(app) as [string, string];
        for (const page of [four, six]) assertMatch(page, /Could not resolve host/, said);
        assertEquals(await app.ask(WEB, "A"), "REFUSED");
        const literal = await attempts(kernel, 8080, ip, ip6);
        assert(
          literal.every((result) => result === "EHOSTUNREACH" || result === "EACCES"),
          `${literal}`,
        );
        assertEquals(await attempts(kernel, 7007, ip).then(([result]) => result), "EHOSTUNREACH");
      },
    );

    await t.step("it is let through again", async () => {
      await hosts.put("guest.app", `deny: ["10.99.0.0/16"]`);
      await until("a page", async () => (await pages(app))[0] === "a page of db", 60_000);
    });

    await t.step("what is gone without a word is gone", async () => {
      assertEquals(await app.ask(WEB, "A"), `NOERROR ${ip}`);
      await atDb.log.end("SIGKILL");
      const from = performance.now();
      await until("no name", async () => await app.ask(WEB, "A") === "NXDOMAIN", 60_000);
      const [page] = await pages(app);
      assertMatch(page!, /Could not resolve host/, `${performance.now() - from} ms after its end`);
    });
    await atApp.stop();
  },
);

guestTest(
  "a guest reaches by name what another one of its own host publishes, and no more of it",
  async (t) => {
    await using hosts = await FleetHosts.start();
    await hosts.put("fleet", `allow: ["*.fleet.internal:1-65535", example.com]`);
    const text = [
      "networks: { lab: { ip: 10.77.0.0/24 } }",
      "guests:",
      ...["app", "db"].flatMap((name) => [
        `  - name: ${name}`,
        `    listen: unix:${hosts.file(`${name}.sock`)}`,
        "    network: lab",
      ]),
      `    publish: ["0.0.0.0:8080:80", "0.0.0.0:7007:7"]`,
      "    services: { web: 80 }",
    ].join("\n");
    const config = hosts.file("gateway.yaml");
    await Deno.writeTextFile(config, text);
    const flags = {
      "fleet": [hosts.engine],
      "fleet-gateway": "host-1",
      "fleet-dir": hosts.file("h"),
    };
    const file = resolveSources({ file: { name: config, text }, flags });
    if (file.kind !== "guests") throw new Error("several guests are expected");
    const [first, second] = resolveGuests(file.config).networks[0]!.members;
    await using gateway = hosts.run(0, "host-1", "--config", config);
    await gateway.line(/\bready with 2 guests\b/, 0, 60_000);
    const join = (member: typeof first & object) =>
      LanGuest.join({ member, endpoint: `unix:${hosts.file(`${member.name}.sock`)}` });
    await using app = await join(first!);
    await using db = await join(second!);
    for (const port of ["80", "7"]) await db.launch("echo-server", port).line(/^listening$/);
    const dig = () => app.must("dig", "+short", "+tries=3", `@${LAN.gateway4}`, WEB, "A");
    const connect = async (port: number): Promise<string> => {
      const [only] = await app.program<Attempt[]>("connect", `${port}`, ip);
      return only!.result;
    };
    await t.step("the service, at the host's own address", async () => {
      await until("the name", async () => await dig() === ip, 60_000);
      await until("a connection", async () => await connect(8080) === "open", 60_000);
    });
    await t.step("no other port of the gateway, nor of the host", async () => {
      for (const port of [7007, 4222, 22]) assertEquals(await connect(port), "EHOSTUNREACH");
    });
    await t.step("without a rule about names it is the same", async () => {
      await hosts.put("fleet", `deny: [10.99.0.0/16]`);
      await until("a connection", async () => await connect(8080) === "open", 60_000);
      assertEquals(await connect(7007), "EHOSTUNREACH");
    });
  },
);
