import { assertEquals } from "@std/assert";
import { parseVmmEndpoint, type VmmEndpoint } from "../../lib/config/endpoint.ts";
import {
  permissionFlags,
  permissionLine,
  type PermissionNeeds,
  shellQuote,
} from "../../lib/config/permission_line.ts";
import { type GatewaySettings, resolveConfig } from "../../lib/config/resolve.ts";

const { settings } = resolveConfig({});

/** What a guest at an endpoint needs, with the control interface of its settings. */
function needs(
  endpoint: VmmEndpoint,
  { network, control }: GatewaySettings = settings,
): PermissionNeeds {
  return { guests: [{ endpoint, network }], control };
}

Deno.test("a unix socket is read and written, the host's resolvers are read", () => {
  const endpoint = { transport: "unix", path: "/run/vm1.sock" } as const;
  assertEquals(permissionFlags(needs(endpoint, settings)), [
    "--allow-net",
    "--allow-read=/etc/resolv.conf,/run/vm1.sock",
    "--allow-write=/run/vm1.sock",
  ]);
});

Deno.test("TCP with its own resolvers needs the network only", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const own = resolveConfig({ flags: { dns: ["9.9.9.9"] } }).settings;
  assertEquals(permissionFlags(needs(endpoint, own)), ["--allow-net"]);
  const zone = { dns: ["9.9.9.9"], "dns-zone": ["corp.example=system", "lab.internal=local"] };
  const { settings: zoned } = resolveConfig({ flags: zone });
  const flags = permissionFlags(needs(endpoint, zoned));
  assertEquals(flags, ["--allow-net", "--allow-read=/etc/resolv.conf"]);
});

Deno.test("a published unix socket is read and written, a published port needs the network only", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const publish = ["8080:80", "5353:53/udp", "unix:/run/a,b.sock:80"];
  const { settings } = resolveConfig({ flags: { dns: ["9.9.9.9"], publish } });
  assertEquals(permissionFlags(needs(endpoint, settings)), [
    "--allow-net",
    "--allow-read=/run/a,,b.sock",
    "--allow-write=/run/a,,b.sock",
  ]);
});

Deno.test("the configuration's own file and variables are named", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const flags = permissionFlags({
    ...needs(endpoint),
    configFile: "vm,1.yaml",
    environment: ["VIRTIO_GATEWAY_MTU"],
  });
  assertEquals(flags, [
    "--allow-net",
    "--allow-read=vm,,1.yaml,/etc/resolv.conf",
    "--allow-env=VIRTIO_GATEWAY_MTU",
  ]);
});

Deno.test("the control interface's socket and the file of its token are named", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const flagsOf = (flags: Record<string, string>) => {
    const { settings } = resolveConfig({ flags: { dns: ["9.9.9.9"], ...flags } });
    return permissionFlags(needs(endpoint, settings));
  };
  assertEquals(flagsOf({ control: "unix:/run/c.sock" }), [
    "--allow-net",
    "--allow-read=/run/c.sock",
    "--allow-write=/run/c.sock",
  ]);
  assertEquals(flagsOf({ control: "tcp:[::1]:9000", "control-token": "/etc/t" }), [
    "--allow-net",
    "--allow-read=/etc/t",
  ]);
});

Deno.test("several guests need what each of them does, and a worker its modules", () => {
  const own = resolveConfig({ flags: { dns: ["9.9.9.9"], capture: "a.pcapng" } }).settings;
  const flags = permissionFlags({
    guests: [
      { endpoint: parseVmmEndpoint("unix:/run/a.sock"), network: own.network },
      { endpoint: parseVmmEndpoint("unixgram:/run/b.sock"), network: settings.network },
    ],
    control: { endpoint: { transport: "unix", path: "/run/c.sock" } },
    configFile: "vms.yaml",
    modules: "lib",
  });
  assertEquals(flags, [
    "--unstable-net",
    "--allow-net",
    "--allow-read=lib,vms.yaml,/etc/resolv.conf,/run/a.sock,/run/b.sock,/run/b.sock.wake," +
    "/run/c.sock,a.pcapng",
    "--allow-write=/run/a.sock,/run/b.sock,/run/b.sock.wake,/run/c.sock,a.pcapng,a.pcapng.1",
  ]);
});

Deno.test("a VM socket needs the flag that Deno has for it, and no file", () => {
  const flags = permissionFlags({
    guests: [{ endpoint: parseVmmEndpoint("vsock:any:1024"), network: { dns: { upstreams: [] } } }],
    control: null,
  });
  assertEquals(flags, ["--unstable-vsock", "--allow-net"]);
});

Deno.test("the line is one that a shell reads back", () => {
  assertEquals(
    permissionLine(["--allow-net"], "cli.ts", ["run", "-p", "[::1]:80:80", "--config", "my file"]),
    "deno run --allow-net cli.ts run -p '[::1]:80:80' --config 'my file'",
  );
  assertEquals(shellQuote("it's"), `'it'\\''s'`);
  assertEquals(shellQuote(""), "''");
});
