/**
 * A gateway with a guest in the process, and a real browser that looks at its dashboard.
 *
 * Whatever the page says on the console, throws, or asks of another origin is kept, and is a failure
 * at the end unless the test takes it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { DemoHost } from "../../lib/cli/demo_host.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { hasProgram } from "../support/programs.ts";
import {
  type AskedControl,
  ControlRig,
  type ControlRigOptions,
  TOKEN,
} from "../control/control_rig.ts";

const EXECUTABLE = "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Whether there is a browser here. */
export const hasBrowser: boolean = await hasProgram("chromium");

/** How long anything on the page may take. */
const WAIT_MS = 30_000;

/** Opens a browser in a folder of its own. */
export async function openBrowser(): Promise<Browser> {
  return await chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS, timeout: 60_000 });
}

/** How a rig differs from the plain one. */
export interface DashboardRigOptions extends ControlRigOptions {
  readonly colorScheme?: "light" | "dark";
  readonly viewport?: { readonly width: number; readonly height: number };
}

/** A gateway, its guest's hosts, and a page of a browser. */
export class DashboardRig implements AsyncDisposable {
  /** What the page has said, thrown and asked that it should not. */
  readonly complaints: string[] = [];
  readonly control: ControlRig;
  readonly host: DemoHost;
  readonly page: Page;
  /** Where the page is. */
  readonly address: string;
  readonly #context: BrowserContext;
  readonly #guests: EmbeddedGuest[] = [];

  private constructor(control: ControlRig, host: DemoHost, context: BrowserContext, page: Page) {
    this.control = control;
    this.host = host;
    this.#context = context;
    this.page = page;
    this.address = addressOf(control);
    watchPage(page, this.address, this.complaints);
  }

  /** Opens a gateway and a page that is not yet anywhere. */
  static async open(browser: Browser, options: DashboardRigOptions = {}): Promise<DashboardRig> {
    const { colorScheme = "light", viewport = { width: 1_280, height: 900 }, ...rest } = options;
    const host = await DemoHost.start();
    const control = await ControlRig.open({
      control: "tcp",
      hostLoopback: true,
      dns: { upstreams: [`127.0.0.1:${host.resolverPort}`] },
      ...rest,
    });
    const context = await browser.newContext({ colorScheme, viewport });
    return new DashboardRig(control, host, context, await context.newPage());
  }

  /** Attaches a guest. */
  async attach(): Promise<EmbeddedGuest> {
    const guest = await this.control.attach();
    this.#guests.push(guest);
    return guest;
  }

  /** Goes to the page and unlocks it as a person does. */
  async unlock(): Promise<void> {
    await this.page.goto(this.address);
    await this.page.getByLabel("Token", { exact: true }).fill(TOKEN);
    await this.page.getByRole("button", { name: "Unlock" }).click();
    await this.page.locator("#board").waitFor();
  }

  /** Fails where the page has complained; those that the test expects are taken away. */
  assertQuiet(expected: RegExp = /^$/): void {
    assertEquals(this.complaints.filter((each) => !expected.test(each)), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
    for (const guest of this.#guests) await guest.close();
    await this.control[Symbol.asyncDispose]();
    await this.host[Symbol.asyncDispose]();
  }
}

/** Keeps what a page says, throws, or asks of another origin. */
export function watchPage(page: Page, address: string, complaints: string[]): void {
  page.setDefaultTimeout(WAIT_MS);
  page.on("console", (message) => {
    const isWrong = message.type() === "error" || message.type() === "warning";
    if (isWrong) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`thrown: ${error.message}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (origin !== new URL(address).origin) complaints.push(`request: ${request.url()}`);
  });
}

/** Where the page of a control interface is. */
export function addressOf({ control }: AskedControl): string {
  if (control.endpoint.transport !== "tcp") throw new Error("the rig's interface is on TCP");
  return `http://${control.endpoint.hostname}:${control.endpoint.port}/`;
}
