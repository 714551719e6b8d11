import { assertEquals } from "@std/assert";
import { permissionFlags, permissionLine, shellQuote } from "../../lib/config/permission_line.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";

const { settings } = resolveConfig({});

Deno.test("a unix socket is read and written, the host's resolvers are read", () => {
  const endpoint = { transport: "unix", path: "/run/vm1.sock" } as const;
  assertEquals(permissionFlags({ endpoint, settings }), [
    "--allow-net",
    "--allow-read=/etc/resolv.conf,/run/vm1.sock",
    "--allow-write=/run/vm1.sock",
  ]);
});

Deno.test("TCP with its own resolvers needs the network only", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const own = resolveConfig({ flags: { dns: ["9.9.9.9"] } }).settings;
  assertEquals(permissionFlags({ endpoint, settings: own }), ["--allow-net"]);
  const zone = { dns: ["9.9.9.9"], "dns-zone": ["corp.example=system", "lab.internal=local"] };
  const { settings: zoned } = resolveConfig({ flags: zone });
  const flags = permissionFlags({ endpoint, settings: zoned });
  assertEquals(flags, ["--allow-net", "--allow-read=/etc/resolv.conf"]);
});

Deno.test("the configuration's own file and variables are named", () => {
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
  const flags = permissionFlags({
    endpoint,
    settings,
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
    return permissionFlags({ endpoint, settings });
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

Deno.test("the line is one that a shell reads back", () => {
  assertEquals(
    permissionLine(["--allow-net"], "cli.ts", ["run", "-p", "[::1]:80:80", "--config", "my file"]),
    "deno run --allow-net cli.ts run -p '[::1]:80:80' --config 'my file'",
  );
  assertEquals(shellQuote("it's"), `'it'\\''s'`);
  assertEquals(shellQuote(""), "''");
});
