import { assertEquals, assertThrows } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import {
  isPermissionError,
  mayUseAddress,
  mayUseAnyAddress,
  missingFlag,
  readEnvironment,
  requireEndpoint,
  requirePublished,
} from "../../lib/host/permissions.ts";

const unix = { transport: "unix", path: "/run/a,b.sock" } as const;
const tcp = { transport: "tcp", hostname: "::1", port: 7654 } as const;

Deno.test({
  name: "with nothing granted, the flags that lack are named",
  permissions: "none",
  fn() {
    assertEquals(mayUseAnyAddress(), false);
    assertEquals(missingFlag(tcp), "--allow-net=[::1]:7654");
    assertEquals(
      missingFlag(unix),
      "--allow-net --allow-read=/run/a,,b.sock --allow-write=/run/a,,b.sock",
    );
    assertEquals(readEnvironment("NO_COLOR"), undefined);
  },
});

Deno.test({
  name: "only what lacks is named",
  permissions: { net: true, read: true },
  fn() {
    assertEquals(missingFlag(tcp), null);
    assertEquals(missingFlag(unix), "--allow-write=/run/a,,b.sock");
    const error = assertThrows(() => requireEndpoint(unix, "listen on"), GatewayError);
    assertEquals(
      error.message,
      "cannot listen on unix:/run/a,b.sock: Deno has no permission for it",
    );
    assertEquals((error as GatewayError).code, "permission");
    assertEquals((error as GatewayError).hint, "Add --allow-write=/run/a,,b.sock");
  },
});

Deno.test({
  name: "single addresses may be granted",
  permissions: { net: ["127.0.0.1", "[::1]:7654"] },
  fn() {
    assertEquals(mayUseAnyAddress(), false);
    assertEquals(mayUseAddress("127.0.0.1", 80), true);
    assertEquals(mayUseAddress("10.0.0.1", 80), false);
    assertEquals(missingFlag(tcp), null);
  },
});

Deno.test({
  name: "a published port needs each address that it binds",
  permissions: { net: ["127.0.0.1"] },
  fn() {
    requirePublished([{ hostPort: 8080, guestPort: 80, bind: ["127.0.0.1"] }]);
    const error = assertThrows(
      () => requirePublished([{ hostPort: 8080, guestPort: 80 }]),
      GatewayError,
    ) as GatewayError;
    assertEquals(error.message, "cannot publish [::1]:8080: Deno has no permission for it");
    assertEquals(error.hint, "Add --allow-net=[::1]:8080");
  },
});

Deno.test("both errors of a permission are known", () => {
  assertEquals(isPermissionError(new Deno.errors.NotCapable()), true);
  assertEquals(isPermissionError(new Deno.errors.PermissionDenied()), true);
  assertEquals(isPermissionError(new Error()), false);
});
