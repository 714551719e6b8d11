/**
 * Makes a guest that boots in seconds and has what a look at its network takes: Debian's kernel for
 * clouds and busybox, from their packages, which are unpacked and not installed.
 *
 *     deno run --allow-read --allow-write --allow-run=apt-cache,apt-get,dpkg-deb,xz \
 *       examples/tiny_guest/make.ts guest
 *
 * The folder, `guest` where none is named, then has `kernel` and `initrd`. No root; x86-64 and Debian, since `apt-get download`
 * fetches the packages and checks their signatures.
 *
 * @module
 */
import { cpioArchive, type CpioEntry } from "./cpio.ts";
import { loadOrder, moduleName, neededModules } from "./kernel_modules.ts";

/** The package that depends on the newest kernel for virtual machines. */
const KERNEL_PACKAGE = "linux-image-cloud-amd64";
/** Drivers of the network card, on PCI and on QEMU's microvm board. */
const MODULES = ["virtio_pci", "virtio_mmio", "virtio_net"];
const PAGE = "hello from the guest\n";
const [FOLDER, PROGRAM, FILE, CONSOLE] = [0o040755, 0o100755, 0o100644, 0o020600];

/** Runs a program that has to succeed, and gives its standard output. */
async function run(program: string, args: string[], cwd?: string): Promise<Uint8Array> {
  const options = { args, stdout: "piped", stderr: "piped", ...(cwd ? { cwd } : {}) } as const;
  const { code, stdout, stderr } = await new Deno.Command(program, options).output();
  if (code === 0) return stdout;
  const said = new TextDecoder().decode(stderr).trim();
  throw new Error(`${[program, ...args].join(" ")} ended with ${code}: ${said}`);
}

/** Downloads packages and unpacks them into a folder. */
async function unpack(packages: readonly string[], folder: string): Promise<void> {
  // apt's own user may not write here, and apt says so each time where it is started by root.
  await run("apt-get", ["-qq", "-o", "APT::Sandbox::User=root", "download", ...packages], folder);
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".deb")) await run("dpkg-deb", ["-x", name, "."], folder);
  }
}

/** The newest kernel's package, by the one that always depends on it. */
async function kernelPackage(): Promise<string> {
  const depends = new TextDecoder().decode(await run("apt-cache", ["depends", KERNEL_PACKAGE]));
  const [, name] = /Depends: (linux-image-\S+)/.exec(depends) ?? [];
  if (name === undefined) throw new Error(`${KERNEL_PACKAGE} is unknown here: apt-get update?`);
  return name;
}

/** All files below a folder. */
async function* filesBelow(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(folder)) {
    if (isDirectory) yield* filesBelow(`${folder}/${name}`);
    else if (isFile) yield `${folder}/${name}`;
  }
}

/** The one file below a folder whose path ends in a certain way. */
async function find(folder: string, ending: string): Promise<string> {
  for await (const path of filesBelow(folder)) if (path.endsWith(ending)) return path;
  throw new Error(`the packages have no ${ending}`);
}

/** Where the kernel's modules are, by their names. */
async function modulePaths(folder: string): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for await (const path of filesBelow(folder)) {
    const [, name] = /([^/]+)\.ko(?:\.xz)?$/.exec(path) ?? [];
    if (name !== undefined) paths.set(moduleName(name), path);
  }
  return paths;
}

/** The drivers, in the order in which they can be loaded. */
async function drivers(folder: string): Promise<Map<string, Uint8Array>> {
  const paths = await modulePaths(folder);
  const contents = new Map<string, Uint8Array>();
  const read = async (name: string): Promise<Uint8Array> => {
    const path = paths.get(name);
    if (path === undefined) throw new Error(`the kernel has no module ${name}`);
    return path.endsWith(".xz") ? await run("xz", ["-dc", path]) : await Deno.readFile(path);
  };
  const order = await loadOrder(MODULES, async (name) => {
    const content = await read(name);
    contents.set(name, content);
    return neededModules(content);
  });
  return new Map(order.map((name) => [name, contents.get(name)!]));
}

/** The guest's whole file system. */
async function initrd(busybox: Uint8Array, modules: Map<string, Uint8Array>) {
  const beside = (name: string) => Deno.readFile(new URL(name, import.meta.url));
  const text = (words: string) => new TextEncoder().encode(words);
  const folders = ["bin", "dev", "etc", "lib", "lib/modules", "proc", "root", "sys", "tmp", "www"];
  const entries: CpioEntry[] = [
    ...folders.map((path) => ({ path, mode: FOLDER })),
    { path: "dev/console", mode: CONSOLE, device: [5, 1] },
    { path: "bin/busybox", mode: PROGRAM, content: busybox },
    { path: "init", mode: PROGRAM, content: await beside("init.sh") },
    { path: "etc/lease.sh", mode: PROGRAM, content: await beside("lease.sh") },
    // Where the C library looks names up; without it a static program looks for libraries, and falls.
    { path: "etc/nsswitch.conf", mode: FILE, content: text("hosts: files dns\n") },
    { path: "etc/hosts", mode: FILE, content: text("127.0.0.1 localhost\n::1 localhost\n") },
    { path: "www/index.html", mode: FILE, content: text(PAGE) },
    { path: "lib/modules/order", mode: FILE, content: text([...modules.keys()].join("\n")) },
    ...[...modules].map(([name, content]) => ({
      path: `lib/modules/${name}.ko`,
      mode: FILE,
      content,
    })),
  ];
  return cpioArchive(entries);
}

/** Makes `kernel` and `initrd` in a folder. */
async function makeGuest(folder: string): Promise<void> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    throw new Error("this guest is made of Debian's packages for x86-64, on a Linux of that kind");
  }
  await Deno.mkdir(folder, { recursive: true });
  const unpacked = await Deno.makeTempDir({ dir: folder, prefix: "packages-" });
  try {
    const kernel = await kernelPackage();
    await unpack([kernel, "busybox-static"], unpacked);
    const version = kernel.replace("linux-image-", "");
    await Deno.copyFile(await find(unpacked, `/boot/vmlinuz-${version}`), `${folder}/kernel`);
    const busybox = await Deno.readFile(await find(unpacked, "/bin/busybox"));
    await Deno.writeFile(`${folder}/initrd`, await initrd(busybox, await drivers(unpacked)));
    console.log(`${folder}/kernel and ${folder}/initrd: Linux ${version}`);
  } finally {
    await Deno.remove(unpacked, { recursive: true });
  }
}

if (import.meta.main) {
  const [folder = "guest"] = Deno.args;
  try {
    await makeGuest(folder);
  } catch (error) {
    console.error(`Cannot make the guest: ${(error as Error).message}`);
    Deno.exit(1);
  }
}
