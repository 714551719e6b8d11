/**
 * A whole VM on each way in which QEMU joins a gateway, streams and datagrams: it boots, has its
 * addresses, names, bulk data and published port, and outlives a gateway that starts again, and its
 * transfers links that are cut.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Endpoint, VmmEndpoint } from "../../lib/config/endpoint.ts";
import { DEFAULT_GUEST_NETWORK } from "../../lib/config/options.ts";
import { Folder } from "../cli/cli_process.ts";
import { fakeResolver } from "../guest/fake_resolver.ts";
import { until } from "../guest/program.ts";
import { startGateway } from "./gateway.ts";
import { bulkBytes, bulkHost, md5 } from "./hosts.ts";
import { cutLink } from "./cut_link.ts";
import { type Console, VirtualMachine } from "./machine.ts";
import { reconnectTest, vmTest } from "./prerequisites.ts";
import { freePort } from "../support/free_port.ts";

const { gatewayIp, gatewayIp6 } = DEFAULT_GUEST_NETWORK;
const BULK_BYTES = 100_000_000;
const CUTS = 10;
const PAGE = "hello from the guest\n";

const unixEndpoint = (folder: Folder): Endpoint => {
  return { transport: "unix", path: folder.file("vm.sock") };
};
const tcpEndpoint = (): Endpoint => {
  return { transport: "tcp", hostname: "127.0.0.1", port: freePort() };
};

/** The guest's page by way of a published port. */
async function published(port: number, host = "127.0.0.1"): Promise<string> {
  const response = await fetch(`http://${host}:${port}/`);
  return await response.text();
}

/** Both ways in bulk: what came down goes up again. */
async function moves(console: Console, bytes: number): Promise<void> {
  const data = bulkBytes(bytes);
  await using host = bulkHost(data);
  const url = `http://${gatewayIp}:${host.port}/`;
  const sum = md5(data);
  await console.must(`wget -q -O /tmp/data ${url}`);
  assertStringIncludes(await console.must("md5sum /tmp/data"), sum);
  const sent = await console.must(`wget -q -O - --post-file=/tmp/data ${url}`);
  assertEquals(sent, `${bytes} ${sum}`);
}

const WAYS: readonly [name: string, endpoint: (folder: Folder) => Endpoint, isDatagram: boolean][] =
  [
    ["-netdev stream, unix", unixEndpoint, false],
    ["-netdev stream, TCP", tcpEndpoint, false],
    ["-netdev dgram, unix", unixEndpoint, true],
  ];

/** QEMU's argument for datagrams between a socket of its own and the gateway's. */
function datagramLink(own: string, gateway: string): string {
  return `dgram,id=net0,local.type=unix,local.path=${own},remote.type=unix,remote.path=${gateway}`;
}

for (const [name, endpointIn, isDatagram] of WAYS) {
  vmTest(`a whole network over ${name}`, async (t) => {
    await using folder = await Folder.make();
    await using resolver = await fakeResolver();
    const place = endpointIn(folder);
    const path = "path" in place ? place.path : "";
    const endpoint: VmmEndpoint = isDatagram ? { transport: "unixgram", path } : place;
    const port = freePort();
    const args = ["-p", `${port}:80`, "--dns", `127.0.0.1:${resolver.port}`];
    await using gateway = await startGateway(folder, endpoint, args);
    await using vm = await VirtualMachine.start({
      gateway: place,
      memoryMib: 512,
      ...(isDatagram ? { link: datagramLink(folder.file("qemu.sock"), path) } : {}),
    });
    const { console } = vm;
    await t.step("it has its lease, and an address by router advertisement", () => {
      assertMatch(vm.addresses, /: 100\.96\.0\.2\/30 fd53:4d00::[0-9a-f:]+\/64$/);
    });
    await t.step("names resolve", async () => {
      assertStringIncludes(await console.must("nslookup -type=a a.test"), "203.0.113.7");
      assertStringIncludes(await console.must("nslookup -type=aaaa aaaa.test"), "2001:db8::7");
    });
    await t.step("the gateway answers pings", async () => {
      await console.must(`ping -c 1 -W 30 ${gatewayIp} && ping -c 1 -W 30 ${gatewayIp6}`);
    });
    await t.step(`${BULK_BYTES} bytes are whole each way`, () => moves(console, BULK_BYTES));
    await t.step("the published port leads to it", async () => {
      assertEquals(await published(port), PAGE);
      assertEquals(await published(port, "[::1]"), PAGE);
    });
    await gateway.stop();
  });
}

/** A gateway that is started again, and a VM that has its network back without being started again. */
async function outlivesGateway(
  machine: { listens?: boolean; netdev?: string; qemu?: string },
): Promise<void> {
  await using folder = await Folder.make();
  const endpoint = unixEndpoint(folder);
  const port = freePort();
  const start = () => {
    return startGateway(
      folder,
      endpoint,
      ["-p", `${port}:80`],
      machine.listens ? "connect" : "listen",
    );
  };
  await using first = await start();
  await using vm = await VirtualMachine.start({ gateway: endpoint, ...machine });
  const { console } = vm;
  const boot = await console.must("cat /proc/sys/kernel/random/boot_id");
  await moves(console, 1_000_000);
  await first.stop();
  assert((await console.run(`ping -c 1 -W 1 ${gatewayIp}`)).code !== 0, "nobody is there");

  await using second = await start();
  await second.log.line(/guest attached/, 0, 180_000);
  for (const address of [gatewayIp, gatewayIp6]) {
    await until(`${address} answers`, async () => {
      return (await console.run(`ping -c 1 -W 1 ${address}`)).code === 0;
    }, 180_000);
  }
  await moves(console, 10_000_000);
  assertEquals(await published(port), PAGE);
  assertEquals(await console.must("cat /proc/sys/kernel/random/boot_id"), boot);
  await second.stop();
}

vmTest("a gateway starts again, and a VM goes on with it where QEMU listens", () => {
  return outlivesGateway({ listens: true });
});

reconnectTest("a gateway starts again, and a VM goes on with it where QEMU reconnects", (qemu) => {
  return outlivesGateway({ qemu: qemu.program, netdev: qemu.option });
});

reconnectTest("transfers go on over ten cuts of a link that QEMU makes anew", async (qemu) => {
  await using folder = await Folder.make();
  const endpoint = unixEndpoint(folder);
  const between = { transport: "unix", path: folder.file("between.sock") } as const;
  await using gateway = await startGateway(folder, endpoint, ["--linger", "60"]);
  await using link = cutLink(between, endpoint, 1_000_000);
  await using vm = await VirtualMachine.start({
    gateway: between,
    qemu: qemu.program,
    netdev: qemu.option,
    memoryMib: 512,
  });
  link.cutsLeft = CUTS;
  await moves(vm.console, 10_000_000);
  assertEquals(link.cutsLeft, 0, "all cuts were made amid the transfers");
  const returns = () => gateway.log.lines.filter((line) => /guest returned/.test(line)).length;
  await until("each return is told", () => returns() >= CUTS); // the last cut may be just over
  assertEquals(returns(), CUTS);
  await gateway.stop();
});
