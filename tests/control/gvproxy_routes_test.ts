/** What is made for gvproxy's HTTP interface, curl lines above all, finds its paths and its format. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { saying } from "../host/dns_answers.ts";
import { FakeUpstream } from "../host/dns_fake_upstream.ts";
import { pattern } from "../support/packets.ts";
import { runProgram } from "../guest/program.ts";
import { ControlRig, type ControlRigOptions } from "./control_rig.ts";
import { freePort } from "../support/free_port.ts";

/** The addresses that gvproxy's guests have. */
const NETWORK: ControlRigOptions = {
  guestNetwork: { guestIp: "192.168.127.2/24", gatewayIp: "192.168.127.1" },
};

/** Runs curl as gvproxy's own documentation does. */
async function curl(rig: ControlRig, path: string, ...more: string[]) {
  const { endpoint } = rig.control;
  assert(endpoint.transport === "unix");
  const words = ["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", endpoint.path];
  const { stdout, stderr } = await runProgram([...words, `http:/unix${path}`, ...more]);
  assertEquals(stderr, "");
  const [, text = "", status] = /^([^]*)\n(\d+)$/.exec(stdout)!;
  return { text, status: Number(status) };
}

const post = (body: unknown) => ["-X", "POST", "-d", JSON.stringify(body)];

Deno.test("curl exposes a port, lists it and takes it back, without a content type", async () => {
  await using rig = await ControlRig.open(NETWORK);
  assertEquals(await curl(rig, "/services/forwarder/all"), { status: 200, text: "[]\n" });
  const port = freePort();
  const exposed = await curl(
    rig,
    "/services/forwarder/expose",
    ...post({ local: `:${port}`, remote: "192.168.127.2:6443" }),
  );
  assertEquals(exposed, { status: 200, text: "" });
  const { text } = await curl(rig, "/services/forwarder/all");
  const [forward, ...more] = JSON.parse(text);
  const isWhole = rig.gateway.published[0]!.bind === "::"; // a host with IPv6
  assertEquals([forward, more], [
    { local: `${isWhole ? "" : "0.0.0.0"}:${port}`, remote: "192.168.127.2:6443", protocol: "tcp" },
    [],
  ]);
  const guest = await rig.attach();
  guest.listen(6443, (connection) => {
    void connection.write(pattern(7)).then(() => connection.finish());
  });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  assertEquals(await conn.read(new Uint8Array(100)), 7);
  conn.close();
  const again = await curl(
    rig,
    "/services/forwarder/expose",
    ...post({ local: `:${port}`, remote: "192.168.127.2:6443", protocol: "tcp" }),
  );
  assertEquals(again.status, 409);
  assertMatch(
    again.text,
    /^cannot publish (\[::\]|0\.0\.0\.0):\d+: the address is in use\. Choose another/,
  );
  const gone = await curl(rig, "/services/forwarder/unexpose", ...post({ local: `:${port}` }));
  assertEquals(gone, { status: 200, text: "" });
  assertEquals(rig.gateway.published, []);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port }));
  const absent = await curl(rig, "/services/forwarder/unexpose", ...post({ local: `:${port}` }));
  assertEquals(absent, {
    status: 404,
    text: `nothing is published on :${port}. No port is published\n`,
  });
  await guest.close();
});

Deno.test("places are one address, the host's loopback, or all; the guest is its address or none", async () => {
  await using rig = await ControlRig.open(NETWORK);
  const expose = (body: unknown) =>
    rig.ask("POST", "/services/forwarder/expose", {
      body: JSON.stringify(body),
    });
  const good: [local: string, remote: string][] = [
    [`127.0.0.2:${freePort()}`, ":80"],
    [`127.0.0.3:${freePort()}`, "[fd53:4d00::2]:81"],
  ];
  for (const [local, remote] of good) {
    const { status, text } = await expose({ local, remote, protocol: "" });
    assertEquals([status, text], [200, ""]);
  }
  const { text } = await rig.ask("GET", "/services/forwarder/all");
  assertEquals(JSON.parse(text), [
    { local: good[0]![0], remote: "192.168.127.2:80", protocol: "tcp" },
    { local: good[1]![0], remote: "192.168.127.2:81", protocol: "tcp" },
  ]);
  const { status } = await expose({ local: `localhost:${freePort()}`, remote: ":82" });
  assertEquals(status, 200);
  assertEquals(rig.gateway.published[2]!.bind, "127.0.0.1");
  const bad: [body: unknown, message: RegExp][] = [
    [{ local: ":1", remote: "192.168.127.3:80" }, /^"remote" is not the guest, whose address is/],
    [{ local: ":1", remote: "100.96.0.2:80" }, /^"remote" is not the guest/],
    [{ local: ":1", remote: "192.168.127.2" }, /^"remote" is no address and port of the guest/],
    [{ local: ":1", remote: "192.168.127.2:0" }, /^"remote" is no address and port/],
    [{ local: ":1", remote: ":0" }, /^"remote" is no address and port/],
    [{ local: "6443", remote: ":80" }, /^"local" is no address and port of the host/],
    [{ local: ":0", remote: ":80" }, /^"local" is no address and port/],
    [{ local: "a.test:80", remote: ":80" }, /^"local" is no address and port/],
    [{ local: ":1", remote: ":80", protocol: "sctp" }, /^"protocol" is neither tcp, udp nor unix/],
    [{ local: ":1", remote: ":80", protocol: 7 }, /^"protocol" is neither tcp, udp nor unix/],
    [{ local: "6443", remote: ":80", protocol: "udp" }, /^"local" is no address and port/],
    [{ local: "/run/a.sock", remote: "tcp://a:1", protocol: "unix" }, /^"remote" is no address/],
    [
      { local: "/run/a.sock", remote: "ssh-tunnel://root@a:1/b", protocol: "unix" },
      /^a socket of the guest can't be reached/,
    ],
    [{ local: "", remote: ":80", protocol: "unix" }, /lacks the path of its socket/],
    [{ local: 80, remote: ":80" }, /^"local" is not there, or no text/],
    [{ local: ":80" }, /^"remote" is not there, or no text/],
    [[], /^"local" is not there/],
    [null, /^"local" is not there/],
  ];
  for (const [body, message] of bad) {
    const answer = await expose(body);
    assertEquals(answer.status, 422, JSON.stringify(body));
    assertEquals(answer.headers.get("content-type"), "text/plain; charset=utf-8");
    assertMatch(answer.text, message);
  }
  const malformed = await curl(rig, "/services/forwarder/expose", "-X", "POST", "-d", "{");
  assertEquals(malformed.status, 400);
  assertMatch(malformed.text, /^the body is not JSON/);
});

Deno.test("datagrams and a unix socket are exposed as gvproxy's clients ask for them", async () => {
  await using rig = await ControlRig.open(NETWORK);
  const folder = await Deno.makeTempDir();
  const path = `${folder}/api.sock`;
  const ask = async (what: string, body: unknown) => {
    const { status, text } = await rig.ask("POST", `/services/forwarder/${what}`, {
      body: JSON.stringify(body),
    });
    return [status, text];
  };
  const any = `:${freePort()}`;
  const udp = { local: any, remote: "192.168.127.2:53", protocol: "udp" };
  const unix = { local: path, remote: "tcp://192.168.127.2:22", protocol: "unix" };
  assertEquals(await ask("expose", udp), [200, ""]);
  assertEquals(await ask("expose", unix), [200, ""]);
  assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
  const { text } = await rig.ask("GET", "/services/forwarder/all");
  assertEquals(JSON.parse(text).map((each: { protocol: string }) => each.protocol), [
    "udp",
    "unix",
  ]);
  assertEquals(JSON.parse(text)[1], { local: path, remote: "192.168.127.2:22", protocol: "unix" });
  const [status, fault] = await ask("expose", unix);
  assertEquals(status, 409);
  assertMatch(String(fault), /it is published/);
  assertEquals((await ask("unexpose", { local: any }))[0], 404, "no tcp port is exposed there");
  assertEquals(await ask("unexpose", { local: any, protocol: "udp" }), [200, ""]);
  assertEquals(await ask("unexpose", { local: path, protocol: "unix" }), [200, ""]);
  assertEquals(rig.gateway.published, []);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("own names are said as zones", async () => {
  await using rig = await ControlRig.open({
    ...NETWORK,
    dns: {
      upstreams: ["127.0.0.1:1"],
      records: {
        "db.corp.test": ["10.0.0.5", "fd00::5"],
        "www.corp.test": { cname: "db.corp.test" },
        "*.corp.test": ["10.0.0.6"],
        "alone": ["10.0.0.7"],
      },
    },
  });
  assertEquals(JSON.parse((await curl(rig, "/services/dns/all")).text), [
    {
      Name: "internal.",
      Records: [
        { Name: "gateway", IP: "192.168.127.1", Regexp: null },
        { Name: "gateway", IP: "fd53:4d00::1", Regexp: null },
      ],
      DefaultIP: "",
    },
    {
      Name: "corp.test.",
      Records: [{ Name: "db", IP: "10.0.0.5", Regexp: null }, {
        Name: "db",
        IP: "fd00::5",
        Regexp: null,
      }],
      DefaultIP: "10.0.0.6",
    },
    { Name: ".", Records: [{ Name: "alone", IP: "10.0.0.7", Regexp: null }], DefaultIP: "" },
  ]);
});

Deno.test("curl adds a zone that the guest resolves from then on, and changes it", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.7"));
  await using rig = await ControlRig.open({
    ...NETWORK,
    dns: { upstreams: [upstream.address], zones: { "corp.test": [upstream.address] } },
  });
  const guest = await rig.attach();
  const resolve = async (name: string, type = "A") => {
    const { code, answers } = await guest.resolve(name, type);
    return [code, ...answers.map(({ data }) => data)];
  };
  // As gvproxy's own documentation has it.
  const line = `{"Name":"test.internal.","Records":[{"Name":"gateway","IP":"192.168.127.1"}]}`;
  const added = await curl(rig, "/services/dns/add", "-X", "POST", "-d", line);
  assertEquals(added, { status: 200, text: "" });
  assertEquals(await resolve("gateway.test.internal"), ["NOERROR", "192.168.127.1"]);
  assertEquals(await resolve("other.test.internal"), ["NXDOMAIN"]);
  const next = {
    name: "TEST.internal.",
    records: [{ name: "gateway", ip: "192.168.127.254" }, { name: "db", ip: "fd00::5" }],
    defaultIP: "10.0.0.9",
  };
  assertEquals((await curl(rig, "/services/dns/add", ...post(next))).status, 200);
  assertEquals(await resolve("gateway.test.internal"), ["NOERROR", "192.168.127.254"]);
  assertEquals(await resolve("db.test.internal", "AAAA"), ["NOERROR", "fd00::5"]);
  assertEquals(await resolve("other.test.internal"), ["NOERROR", "10.0.0.9"]);
  assertEquals(upstream.received.length, 0);
  const zones = JSON.parse((await curl(rig, "/services/dns/all")).text);
  assertEquals(zones[1], {
    Name: "test.internal.",
    Records: [{ Name: "gateway", IP: "192.168.127.254", Regexp: null }, {
      Name: "db",
      IP: "fd00::5",
      Regexp: null,
    }],
    DefaultIP: "10.0.0.9",
  });
  const bad: [body: unknown, status: number, text: string][] = [
    [
      { Name: "a.test.", Records: [{ Regexp: ".*", IP: "10.0.0.1" }] },
      501,
      "names by regular expression are not answered here: write each out, or give all others of " +
      "the zone a DefaultIP\n",
    ],
    [
      { Name: "corp.test.", Records: [] },
      422,
      "zone: corp.test has upstreams of its own, which would not be asked any more\n",
    ],
    [
      { Name: "a.test.", Records: [{ Name: "b", IP: "10.0.0" }] },
      422,
      `"Records[0].IP" is no address. Send {"Name": "apis.internal.", "Records": ` +
      `[{"Name": "db", "IP": "10.0.0.5"}]}\n`,
    ],
  ];
  for (const [body, status, text] of bad) {
    assertEquals(await curl(rig, "/services/dns/add", ...post(body)), { status, text });
  }
  assertEquals(JSON.parse((await curl(rig, "/services/dns/all")).text), zones);
  await guest.close();
});

Deno.test("statistics count the guest's octets, and are zero without one", async () => {
  await using rig = await ControlRig.open({ ...NETWORK, hostLoopback: true });
  const stats = async () => JSON.parse((await curl(rig, "/stats")).text);
  const idle = await stats();
  assertEquals([idle.BytesSent, idle.BytesReceived, idle.TCP.CurrentConnected], [0, 0, 0]);
  const guest = await rig.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const flow = await guest.connect("192.168.127.1", host.addr.port);
  const { BytesSent, BytesReceived, DroppedPackets, TCP, UDP } = await stats();
  assert(BytesSent > 300 && BytesReceived > 300, "a lease and a handshake");
  assertEquals([DroppedPackets, UDP.PacketsReceived], [0, 0]);
  assertEquals([TCP.PassiveConnectionOpenings, TCP.ActiveConnectionOpenings], [1, 0]);
  assertEquals([TCP.CurrentEstablished, TCP.CurrentConnected], [1, 1]);
  flow.abort();
  await guest.close();
});

Deno.test("over TCP a body has its content type, as any page could send it without", async () => {
  await using rig = await ControlRig.open({ ...NETWORK, control: "tcp" });
  const body = `{"local":":6443","remote":":6443"}`;
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  const { status } = await rig.ask("POST", "/services/forwarder/expose", { body, headers });
  assertEquals([status, rig.gateway.published], [415, []]);
  const other = await ControlRig.open();
  const policy = await other.ask("PUT", "/v1/policy", { body: "{}", headers });
  assertEquals(policy.status, 415, "for gvproxy's own paths alone");
  await other[Symbol.asyncDispose]();
});
