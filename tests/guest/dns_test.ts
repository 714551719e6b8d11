import { assert, assertEquals, assertMatch } from "@std/assert";
import { fakeResolver, HUGE_TEXT, LONG_TEXT } from "./fake_resolver.ts";
import { NETWORK, withGuest } from "./harness.ts";
import { httpServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";

const { gatewayIp, gatewayIp6 } = NETWORK;
const quoted = (strings: readonly string[]) => strings.map((text) => `"${text}"`).join(" ");

/** What dig asks in one go, and the short answers in that order. */
const ASKED = ["a.test", "A", "aaaa.test", "AAAA", "alias.test", "A", "svc.test", "HTTPS"]
  .concat(["long.test", "TXT", "huge.test", "TXT"]);
const ANSWERS = ["203.0.113.7", "2001:db8::7", "a.test.", "203.0.113.7", '1 . alpn="h2"']
  .concat([quoted(LONG_TEXT), quoted(HUGE_TEXT)]);

guestTest("names: the gateway resolves, at its own addresses and at any other", async (t) => {
  await using resolver = await fakeResolver();
  await using web = httpServer("127.0.0.1");
  // deno-fmt-ignore
  const gatewayArgs = ["--dns", `127.0.0.1:${resolver.port}`, "--host-loopback",
    "--dns-record", `web.internal=${gatewayIp}`, "--dns-record", `web.internal=${gatewayIp6}`];
  await withGuest({ gatewayArgs }, async (guest) => {
    const dig = (server: string, ...words: string[]) =>
      guest.must("dig", `@${server}`, "+time=15", "+tries=2", ...words);
    for (const server of [gatewayIp, gatewayIp6, "8.8.8.8", "2001:4860:4860::8888"]) {
      for (const [transport, option] of [["UDP", "+notcp"], ["TCP", "+tcp"]] as const) {
        await t.step(`dig @${server} over ${transport}`, async () => {
          assertEquals((await dig(server, option, "+short", ...ASKED)).split("\n"), ANSWERS);
        });
      }
    }
    await t.step(
      "without EDNS: what is above 512 bytes is truncated, then comes over TCP",
      async () => {
        const cut = await dig(gatewayIp, "+noedns", "+ignore", "long.test", "TXT");
        assertMatch(cut, /flags:[^;]*\btc\b/);
        assertEquals(
          await dig(gatewayIp, "+noedns", "+short", "long.test", "TXT"),
          quoted(LONG_TEXT),
        );
        const over = resolver.questions.filter(({ name }) => name === "huge.test");
        assert(
          over.some((question) => question.over === "tcp"),
          "the upstream was asked over TCP for what it truncates",
        );
      },
    );
    await t.step("a name that is not there, and a type that is not there", async () => {
      assertMatch(await dig(gatewayIp, "absent.test", "A"), /status: NXDOMAIN/);
      assertMatch(await dig(gatewayIp, "a.test", "AAAA"), /status: NOERROR.*\n.*ANSWER: 0,/);
    });
    await t.step("own names are answered here, other types with NODATA", async () => {
      assertEquals(await dig(gatewayIp, "+short", "web.internal", "A"), gatewayIp);
      assertEquals(await dig(gatewayIp, "+short", "WEB.internal.", "AAAA"), gatewayIp6);
      assertMatch(await dig(gatewayIp, "web.internal", "MX"), /status: NOERROR.*\n.*ANSWER: 0,/);
      const leaked = resolver.questions.filter(({ name }) => /^web\.internal$/i.test(name));
      assertEquals(leaked, [], "no question about an own name goes upstream");
    });
    await t.step("an ordinary program finds an own name through resolv.conf", async () => {
      const url = `http://web.internal:${web.port}/7`;
      const said = await guest.mustWithResolver(`nameserver ${gatewayIp}\n`, "curl", "-4sS", url);
      assertEquals(said, "answer 7");
    });
  });
});
