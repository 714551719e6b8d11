import { assert, assertEquals, assertMatch } from "@std/assert";
import { GatewayClient } from "../../lib/control/client.ts";
import { GuestShell } from "./guest_shell.ts";
import { type Guest, NETWORK, withGuest } from "./harness.ts";
import { HOST, type Outside, UPLINK } from "./outside.ts";
import {
  explain,
  explainedTarget,
  listedDenials,
  loggedDenials,
  PLACES,
  RefusalChecker,
  startWorld,
} from "./policy_attempts.ts";
import {
  DENIED,
  FENCE,
  protects,
  REFUSED,
  REFUSED_BY_DENIAL,
  RESET,
  UNREACHABLE,
} from "./policy_refusals.ts";
import { guestTest } from "./prerequisites.ts";
import { runProgram, until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

/** A guest under the given flags, in a world where the host's resolver is the test's. */
async function underPolicy(
  outside: Outside,
  gatewayArgs: readonly string[],
  fn: (shell: GuestShell, guest: Guest) => Promise<void>,
  config?: string,
): Promise<void> {
  const args = ["--dns", outside.resolver, "--log-format", "json", ...gatewayArgs];
  const { prefix } = outside;
  const spec = { prefix, gatewayArgs: args, hasControl: true, ...(config ? { config } : {}) };
  await withGuest(spec, async (guest) => {
    await fn(new GuestShell(guest, outside.authority), guest);
  });
}

const flags = (flag: string, values: readonly string[]) => values.flatMap((each) => [flag, each]);
const table = (title: string, lines: readonly string[]) => `${title}\n${lines.join("\n")}`;

/** A hello of one octet a segment takes its time on a busy machine. */
const PATIENT = "limits: { inspectMs: 60000 }\n";

/** What any server says, and a resolver, and openssl. */
const PASSES = /^hello from|^SSH-2\.0|status: NOERROR|^answered x|^Verification: OK/m;

/** The rule that a way out adds; `null` where it is another one. */
function ruleOf(hint: string): string | null {
  return /^policy: \{ allow: \["(.*)"\] \}$/.exec(hint)?.[1] ?? null;
}

guestTest("policy: what rules allow passes, all else is refused with the way out", async (t) => {
  await using outside = await startWorld();
  await underPolicy(outside, flags("--allow", FENCE), async (shell, guest) => {
    for (const name of ["example.test", "www.example.test"]) {
      for (const version of ["--tls-max 1.2", "--tlsv1.3"]) {
        for (const family of ["-4", "-6"]) {
          await t.step(`curl ${family} ${version} https://${name}/`, async () => {
            const script = `web ${family} ${version} https://${name}/`;
            await shell.must(script, new RegExp(`^hello from ${name}$`, "m"));
          });
        }
      }
    }
    await t.step("a name in capitals, and one with its last dot", async () => {
      for (const name of ["WWW.Example.TEST", "www.example.test."]) {
        await shell.must(`web https://${name}/`, /^hello from www\.example\.test\.?$/m);
      }
    });
    const before = await outside.reached();
    const checker = new RefusalChecker(guest.gateway, shell);
    for (const attempt of REFUSED) {
      await t.step(`refused: ${attempt.what}`, () => checker.try(attempt));
    }
    console.log(table("refused after", checker.times));
    await t.step("nothing of it came anywhere", async () => {
      assertEquals(await outside.reached(), before);
      const asked = await outside.asked();
      assertEquals(asked.filter((name) => /other|evil/.test(name)), []);
    });
    await t.step("the log has each refusal once, with its rule and the way out", () => {
      checker.checkLog();
    });
    await t.step("denials lists them", async () => {
      const logged = loggedDenials(guest.gateway).map(({ what, rule }) => `${what} by ${rule}`);
      assertEquals((await listedDenials(guest.gateway)).toSorted(), logged.toSorted());
    });
    const control = new GatewayClient({ transport: "unix", path: guest.gateway.control });
    await t.step("explain knows them, with what the guest has looked up", async () => {
      for (const attempt of REFUSED) {
        const target = explainedTarget(attempt);
        if (target === null) continue;
        const { allowed, findings } = await control.explain(target);
        assert(!allowed, target);
        const hints = findings.flatMap(({ hint }) => hint ?? []);
        if (attempt.hint !== undefined) assert(hints.includes(attempt.hint), `${target}: ${hints}`);
      }
    });
    for (const { what, script, hint = "", allowed = script } of REFUSED) {
      const rule = ruleOf(hint);
      if (rule === null || allowed === null) continue;
      await t.step(`with ${rule}: ${what}`, async () => {
        await control.setPolicy({ allow: [...FENCE, rule] });
        await shell.must(allowed, PASSES);
      });
    }
    await t.step("flows that are no longer allowed end", async () => {
      await control.setPolicy({ allow: [...FENCE, `${PLACES.forge}:22`] });
      // What the server has said is with the guest before the flow is cut: a reset would take it.
      const heard = `${guest.gateway.directory}/heard`;
      const ending = shell.run(
        `talk ${PLACES.forge} 22 hello && : >${heard}; read -r -t 60 <&3; echo "ended $?"`,
      );
      await until("the flow is there", async () => {
        return (await runProgram(["test", "-e", heard])).code === 0;
      });
      await control.setPolicy({ allow: FENCE });
      assertMatch((await ending).text, /^SSH-2\.0[^]*ended 1$/m);
    });
    await t.step("a rule of HTTP lets the right Host pass", async () => {
      await shell.must("web http://plain.test/", /^hello from plain\.test$/m);
    });
    await t.step("a port without inspection passes by the lookup", async () => {
      await shell.must("ask forge.example.test", /140\.82\.112\.3/);
      await shell.must(`hear ${PLACES.forge} 22`, /^SSH-2\.0-forge/);
    });
    await t.step("a prefix passes on its port, and so does a name that leads there", async () => {
      await shell.must(`hear ${PLACES.database} 5432`, /^SSH-2\.0-forge/);
      await shell.must("ask +short database.example.test", /^10\.20\.30\.40$/m);
    });
    await t.step("a chain of aliases belongs to the name that was asked for", async () => {
      await shell.must("web https://alias.example.test/", /^hello from alias\.example\.test$/m);
      await shell.must("ask one.elsewhere.test", /status: REFUSED/);
    });
    await t.step("a private address is taken out of an answer, the others stay", async () => {
      assertEquals((await shell.run("ask +short mixed.example.test")).text.trim(), PLACES.web);
    });
    await t.step("a ClientHello in segments of one octet", async () => {
      const port = freePort();
      const way = guest.launch("dribble", String(port), PLACES.web, "443");
      await way.line(/^listening$/);
      const through = (name: string) => `web --connect-to ::127.0.0.1:${port} https://${name}/`;
      await shell.must(through("www.example.test"), /^hello from www\.example\.test$/m);
      await shell.must(through("other.test"), /SSL_ERROR_SYSCALL|reset by peer/);
    });
  }, PATIENT);
});

/** Spellings of the loopback that a kernel keeps to itself. */
const KEPT = ["0.0.0.0", "[::]", "[::1]"];
/** Spellings of the loopback that a guest's kernel sends out once it is told to. */
const SENT = ["127.1", "2130706433", "127.255.255.254", "[::ffff:127.0.0.1]"];

/** Has the guest's kernel send what is meant for its loopback to the gateway. */
const REROUTE = `set -e
ip route del table local local 127.0.0.0/8 dev lo
ip route del table local local 127.0.0.1 dev lo
ip route add 127.0.0.0/8 via ${NETWORK.gatewayIp} dev tap0
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
`;

guestTest("policy: protect levels and deny rules without any allow rule", async (t) => {
  await using outside = await startWorld();
  const strict = ["--protect", "strict", ...flags("--deny", DENIED)];
  await underPolicy(outside, strict, async (shell, guest) => {
    const checker = new RefusalChecker(guest.gateway, shell);
    for (const attempt of REFUSED_BY_DENIAL) {
      await t.step(`refused: ${attempt.what}`, () => checker.try(attempt));
    }
    await t.step("the host's loopback, however it is spelled", async () => {
      for (const host of KEPT) await shell.must(`web http://${host}/`, UNREACHABLE);
      await shell.must(`${REROUTE} ip route get 127.0.0.1`, /dev tap0/);
      for (const host of SENT) {
        await checker.try({
          what: `the loopback as ${host}`,
          script: `web http://${host}/`,
          says: UNREACHABLE,
          ...protects(`tcp ${host.startsWith("127.2") ? host : "127.0.0.1"}:80`),
        });
      }
    });
    console.log(table("refused after", checker.times));
    await t.step("nothing of it came anywhere", async () => {
      assertEquals(await outside.reached(), []);
      assert(!(await outside.asked()).includes("other.test"));
    });
    await t.step("the log has each refusal once, with its rule and the way out", () => {
      checker.checkLog();
    });
    await t.step("all else passes", async () => {
      await shell.must("web http://www.example.test/", /^hello from www\.example\.test$/m);
      await shell.must(`hear ${UPLINK.ip} 22`, /^SSH-2\.0/);
      await shell.must(`datagram ${PLACES.doh} 443`, /^answered x$/m);
    });
  });
  await underPolicy(outside, ["--protect", "off"], async (shell, guest) => {
    for (const { what, script, hint } of REFUSED_BY_DENIAL) {
      if (hint === undefined) continue;
      await t.step(`with its way out: ${what}`, async () => {
        await shell.must(script, PASSES);
      });
    }
    assertEquals(loggedDenials(guest.gateway), []);
  });
});

const PUBLISHED_PORT = 8022;
const GUEST_PORT = 22;
const RATE_BYTES_PER_SECOND = 1_000_000;
const DOWNLOAD_BYTES = 3_000_000;

/** A port that only one address of the internet may use. */
const PUBLISHED = `
publish:
  - { host: ${PUBLISHED_PORT}, guest: ${GUEST_PORT}, bind: [0.0.0.0], allowFrom: [${UPLINK.ip}] }
`;

/** How many segments the guest's kernel has had twice. */
async function duplicates(guest: Guest): Promise<number> {
  const [names = "", values = ""] = (await guest.must("grep", "^TcpExt:", "/proc/net/netstat"))
    .split("\n");
  const numbers = values.split(" ");
  return names.split(" ").reduce((sum, name, i) => {
    return /^TCPDSACK(Ofo|Old)Sent$/.test(name) ? sum + Number(numbers[i]) : sum;
  }, 0);
}

guestTest("policy: clients of a published port, and a rate", async (t) => {
  await using outside = await startWorld();
  const args = ["--rate-down", "1MB"];
  await underPolicy(outside, args, async (shell, guest) => {
    await t.step("a client from an address that is let in reaches the guest", async () => {
      await guest.launch("echo-server", String(GUEST_PORT)).line(/^listening$/);
      assertEquals(await outside.fromInternet("bash", "-c", client(UPLINK.ip)), "echo");
    });
    await t.step("any other one does not, and the log says so", async () => {
      assertEquals(await outside.fromInternet("bash", "-c", client(PLACES.web)), "");
      const denied = () => loggedDenials(guest.gateway);
      await until("the log tells of it", () => denied().length > 0);
      assertEquals(denied().map(({ what, rule, allow }) => ({ what, rule, allow })), [{
        what: `tcp published port ${GUEST_PORT}`,
        rule: "allowFrom",
        allow: `publish: [{ guest: ${GUEST_PORT}, allowFrom: ["${PLACES.web}"] }]`,
      }]);
    });
    await t.step(
      "a download takes the time of its rate, without sending anything twice",
      async () => {
        const received = async () => {
          const path = "/sys/class/net/tap0/statistics/rx_bytes";
          return Number(await guest.must("cat", path));
        };
        const before = await received();
        const { text, ms } = await shell.run(
          `web -o /dev/null -w '\\nbytes %{size_download}\\ntook %{time_total} s' ` +
            `http://${PLACES.web}/bytes/${DOWNLOAD_BYTES}`,
        );
        assertMatch(text, new RegExp(`^bytes ${DOWNLOAD_BYTES}$`, "m"));
        const rate = DOWNLOAD_BYTES / (ms / 1000);
        const octets = await received() - before;
        const twice = await duplicates(guest);
        console.log(`${(rate / 1e6).toFixed(2)} MB/s; ${octets} octets of frames; ${twice} twice`);
        assert(rate < RATE_BYTES_PER_SECOND * 2, text);
        assert(octets < DOWNLOAD_BYTES * 1.1, `${octets} octets of frames`);
        // Of some 2,000; a gateway that waits for a processor sends a few again.
        assert(twice < 50, `${twice} segments twice`);
      },
    );
  }, PUBLISHED);
});

/** Says a word to the published port from an address, and prints the line that comes back, if any. */
function client(from: string): string {
  const place = `telnet://${HOST.ip}:${PUBLISHED_PORT}`;
  // curl stays for as long as the connection does.
  return `exec 3< <(exec curl -sSN -m 60 --interface ${from} ${place} <<<echo)
    read -r line <&3 && echo "$line"
    kill $! 2>/dev/null || true`;
}

for (const [scheme, port] of [["http", 3128], ["socks5", 1080]] as const) {
  guestTest(`policy: TCP through an upstream proxy of ${scheme}`, async (t) => {
    await using outside = await startWorld();
    const proxy = `${scheme}://${UPLINK.ip}:${port}`;
    const args = ["--upstream-proxy", proxy, ...flags("--allow", ["*.example.test", "9.9.9.9"])];
    await underPolicy(outside, args, async (shell, guest) => {
      for (const [family, place] of [["-4", PLACES.web], ["-6", `[${PLACES.web6}]`]] as const) {
        await t.step(`curl ${family}: the proxy is asked for the literal`, async () => {
          await shell.must(`web ${family} https://www.example.test/`, PASSES);
          const asked = (await outside.events()).filter(({ event }) => event === "proxied");
          assertEquals(asked.at(-1), { event: "proxied", by: scheme, to: `${place}:443` });
          const reached = (await outside.reached()).slice(-2);
          assertEquals(reached, [`tcp ${UPLINK.ip}:${port}`, `tcp ${place}:443`]);
        });
      }
      await t.step("what the rules refuse does not come to the proxy", async () => {
        const before = await outside.reached();
        await shell.must(`web -k https://${PLACES.cdn}/`, UNREACHABLE);
        await shell.must("web --connect-to ::www.example.test: https://other.test/", RESET);
        assertEquals(await outside.reached(), before);
      });
      await t.step("a datagram does not go past the proxy", async () => {
        await shell.must(`datagram ${PLACES.doh} 443`, UNREACHABLE);
        const last = () => loggedDenials(guest.gateway).at(-1)?.rule;
        await until("the log tells of it", () => last() === "upstream proxy");
      });
    });
  });
}

/** What is asked under which flags, what `explain` then says to write, and the flags with that. */
const ASKED: readonly [target: string, flags: string[], hint: string, followed: string[]][] = [
  [
    "https://other.test/",
    flags("--allow", FENCE),
    'policy: { allow: ["other.test"] }',
    flags("--allow", [...FENCE, "other.test"]),
  ],
  [
    `${PLACES.doh}:443`,
    flags("--allow", FENCE),
    `policy: { allow: ["${PLACES.doh}:443/tcp"] }`,
    flags("--allow", [...FENCE, `${PLACES.doh}:443/tcp`]),
  ],
  [
    `${HOST.ip}:80`,
    ["--protect", "strict"],
    "policy: { protect: metadata }",
    ["--protect", "metadata"],
  ],
  [
    "other.test:80",
    flags("--deny", DENIED),
    'policy: { deny: [] } without "other.test" (--deny)',
    flags("--deny", DENIED.filter((rule) => rule !== "other.test")),
  ],
];

guestTest(
  "policy: explain says by the flags alone what allows a target, and that it does",
  async () => {
    await using outside = await startWorld();
    for (const [target, before, hint, followed] of ASKED) {
      const [refused, allowed] = await Promise.all([before, followed].map((words) => {
        return explain(outside.prefix, [target, ...words]);
      }));
      assertEquals([refused!.code, refused!.hints[0]], [5, hint], target);
      assertEquals([allowed!.code, allowed!.hints], [0, []], target);
    }
  },
);
