/**
 * `/metrics` of a real gateway: both formats, the counts of guests that have left, and what
 * Prometheus' own tools say of it.
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { hasProgram, runWithInput } from "../support/programs.ts";
import { until } from "../support/guest_rig.ts";
import { attachTo, ControlRig, TOKEN } from "./control_rig.ts";
import { GuestsRig } from "./guests_rig.ts";

const OPEN = "application/openmetrics-text;version=1.0.0";

/** The value of a sample, as it is written. */
function sample(text: string, name: string): number {
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  assert(line !== undefined, `${name} in\n${text}`);
  return Number(line.slice(name.length + 1));
}

Deno.test("both formats, by Accept; it takes the token over TCP and no other method", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const plain = await rig.ask("GET", "/metrics");
  assertEquals(plain.status, 200);
  assertEquals(plain.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  assertEquals(plain.headers.get("vary"), "Accept");
  assertStringIncludes(plain.text, `virtio_gateway_build_info{version="1.2.3",deno="`);
  assertEquals(sample(plain.text, "virtio_gateway_guest_attached"), 0);
  const started = sample(plain.text, "virtio_gateway_start_time_seconds");
  assert(Math.abs(started - Date.now() / 1000) < 60);
  assert(sample(plain.text, "virtio_gateway_resident_memory_bytes") > 1e6);

  const open = await rig.ask("GET", "/metrics", { headers: { Accept: OPEN } });
  assertEquals(
    open.headers.get("content-type"),
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
  );
  assertMatch(open.text, /\n# EOF\n$/);
  assertStringIncludes(open.text, "# UNIT virtio_gateway_frame_bytes bytes\n");

  const stranger = await rig.ask("GET", "/metrics", { headers: { Authorization: "" } });
  assertEquals(stranger.status, 401);
  const wrong = await rig.ask("GET", "/metrics", {
    headers: { Authorization: `Bearer x${TOKEN}` },
  });
  assertEquals(wrong.status, 401);
  assertEquals((await rig.ask("POST", "/metrics")).status, 405);
});

Deno.test("counts go on when a guest has left, a rule changes, and the next guest comes", async () => {
  await using rig = await ControlRig.open({ policy: { deny: ["10.1.2.3"] } });
  const ask = async () => (await rig.ask("GET", "/metrics")).text;
  const denied = `virtio_gateway_denials_total{rule="10.1.2.3"}`;
  const fromGuest = `virtio_gateway_frames_total{direction="from_guest"}`;

  const first = await rig.attach();
  await assertRejects(() => first.connect("10.1.2.3", 443), GuestError, "prohibited");
  const during = await ask();
  assertEquals(sample(during, denied), 1);
  assertEquals(sample(during, "virtio_gateway_guest_attached"), 1);
  assertEquals(sample(during, `virtio_gateway_policy_rules{action="deny"}`), 1);
  assert(sample(during, fromGuest) > 2);
  assertEquals(sample(during, "virtio_gateway_dhcp_leases_total"), 1);
  await rig.client.setPolicy({ deny: ["10.9.9.9"] });
  assertEquals(sample(await ask(), denied), 1);
  await first.close();
  await until("the guest has left", () => rig.gateway.guest === null);
  const after = await ask();
  assertEquals(sample(after, denied), 1);
  assertEquals(sample(after, "virtio_gateway_guest_attached"), 0);
  assertEquals(sample(after, `virtio_gateway_flows{protocol="tcp"}`), 0);
  assert(sample(after, fromGuest) >= sample(during, fromGuest));

  await using _second = await rig.attach();
  const again = await ask();
  assertEquals(sample(again, "virtio_gateway_guests_total"), 2);
  assertEquals(sample(again, "virtio_gateway_dhcp_leases_total"), 2);
  assert(sample(again, fromGuest) > sample(after, fromGuest));
});

Deno.test("no word of the guest's is in it", async () => {
  await using rig = await ControlRig.open({ policy: { allow: ["good.test"] } });
  await using guest = await rig.attach();
  await guest.resolve("its-own-name.test", "A");
  await assertRejects(() => guest.connect("10.77.66.55", 4_321), GuestError);
  const { text } = await rig.ask("GET", "/metrics");
  assertEquals(sample(text, `virtio_gateway_denials_total{rule="default-deny"}`), 2);
  assertEquals(sample(text, `virtio_gateway_dns_questions_total{outcome="denied"}`), 1);
  for (const word of ["its-own-name", "10.77", "4321"]) assert(!text.includes(word), word);
});

Deno.test("of several guests each sample has the name, each family stands once", async () => {
  await using rig = await GuestsRig.open({ db: { policy: { deny: ["10.1.2.3"] } }, web: {} });
  rig.set.workersNow = [{ guests: ["db", "web"], restarts: 3, alive: true }];
  await using guest = await attachTo(rig.server("db"));
  await assertRejects(() => guest.connect("10.1.2.3", 443), GuestError, "prohibited");
  for (const headers of [{}, { Accept: OPEN }]) {
    const { text } = await rig.ask("GET", "/metrics", { headers });
    assertEquals(sample(text, `virtio_gateway_guest_attached{guest="db"}`), 1);
    assertEquals(sample(text, `virtio_gateway_guest_attached{guest="web"}`), 0);
    assertEquals(sample(text, `virtio_gateway_denials_total{guest="db",rule="10.1.2.3"}`), 1);
    assertEquals(sample(text, `virtio_gateway_flows{guest="web",protocol="tcp"}`), 0);
    assertEquals(sample(text, `virtio_gateway_event_readers`), 0);
    assertEquals(sample(text, `virtio_gateway_worker_restarts_total{worker="0"}`), 3);
    assertEquals(sample(text, `virtio_gateway_worker_guests{worker="0"}`), 2);
    const types = text.split("\n").filter((line) => line.startsWith("# TYPE "));
    assertEquals(new Set(types).size, types.length);
    const lines = text.split("\n").filter((line) => line.startsWith("virtio_gateway_"));
    const own = lines.filter((line) => !line.includes(`{guest="`));
    const whole = /^virtio_gateway_(build_info|start_time|event_readers|worker_|\w+_memory|heap_)/;
    assertEquals(own.filter((line) => !whole.test(line)), []);
    assert(lines.length > 2 * own.length);
  }
  if (!await hasProgram("promtool")) return;
  const { text } = await rig.ask("GET", "/metrics");
  const outcome = await runWithInput(["promtool", "check", "metrics"], text);
  assertEquals(outcome, { code: 0, stdout: "", stderr: "" });
});

Deno.test({
  name: "promtool finds nothing wrong with it",
  ignore: !await hasProgram("promtool"),
  async fn() {
    await using rig = await ControlRig.open({ policy: { deny: ["*.evil.test"] } });
    await using guest = await rig.attach();
    await guest.resolve("www.evil.test", "A");
    const { text } = await rig.ask("GET", "/metrics");
    const outcome = await runWithInput(["promtool", "check", "metrics"], text);
    assertEquals(outcome, { code: 0, stdout: "", stderr: "" });
  },
});
