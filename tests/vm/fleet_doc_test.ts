/** docs/fleet.md: the commands of its first fleet are run as they stand there, with real VMs. */
import { assertEquals, assertMatch } from "@std/assert";
import { advertiseFault } from "../../lib/config/fleet_readers.ts";
import { formatIp, parseIp } from "../../lib/wire/address.ts";
import { Folder } from "../cli/cli_process.ts";
import { BackgroundProgram, mustRun, type Outcome, runProgram } from "../guest/program.ts";
import { Console } from "./machine.ts";
import { guest, vmTest } from "./prerequisites.ts";
import { freePort } from "../support/free_port.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const TEXT = Deno.readTextFileSync(`${ROOT}docs/fleet.md`);
const PARTS = ["cli.ts", "mod.ts", "lib", "offline", "deno.json", "deno.lock"];
const FILES = ["fleet.yaml", "shop.yaml", "builder.yaml", "ci.yaml"];

/** The blocks of a kind, in their order: a language, and what stands behind it. */
function blocks(kind: string): string[] {
  return [...TEXT.matchAll(/^```(.*)\n([^]*?)^```$/gm)].filter(([, head]) => head === kind)
    .map(([, , block]) => block!);
}

/** The lines of a block; one that ends in a backslash goes on. */
function lines(block: string): string[] {
  return block.replaceAll("\\\n", "").trim().split("\n");
}

/** An address of this machine that others would reach, of IPv4 where there is one. */
async function ownAddress(): Promise<string> {
  const addresses = (await mustRun(["hostname", "-I"])).split(/\s+/).flatMap((text) => {
    const octets = parseIp(text);
    return octets === null || advertiseFault(octets) !== null ? [] : [octets];
  });
  const [address] = addresses.toSorted((a, b) => a.length - b.length);
  if (address === undefined) throw new Error("this machine has no address that others reach");
  return formatIp(address);
}

/** A clone as a reader has it, with an address and ports that this machine can spare. */
class Clone {
  #setting: string[] = [];

  private constructor(
    readonly folder: Folder,
    readonly address: string,
    readonly port: number,
    readonly enginePort: number,
  ) {}

  static async make(folder: Folder): Promise<Clone> {
    await mustRun(["cp", "-r", ...PARTS.map((name) => `${ROOT}${name}`), folder.path]);
    await Deno.symlink(guest, folder.file("guest"));
    const clone = new Clone(folder, await ownAddress(), freePort(), freePort());
    for (const name of FILES) {
      await Deno.writeTextFile(folder.file(name), clone.here(blocks(`yaml ${name}`)[0]!));
    }
    return clone;
  }

  /** A text of the document, for this machine. */
  here(text: string): string {
    const address = this.address.includes(":") ? `[${this.address}]` : this.address;
    return text.replaceAll("10.0.0.10", address).replaceAll("8080", String(this.port))
      .replaceAll("4222", String(this.enginePort)).replaceAll("deno ", `${Deno.execPath()} `);
  }

  /** The words that run lines in the clone. */
  words(...all: string[]): string[] {
    const [last = "", ...before] = all.map((line) => this.here(line)).reverse();
    const script = [...before.reverse(), last];
    return ["bash", "-O", "expand_aliases", "-c", `cd ${this.folder.path}\n${script.join("\n")}`];
  }

  /** A program in a terminal of its own. */
  start(kind: string): Terminal {
    // Without the port the server takes its own, which another one may have.
    const more = kind === "engine" ? ` -p ${this.enginePort}` : "";
    return new Terminal(this.words(`exec ${lines(blocks(`sh ${kind}`)[0]!).join(" ")}${more}`));
  }

  /** Runs a line; what sets up the shell counts for all that follow. */
  async run(line: string): Promise<Outcome | null> {
    if (/^(?:export|alias) /.test(line)) {
      this.#setting.push(line);
      return null;
    }
    return await runProgram(this.words(...this.#setting, line), 180_000);
  }
}

/** A program in the background that at a test's failure takes its own programs with it. */
class Terminal extends BackgroundProgram {
  override async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGTERM", 60_000);
  }
}

/** What lines say, and how they end. */
const SAYS: readonly [line: RegExp, code: number, text: RegExp][] = [
  [/^fleet init$/, 0, /made the bucket virtio-gateway-default-policy/],
  [/^fleet policy put fleet/, 0, /fleet is new: [^]*written as revision 1/],
  [/^fleet status$/, 0, /^builder [^]*^shop [^]*web\.shop\.fleet\.internal /m],
  [/^fleet policy put group\.ci/, 0, /^in force at 1 of 1 gateway$/m],
  [/^fleet policy explain /, 5, /^DENY [^]*group\.ci:1:/m],
  [
    /^fleet denials$/,
    0,
    /x {2}builder {2}DENY {2}dns web\.shop\.[^]*\(group\.ci\.deny\[0\]\): a rule denies the name$/m,
  ],
  [/^fleet policy history$/, 0, /group\.ci/],
];

async function runOnHost(clone: Clone, block: string): Promise<void> {
  for (const line of lines(block)) {
    let outcome = await clone.run(line);
    if (outcome === null) continue;
    const says = SAYS.filter(([pattern]) => pattern.test(line));
    assertEquals(says.length, 1, line);
    const [[, wanted, text]] = says as [typeof SAYS[number]];
    // Gateways are waited for only so long, and refusals told when those that are alike are gathered.
    const untilMs = performance.now() + 180_000;
    while (!text.test(outcome.stdout) && performance.now() < untilMs) {
      outcome = (await clone.run(line))!;
    }
    const { code, stdout, stderr } = outcome;
    assertEquals(code, wanted, `${line}\n${stdout}\n${stderr}`);
    assertMatch(stdout, text, line);
  }
}

vmTest("docs/fleet.md, each command of its first fleet", async () => {
  await using folder = await Folder.make();
  const clone = await Clone.make(folder);
  const [setup, status, change, look, ...moreHost] = blocks("sh");
  const [reach, refused, ...moreGuest] = blocks("sh guest");
  assertEquals([moreHost, moreGuest], [[], []], "all blocks have their turn");

  await using engine = clone.start("engine");
  await engine.line(/Server is ready/, 0, 180_000);
  await runOnHost(clone, setup!);
  await using shop = clone.start("shop");
  await using builder = clone.start("builder");
  await shop.line(/the fleet's policy is in force/, 0, 180_000);
  await builder.line(/the fleet's policy is in force/, 0, 180_000);
  await using shopVm = clone.start("shop-vm");
  await using builderVm = clone.start("builder-vm");
  await new Console(shopVm).ready();
  const console = new Console(builderVm);
  await console.ready();
  await runOnHost(clone, status!);
  for (const line of lines(reach!)) {
    const said = await console.must(clone.here(line));
    assertMatch(
      said,
      line.startsWith("wget") ? /^hello from the guest$/m : new RegExp(clone.address),
    );
  }
  await runOnHost(clone, change!);
  assertEquals((await console.run(clone.here(lines(refused!)[0]!))).code, 1);
  await builder.line(/denied /);
  await runOnHost(clone, look!);

  for (const vm of [shopVm, builderVm]) await vm.end("SIGTERM", 60_000);
  for (const gateway of [shop, builder]) {
    assertEquals((await gateway.end("SIGINT", 60_000)).code, 0, gateway.tail());
  }
});
