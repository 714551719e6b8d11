/** The dashboard in a real browser, of a real gateway with a guest inside the process. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Locator } from "playwright-core";
import { serveControl } from "../../lib/control/control_server.ts";
import { attachTo, TOKEN } from "../control/control_rig.ts";
import { GuestsRig } from "../control/guests_rig.ts";
import { addressOf, DashboardRig, hasBrowser, openBrowser, watchPage } from "./dashboard_rig.ts";

const GATEWAY = "100.96.0.1";
const WAIT_MS = 30_000;

/** Waits until something is so. */
async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + WAIT_MS;
  while (!await check()) {
    if (performance.now() > endMs) throw new Error(`not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function untilText(what: Locator, text: string | RegExp): Promise<void> {
  await until(`${text} in ${what}`, async () => {
    const is = await what.textContent() ?? "";
    return typeof text === "string" ? is.includes(text) : text.test(is);
  });
}

Deno.test({ name: "the dashboard in a browser", ignore: !hasBrowser }, async (t) => {
  const browser = await openBrowser();
  try {
    await t.step("a wrong token is refused, the right one opens the page", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page } = rig;
      await page.goto(rig.address);
      assertEquals(await page.evaluate("document.activeElement.id"), "token");
      assert(await page.locator("#board").isHidden());
      await page.keyboard.type("f".repeat(64));
      await page.keyboard.press("Enter");
      await untilText(page.locator("#token-error"), "the token is another one");
      await page.keyboard.type(TOKEN);
      await page.keyboard.press("Enter");
      await page.locator("#board").waitFor();
      await untilText(page.locator("#state"), "Waiting for a guest");
      await untilText(page.locator("#flows-empty"), "No guest is attached. Start a VMM");
      assertEquals(await page.evaluate("sessionStorage.length + location.hash"), "0");
      await page.getByRole("button", { name: "Lock" }).click();
      assert(await page.locator("#board").isHidden());
      rig.assertQuiet(/status of 401/);
    });

    await t.step("a token in the fragment leaves the address at once", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page } = rig;
      await page.goto(`${rig.address}#token=${TOKEN}`);
      await page.locator("#board").waitFor();
      assertEquals(page.url(), rig.address);
      rig.assertQuiet();
    });

    await t.step("a token that is kept lives as long as the tab", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page } = rig;
      await page.goto(rig.address);
      await page.getByLabel("Token", { exact: true }).fill(TOKEN);
      await page.getByLabel("Keep it until this tab closes").check();
      await page.getByRole("button", { name: "Unlock" }).click();
      await page.locator("#board").waitFor();
      await page.reload();
      await page.locator("#board").waitFor();
      rig.assertQuiet();
    });

    await t.step("flows are shown, filtered, sorted and ended", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page, host } = rig;
      const guest = await rig.attach();
      const web = await guest.connect(GATEWAY, host.webPort);
      const sink = await guest.connect(GATEWAY, host.sinkPort);
      await sink.write(new Uint8Array(200_000));
      await rig.unlock();
      await untilText(page.locator("#state"), "Guest attached");
      const rows = page.locator("#flows-table tbody tr");
      await until("both flows are there", async () => await rows.count() === 2);
      await untilText(rows.first(), `${GATEWAY}:${host.sinkPort}`);
      const total = page.locator("th[data-sort=total]");
      assertEquals(await total.getAttribute("aria-sort"), "descending");
      await total.getByRole("button").click();
      await untilText(rows.first(), `${GATEWAY}:${host.webPort}`);
      await page.getByLabel("Filter flows").fill(String(host.webPort));
      await until("one flow is left", async () => await rows.count() === 1);
      await untilText(page.locator("#flows-count"), "1 of 2");
      await page.getByLabel("Protocol").selectOption("udp");
      await untilText(page.locator("#flows-empty"), "No flow fits the filter");
      await page.getByLabel("Protocol").selectOption("");
      await rows.first().getByRole("button").click();
      const dialog = page.getByRole("dialog");
      await untilText(dialog, String(host.webPort));
      await dialog.getByRole("button", { name: "Keep" }).click();
      assert(!web.isClosed);
      await rows.first().getByRole("button").click();
      await dialog.getByRole("button", { name: "End flow" }).click();
      await until("the flow is gone", async () => await rows.count() === 0);
      await until("the guest sees the reset", () => web.isClosed);
      await until("plots are drawn", async () => await page.locator(".plot canvas").count() === 2);
      const label = await page.locator("#plot-bytes").getAttribute("aria-label");
      assertStringIncludes(label!, "Throughput of the last minutes");
      rig.assertQuiet();
    });

    await t.step(
      "hostile names of a guest are text, and an allow rule is copied as shown",
      async () => {
        await using rig = await DashboardRig.open(browser, { policy: { allow: ["good.example"] } });
        const { page } = rig;
        const guest = await rig.attach();
        await rig.unlock();
        await untilText(page.locator("#events-state"), "live");
        const names = [
          "<img src=x onerror=alert(1)>.example",
          "<script>alert(2)</script>.example",
          "\u202eevil\u2066.example",
          `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.example`,
          "plain.example",
        ];
        for (const name of names) await guest.resolve(name, "A");
        const list = page.locator("#refused-list > li");
        await until("all are refused", async () => await list.count() === names.length);
        await until("all are events", async () => {
          return await page.locator("#events-list > li").count() >= names.length;
        });
        assertEquals(await page.locator("main img, main script, main iframe").count(), 0);
        const text = await page.locator("main").textContent() ?? "";
        assertStringIncludes(text, "<img");
        // deno-lint-ignore no-control-regex
        assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(text));
        await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
        const row = list.filter({ hasText: "plain.example" });
        await row.getByRole("button", { name: "Copy allow rule" }).click();
        await untilText(page.locator("#said"), "Copied");
        const copied = await page.evaluate("navigator.clipboard.readText()");
        assertEquals(copied, await row.locator(".hint").textContent());
        assertEquals(copied, 'policy: { allow: ["plain.example"] }');
        await page.getByLabel("Would the guest reach").fill("plain.example:443");
        await page.getByRole("button", { name: "Explain" }).click();
        await untilText(page.locator("#explain-answer"), "no rule names plain.example");
        await untilText(page.locator("#policy-rules"), "good.example");
        rig.assertQuiet();
      },
    );

    await t.step("a port comes and goes at the gateway, by keyboard alone", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page, control } = rig;
      await rig.unlock();
      await page.locator("[name=hostPort]").focus();
      await page.keyboard.type("0");
      await page.keyboard.press("Tab");
      await page.keyboard.type("8080");
      await page.keyboard.press("Enter");
      await until("it is published", () => control.gateway.published.length > 0);
      const { hostPort } = control.gateway.published[0]!;
      const list = page.locator("#ports-list > li");
      await untilText(list.first(), `127.0.0.1:${hostPort} → guest’s port 8080`);
      const count = control.gateway.published.length;
      await page.getByRole("button", { name: `Remove 127.0.0.1:${hostPort}` }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      assertEquals(await page.evaluate("document.activeElement.value"), "no");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await until("it is gone", () => control.gateway.published.length === count - 1);
      await until("and from the page", async () => await list.count() === count - 1);
      await page.locator("[name=hostPort]").fill(new URL(rig.address).port);
      await page.locator("[name=guestPort]").fill("80");
      await page.getByRole("button", { name: "Publish" }).click();
      await untilText(page.locator("#ports-error"), "Choose another port of the host");
      rig.assertQuiet(/status of 409/);
    });

    await t.step("names are shown and answers flushed", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page } = rig;
      const guest = await rig.attach();
      await guest.resolve("service.demo.test", "A");
      await rig.unlock();
      await untilText(page.locator("#dns-names"), "gateway.internal");
      await untilText(page.locator("#dns-figures"), "From upstreams1");
      await page.getByRole("button", { name: "Flush answers" }).click();
      await untilText(page.locator("#said"), "Kept answers are forgotten");
      await guest.resolve("service.demo.test", "A");
      await untilText(page.locator("#dns-figures"), "From upstreams2");
      rig.assertQuiet();
    });

    await t.step("dark where the system is dark, until the button says otherwise", async () => {
      await using rig = await DashboardRig.open(browser, { colorScheme: "dark" });
      const { page } = rig;
      const ground = "getComputedStyle(document.body).backgroundColor";
      await rig.unlock();
      assertEquals(await page.evaluate(ground), "rgb(18, 21, 26)");
      await page.getByRole("button", { name: "Light mode" }).click();
      assertEquals(await page.evaluate(ground), "rgb(245, 246, 248)");
      await page.reload();
      assertEquals(await page.evaluate(ground), "rgb(245, 246, 248)");
      rig.assertQuiet();
    });

    await t.step("no part of a narrow page is out of reach", async () => {
      await using rig = await DashboardRig.open(browser, { viewport: { width: 360, height: 700 } });
      const guest = await rig.attach();
      await guest.connect(GATEWAY, rig.host.webPort);
      await rig.unlock();
      const end = rig.page.locator("#flows-table tbody button").first();
      await end.waitFor();
      assert(await rig.page.evaluate("document.documentElement.scrollWidth <= innerWidth"));
      const box = (await end.boundingBox())!;
      assert(box.x + box.width <= 360);
      rig.assertQuiet();
    });

    await t.step("a lost connection is said, and found again", async () => {
      // Meanwhile another test may take any port of the usual address.
      await using rig = await DashboardRig.open(browser, { hostname: "127.0.0.76" });
      const { page, control: { control, gateway } } = rig;
      await rig.unlock();
      await untilText(page.locator("#events-state"), "live");
      await control.close();
      await untilText(page.locator("#state"), "Connection lost");
      await untilText(page.locator("#lost"), "Figures below are those of");
      await untilText(page.locator("#events-state"), "waiting for the gateway");
      await page.getByRole("button", { name: "Try again" }).waitFor();
      const again = { version: "1.2.3", token: TOKEN };
      await using _control = await serveControl(gateway, control.endpoint, again);
      // Not as a person does: the page tries by itself too, and once it has found it the button is gone.
      await page.locator("#retry").dispatchEvent("click");
      await untilText(page.locator("#state"), "Waiting for a guest");
      await until("the notice is gone", () => page.locator("#lost").isHidden());
      await untilText(page.locator("#events-state"), "live");
      await rig.attach();
      await untilText(page.locator("#events-list"), "a guest has attached");
      await untilText(page.locator("#state"), "Guest attached");
      rig.assertQuiet(/ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE/);
    });

    await t.step("one of several guests is chosen by keyboard, and is in the address", async () => {
      const policy = { deny: ["10.1.2.3"] };
      await using rig = await GuestsRig.open({ web: {}, db: { policy }, ci: {} }, {
        control: "tcp",
      });
      const guest = await attachTo(rig.server("db"));
      rig.server("db").publish({ hostPort: 0, guestPort: 22, bind: ["127.0.0.1"] });
      const address = addressOf(rig);
      const complaints: string[] = [];
      const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
      const page = await context.newPage();
      watchPage(page, address, complaints);
      await page.goto(address);
      const choice = page.getByLabel("Guest", { exact: true });
      assert(await choice.isHidden());
      await page.getByLabel("Token", { exact: true }).fill(TOKEN);
      await page.getByRole("button", { name: "Unlock" }).click();
      await untilText(page.locator("#state"), "Waiting for a guest");
      assertEquals(await choice.inputValue(), "web");
      assertEquals(await choice.locator("option").allTextContents(), ["web", "db", "ci"]);
      await untilText(page.locator("#events-state"), "live");
      await guest.connect("10.1.2.3", 443).catch(() => {});
      // Events are those of all guests; what else is shown is of the one.
      await untilText(page.locator("#events-list"), "db");
      assertEquals(await page.locator("#refused-list > li").count(), 0);
      await choice.focus();
      await page.keyboard.press("ArrowDown");
      await untilText(page.locator("#state"), "Guest attached");
      await untilText(page.locator("#refused-list"), "10.1.2.3");
      await untilText(page.locator("#ports-list"), "guest’s port 22");
      assertEquals([page.url(), await page.title()], [
        `${address}?guest=db`,
        "db · virtio-gateway",
      ]);
      await page.getByRole("button", { name: /^Remove/ }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Remove port" }).click();
      await until("it is gone", () => rig.server("db").published.length === 0);
      await page.setViewportSize({ width: 360, height: 700 });
      await until("the plots are as narrow as the page", () => {
        return page.evaluate<boolean>("document.documentElement.scrollWidth <= innerWidth");
      });
      assert(await choice.isVisible());
      await page.goto(`${address}?guest=db#token=${TOKEN}`);
      // The page is there already, and hears of its new address a moment later.
      await until("the token leaves the address", () => page.url() === `${address}?guest=db`);
      await untilText(page.locator("#state"), "Guest attached");
      await page.goto(`${address}?guest=nobody#token=${TOKEN}`);
      await untilText(page.locator("#state"), "Waiting for a guest");
      assertEquals(await choice.inputValue(), "web");
      await page.getByRole("button", { name: "Lock" }).click();
      assert(await choice.isHidden());
      assertEquals(await page.locator("#guest option").count(), 0);
      assertEquals(complaints, []);
      await context.close();
      await guest.close();
    });

    await t.step("where one guest is served there is nothing to choose", async () => {
      await using rig = await DashboardRig.open(browser);
      await rig.unlock();
      await untilText(rig.page.locator("#state"), "Waiting for a guest");
      assert(await rig.page.locator("#guest-choice").isHidden());
      await untilText(rig.page.locator("#events-state"), "live");
      await rig.attach();
      await untilText(rig.page.locator("#events-list"), "a guest has attached");
      assertEquals(await rig.page.locator(".tag.guest").count(), 0);
      rig.assertQuiet();
    });

    await t.step("a page that is locked reads nothing", async () => {
      await using rig = await DashboardRig.open(browser);
      const { page, control } = rig;
      await rig.unlock();
      await until(
        "the page reads events",
        async () => (await control.client.status()).readers === 1,
      );
      await page.getByRole("button", { name: "Lock" }).click();
      await until("it does no longer", async () => (await control.client.status()).readers === 0);
      rig.assertQuiet();
    });
  } finally {
    await browser.close();
  }
});
