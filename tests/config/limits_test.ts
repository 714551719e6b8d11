import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import {
  checkLimits,
  DEFAULT_LIMITS,
  type Limits,
  resolveLimits,
} from "../../lib/config/limits.ts";

function problems(partial: Partial<Limits>): string[] {
  return checkLimits({ ...DEFAULT_LIMITS, ...partial }).map(({ key, text }) => `${key}: ${text}`);
}

Deno.test("the defaults fit together", () => {
  assertEquals(problems({}), []);
  assertEquals(resolveLimits(), { ...DEFAULT_LIMITS });
});

Deno.test("each limit is a whole number of at least 1", () => {
  for (const key of Object.keys(DEFAULT_LIMITS) as (keyof Limits)[]) {
    for (const value of [0, -1, 1.5, NaN, Infinity, 2 ** 40]) {
      const [problem] = problems({ [key]: value });
      assertEquals(problem?.startsWith(`limits.${key}: ${value} is not a whole number`), true, key);
    }
  }
});

Deno.test("a limit that breaks a relation is named with the other one", () => {
  assertEquals(problems({ tcpHalfOpen: 20_000 }), [
    "limits.tcpHalfOpen: 20000 is more than tcpFlows (16384): a half-open flow is a flow",
  ]);
  assertEquals(problems({ dnsTimeoutMs: 20_000 }), [
    "limits.dnsTimeoutMs: 20000 is more than udpDnsMs (10000): the flow must outlive its question",
  ]);
  assertEquals(problems({ tcpBufferMaxBytes: 8_192 }), [
    "limits.tcpBufferMaxBytes: 8192 is less than the 16384 of " +
    "the first bytes of a flow, where its name stands",
  ]);
  assertEquals(problems({ judgeMs: 30_001, inspectMs: 7_440_001 }), [
    "limits.inspectMs: 7440001 is more than tcpIdleMs (7440000): " +
    "a flow is looked at before it is idle",
    "limits.judgeMs: 30001 is more than tcpDialTimeoutMs (30000): a dial waits for its verdict",
  ]);
  assertEquals(problems({ inspectPending: 16_385 }), [
    "limits.inspectPending: 16385 is more than tcpFlows (16384): " +
    "a flow that is looked into is a flow",
  ]);
  assertEquals(problems({ dnsCacheBytes: 65_534 }), [
    "limits.dnsCacheBytes: 65534 is less than the 65535 of an answer",
  ]);
  assertEquals(problems({ fragmentBytes: 65_534 }), [
    "limits.fragmentBytes: 65534 is less than the 65535 of a datagram",
  ]);
});

Deno.test("buffers and flow tables fit a block of the pool", () => {
  assertEquals(problems({ tcpBufferMaxBytes: 8 * 1024 * 1024 }), []);
  assertEquals(problems({ tcpBufferMaxBytes: 8 * 1024 * 1024 + 1 }), [
    "limits.tcpBufferMaxBytes: 8388609 takes 8388609 bytes in one piece, at most 8388608 can be had",
  ]);
  assertEquals(problems({ udpFlows: 261_120, publishedUdpFlows: 1_024 }), []);
  assertEquals(problems({ udpFlows: 261_120, publishedUdpFlows: 1_025 }), [
    "limits.udpFlows: 261120 takes 8388640 bytes in one piece, at most 8388608 can be had",
  ]);
  assertEquals(problems({ tcpFlows: 1_000_000 }).length, 1);
});

Deno.test("a partial set is checked with the defaults under it", () => {
  assertThrows(
    () => resolveLimits({ tcpFlows: 100 }),
    ConfigError,
    "limits.tcpHalfOpen: 2048 is more than tcpFlows (100)",
  );
  assertEquals(
    resolveLimits({
      tcpFlows: 600,
      tcpHalfOpen: 600,
      inspectPending: 600,
    }).tcpDials,
    512,
  );
});
