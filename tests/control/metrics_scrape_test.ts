/**
 * Debian's Prometheus scrapes a running gateway over TCP with the token, as docs/operate.md has it.
 */
import { assert, assertEquals } from "@std/assert";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { cliWords, Folder } from "../cli/cli_process.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";
import { attachTo, TOKEN } from "./control_rig.ts";
import { GuestsRig } from "./guests_rig.ts";

const OPERATE = new URL("../../docs/operate.md", import.meta.url);
const GUEST_MEMORY = new FrameMemory(64 * 1024 * 1024);

/** The scrape snippet of the document, for another token file and port. */
async function scrapeConfig(tokenFile: string, port: string): Promise<string> {
  const text = await Deno.readTextFile(OPERATE);
  const [, snippet = ""] = /^```yml\n(scrape_configs:\n.*?)^```$/ms.exec(text) ?? [];
  const written = snippet.replace(/credentials_file: .*/, `credentials_file: ${tokenFile}`)
    .replace("127.0.0.1:9100", `127.0.0.1:${port}`);
  assert(written.includes(tokenFile) && written.includes(`127.0.0.1:${port}`), snippet);
  return `global: { scrape_interval: 1s, scrape_timeout: 1s }\n${written}`;
}

/** The last sample of each series: a scrape that comes to nothing, as on a busy machine, ends them. */
const lastOf = (series: string) => `last_over_time(${series}[5m])`;

/** What a running Prometheus is asked. */
interface Scraped {
  /** The samples that an expression has. */
  query(text: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]>;
  /** What its interface says of a path. */
  ask(path: string): Promise<unknown>;
}

/** Has Prometheus scrape a gateway, and asks it once a scrape has come in. */
async function withPrometheus(
  folder: Folder,
  tokenFile: string,
  port: string,
  check: (scraped: Scraped) => Promise<void>,
): Promise<void> {
  const config = folder.file("prometheus.yml");
  await Deno.writeTextFile(config, await scrapeConfig(tokenFile, port));
  await using prometheus = new BackgroundProgram([
    "prometheus",
    `--config.file=${config}`,
    `--storage.tsdb.path=${folder.file("data")}`,
    "--web.listen-address=127.0.0.1:0",
  ]);
  const listening = await prometheus.line(/"Listening on" address=/, 0, 60_000);
  const [, own = ""] = /address=127\.0\.0\.1:(\d+)/.exec(listening) ?? [];
  await prometheus.line(/ready to receive web requests/, 0, 60_000);
  const ask = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${own}/api/v1/${path}`);
    return (await answer.json()).data;
  };
  const query: Scraped["query"] = async (text) =>
    (await ask(`query?query=${encodeURIComponent(text)}`) as { result: [] }).result;
  await until("a scrape has come in", async () => {
    return (await query(lastOf("virtio_gateway_guests_total"))).length > 0;
  }, 60_000).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await ask("targets"))}`);
  });
  await check({ query, ask });
  assertEquals((await prometheus.end("SIGTERM", 30_000)).forced, false);
}

Deno.test({
  name: "Prometheus scrapes a running gateway, with its token, and has the units",
  ignore: !await hasProgram("prometheus"),
  async fn() {
    await using folder = await Folder.make();
    const tokenFile = folder.file("token");
    await Deno.writeTextFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
    const vm = folder.file("vm.sock");
    const paths = [folder.path, vm].join(",");
    await using gateway = new BackgroundProgram(cliWords(
      ["--allow-net", `--allow-read=${paths}`, `--allow-write=${paths}`],
      ["run", "--listen", `unix:${vm}`, "--dns", "127.0.0.1:1", "--control", "tcp:127.0.0.1:0"]
        .concat(["--control-token", tokenFile, "--deny", "10.1.2.3"]),
    ));
    const line = await gateway.line(/the control interface is on /);
    const [, port = ""] = /127\.0\.0\.1:(\d+)/.exec(line) ?? [];
    await gateway.line(/\bready\b/);
    await using guest = EmbeddedGuest.attach(
      await Deno.connect({ transport: "unix", path: vm }),
      { memory: GUEST_MEMORY },
    );
    await guest.lease();
    await guest.connect("10.1.2.3", 443).catch(() => {});

    await withPrometheus(folder, tokenFile, port, async ({ query, ask }) => {
      const [denials, leases, up] = await Promise.all([
        query(`sum by (rule, job, vm) (${lastOf("virtio_gateway_denials_total")})`),
        query(lastOf("virtio_gateway_dhcp_leases_total")),
        query("max_over_time(up[5m])"),
      ]);
      assertEquals(denials.map(({ metric, value }) => [metric, value[1]]), [
        [{ rule: "10.1.2.3", job: "virtio-gateway", vm: "vm1" }, "1"],
      ]);
      assertEquals([leases[0]?.value[1], up[0]?.value[1]], ["1", "1"]);
      // Units are known from OpenMetrics alone, so that is what was read.
      const metadata = await ask("metadata") as Record<string, { type: string; unit: string }[]>;
      assertEquals(metadata.virtio_gateway_frame_bytes?.map(({ type, unit }) => [type, unit]), [
        ["counter", "bytes"],
      ]);
    });
  },
});

Deno.test({
  name: "Prometheus tells several guests from each other by their label",
  ignore: !await hasProgram("prometheus"),
  async fn() {
    await using folder = await Folder.make();
    const tokenFile = folder.file("token");
    await Deno.writeTextFile(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
    await using rig = await GuestsRig.open(
      { db: { policy: { deny: ["10.1.2.3"] } }, web: {} },
      { control: "tcp" },
    );
    const guest = await attachTo(rig.server("db"));
    await guest.connect("10.1.2.3", 443).catch(() => {});
    const { endpoint } = rig.control;
    assert(endpoint.transport === "tcp");
    await withPrometheus(folder, tokenFile, String(endpoint.port), async ({ query }) => {
      const valuesOf = async (text: string) =>
        Object.fromEntries(
          (await query(text)).map(({ metric, value }) => [metric.guest, value[1]]),
        );
      const [attached, denials, answers, all] = await Promise.all([
        valuesOf(lastOf("virtio_gateway_guest_attached")),
        valuesOf(`sum by (guest) (${lastOf("virtio_gateway_denials_total")})`),
        valuesOf(lastOf("virtio_gateway_guest_answers")),
        query(`count(${lastOf("virtio_gateway_event_readers")})`),
      ]);
      assertEquals(attached, { db: "1", web: "0" });
      assertEquals(denials, { db: "1" });
      assertEquals(answers, { db: "1", web: "1" });
      assertEquals(all[0]?.value[1], "1");
    });
    await guest.close();
  },
});
