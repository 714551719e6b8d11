/** What announcements say about the fleet. */
import { assertEquals } from "@std/assert";
import {
  compareNames,
  concerns,
  nameConflicts,
  standings,
  wantedRevision,
} from "../../lib/fleet/roll_findings.ts";
import { announcedGuest, announcement } from "./announcing.ts";

Deno.test("gateways stand in force, behind, rejected or closed", () => {
  const rejected = { revision: 7, why: "guest vm: too many rules" };
  const all = [
    announcement("h10", { revision: 7, policy: "in force" }),
    announcement("h9", { revision: 8, policy: "in force" }),
    announcement("h8", { revision: 6, policy: "in force" }),
    announcement("h7", { revision: 6, policy: "rejected", rejected }),
    announcement("h6", { revision: null, policy: "closed" }),
    announcement("h5", { revision: 6, policy: "stale" }),
    // What was refused before is past.
    announcement("h4", { revision: 7, policy: "in force", rejected: { ...rejected, revision: 5 } }),
    announcement("h3", { revision: null, policy: "rejected", rejected }),
  ];
  assertEquals(
    standings(all, () => 7).map(({ gateway, standing, why }) => [gateway, standing, why]),
    [
      ["h3", "rejected", rejected.why],
      ["h4", "in force", null],
      ["h5", "behind", null],
      ["h6", "closed", null],
      ["h7", "rejected", rejected.why],
      ["h8", "behind", null],
      ["h9", "in force", null],
      ["h10", "in force", null],
    ],
  );
});

Deno.test("before the first document gateways are closed, and have refused nothing", () => {
  const rejected = { revision: 0, why: "the bucket never had a document" };
  const all = [announcement("h1", { policy: "closed", rejected })];
  assertEquals(standings(all, () => 0).map(({ standing, why }) => [standing, why]), [
    ["closed", null],
  ]);
});

Deno.test("a gateway is concerned by the documents of its guests alone", () => {
  const gateway = announcement("h1", {
    guests: [announcedGuest("web", { group: "ci" }), announcedGuest("db")],
  });
  const keys = ["fleet", "group.ci", "guest.web", "guest.db", "group.prod", "guest.ci"];
  assertEquals(keys.map((key) => concerns(key, gateway)), [true, true, true, true, false, false]);
  const revisions = new Map([["fleet", 2], ["guest.db", 5], ["guest.other", 9]]);
  assertEquals(wantedRevision(gateway, revisions), 5);
  assertEquals(wantedRevision(announcement("h2", { guests: [] }), revisions), 0);
});

Deno.test("names that several gateways announce are conflicts", () => {
  const guests = ["web", "db"].map((name) => announcedGuest(name));
  const all = [
    announcement("h2", { guests }),
    announcement("h1", { guests: [announcedGuest("web")] }),
    announcement("h10", { guests: [announcedGuest("web"), announcedGuest("cache")] }),
  ];
  assertEquals(nameConflicts(all), [{ guest: "web", gateways: ["h1", "h2", "h10"] }]);
});

Deno.test("names stand in the order of their figures, and no two are alike", () => {
  const names = ["h10", "h9", "a", "h1", "h01"];
  assertEquals(names.toSorted(compareNames), ["a", "h01", "h1", "h9", "h10"]);
});
