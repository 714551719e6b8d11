/**
 * The world beyond a gateway, made for one test: the host that the gateway runs on and the internet
 * behind it, each a network namespace, so that servers have addresses of the real world and nothing
 * leaves the machine.
 *
 *     guest ── gateway in the host's namespace ── veth ── internet: every address, every server
 *
 * The host has a resolver at its loopback that tells what it was asked, and servers at its own
 * addresses that nobody may reach. Certificates come from an authority of the test's own.
 *
 * @module
 */
import type { RecordTable } from "./fake_resolver.ts";
import type { OutsideEvent } from "./outside_program.ts";
import { SETUP_MS } from "./harness.ts";
import { BackgroundProgram, mustRun, runProgram } from "./program.ts";

const PROGRAM = new URL("./outside_program.ts", import.meta.url).pathname;

/** The host's own addresses. */
export const HOST = Object.freeze({ ip: "11.0.0.2", ip6: "2600:11::2" });
/** The internet's side of the link to the host; its proxies serve there. */
export const UPLINK = Object.freeze({ ip: "11.0.0.1", ip6: "2600:11::1" });

/** What a world is made with. */
export interface OutsideSpec {
  /** The addresses that the internet has. */
  addresses: readonly string[];
  /** What the host's resolver knows. */
  records: RecordTable;
  /** The names in the certificate of every server. */
  certified: readonly string[];
}

function namespaces(host: string, internet: string, addresses: readonly string[]): string {
  const own = addresses.map((address) => {
    return `ip -n ${internet} addr add ${address}/${
      address.includes(":") ? "128 nodad" : 32
    } dev lo`;
  });
  return [
    "set -e",
    `ip netns add ${host}`,
    `ip netns add ${internet}`,
    `ip -n ${host} link add up0 type veth peer name up0 netns ${internet}`,
    ...[host, internet].flatMap((name) =>
      ["lo", "up0"].map((device) => {
        return `ip -n ${name} link set ${device} up`;
      })
    ),
    `ip -n ${host} addr add ${HOST.ip}/24 dev up0`,
    `ip -n ${host} addr add ${HOST.ip6}/64 dev up0 nodad`,
    `ip -n ${internet} addr add ${UPLINK.ip}/24 dev up0`,
    `ip -n ${internet} addr add ${UPLINK.ip6}/64 dev up0 nodad`,
    ...own,
    `ip -n ${host} route add default via ${UPLINK.ip}`,
    `ip -n ${host} route add default via ${UPLINK.ip6} dev up0`,
  ].join("\n");
}

/** An authority, and one certificate of it for all names. */
function certificates(names: readonly string[]): string {
  const key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -batch";
  const alternatives = names.map((name) => `DNS:${name}`).join(",");
  return [
    "set -e",
    `openssl req -x509 ${key} -subj "/CN=Test authority" -keyout ca.key -out ca.pem`,
    `openssl req -x509 ${key} -subj "/CN=Test server" -keyout web.key -out web.pem ` +
    `-CA ca.pem -CAkey ca.key -addext "subjectAltName=${alternatives}"`,
  ].join("\n");
}

/** A host and an internet that run. */
export class Outside implements AsyncDisposable {
  /** Where the authority's certificate is. */
  readonly authority: string;
  /** What a gateway's process is started with to run on the host. */
  readonly prefix: readonly string[];
  readonly #directory: string;
  readonly #names: readonly [host: string, internet: string];
  #host: BackgroundProgram | null = null;
  #internet: BackgroundProgram | null = null;
  #resolverPort = 0;
  #said = 0;

  private constructor(directory: string) {
    const unique = `${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    this.#directory = directory;
    this.#names = [`vghost-${unique}`, `vgnet-${unique}`];
    this.authority = `${directory}/ca.pem`;
    this.prefix = ["ip", "netns", "exec", this.#names[0]];
  }

  /** Makes both namespaces and starts what serves in them. */
  static async start(spec: OutsideSpec): Promise<Outside> {
    const outside = new Outside(await Deno.makeTempDir({ prefix: "vgoutside-" }));
    try {
      await outside.#start(spec);
    } catch (error) {
      await outside[Symbol.asyncDispose]();
      throw error;
    }
    return outside;
  }

  async #start({ addresses, records, certified }: OutsideSpec): Promise<void> {
    const directory = this.#directory;
    const [host, internet] = this.#names;
    await Deno.writeTextFile(`${directory}/records.json`, JSON.stringify(records));
    await mustRun(["sh", "-c", namespaces(host, internet, addresses)], SETUP_MS);
    await mustRun(["sh", "-c", `cd ${directory}\n${certificates(certified)}`], SETUP_MS);
    this.#host = this.#serve(host, "host", `${directory}/records.json`);
    const files = [`${directory}/web.pem`, `${directory}/web.key`];
    this.#internet = this.#serve(internet, "internet", ...files, ...addresses);
    const ready = /"event":"ready"/;
    const [line] = await Promise.all([
      this.#host.line(ready, 0, 60_000),
      this.#internet.line(ready, 0, 60_000),
    ]);
    this.#resolverPort = (JSON.parse(line) as { port: number }).port;
  }

  #serve(namespace: string, ...words: string[]): BackgroundProgram {
    // deno-fmt-ignore
    return new BackgroundProgram(["ip", "netns", "exec", namespace, Deno.execPath(), "run",
      "--quiet", "--no-prompt", "--allow-net", "--allow-read", "--allow-env", PROGRAM, ...words]);
  }

  /** The host's resolver, as `--dns` takes it. */
  get resolver(): string {
    return `127.0.0.1:${this.#resolverPort}`;
  }

  /** Runs a program in the internet that has to succeed. */
  fromInternet(...words: string[]): Promise<string> {
    return mustRun(["ip", "netns", "exec", this.#names[1], ...words]);
  }

  /** What happened so far, all that a guest has seen the end of included. */
  async events(): Promise<OutsideEvent[]> {
    const text = `${++this.#said}`;
    const all = await Promise.all([this.#host!, this.#internet!].map(async (program) => {
      await program.send(`${text}\n`);
      await program.line(new RegExp(`"event":"said","text":"${text}"`));
      return program.lines.map((line): OutsideEvent[] => {
        return line.startsWith("{") ? [JSON.parse(line)] : [];
      });
    }));
    return all.flat(2);
  }

  /** The places where something came in, as `tcp 192.0.2.1:443`. */
  async reached(): Promise<string[]> {
    return (await this.events()).flatMap((event) => {
      return event.event === "reached" ? [`${event.protocol} ${event.to}`] : [];
    });
  }

  /** The names that the host's resolver was asked for, in lower case. */
  async asked(): Promise<string[]> {
    return (await this.events()).flatMap((event) => {
      return event.event === "asked" ? [event.name.toLowerCase()] : [];
    });
  }

  /** Ends what serves and removes both namespaces. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host?.end("SIGKILL");
    await this.#internet?.end("SIGKILL");
    for (const name of this.#names) await runProgram(["ip", "netns", "del", name]);
    await Deno.remove(this.#directory, { recursive: true });
  }
}
