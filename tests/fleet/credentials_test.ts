/**
 * Each kind of credentials against a real server, right and wrong: let in, or told once why not, and
 * the secret in no message.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import type { GatewayLogger } from "../../lib/config/logger.ts";
import { type Credentials, readCredentials } from "../../lib/fleet/credentials.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { type Certificates, makeCertificates, makeCreds, makeNkey } from "../support/nats_auth.ts";
import { NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";

const ignore = !await hasProgram("nats-server") || !await hasProgram("openssl");
if (ignore) console.log("tests skipped: nats-server or openssl is not here");

/** A folder for files of credentials. */
class Folder implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();

  async write(name: string, text: string, mode = 0o600): Promise<string> {
    const path = `${this.path}/${name}`;
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, mode);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** What is logged above information. */
class Warnings implements GatewayLogger {
  readonly lines: string[] = [];
  debug(): void {}
  info(): void {}
  warn(message: string, fields?: Record<string, unknown>): void {
    this.lines.push(`${message} ${fields === undefined ? "" : JSON.stringify(fields)}`.trim());
  }
  error = this.warn;
}

interface Outcome {
  readonly state: string;
  readonly lines: readonly string[];
  readonly lastError: string | null;
}

/** Waits until a server has let a gateway in, or so many attempts have come to nothing. */
async function tried(server: string, auth: Credentials | null, attempts = 1): Promise<Outcome> {
  const logger = new Warnings();
  const { promise, resolve } = Promise.withResolvers<void>();
  await using engine = Engine.open({ servers: [server], name: "test", auth, logger });
  const end = engine.onState((state) => {
    if (state === "connected" || engine.failures >= attempts) resolve();
  });
  await promise;
  end();
  return { state: engine.state, lines: logger.lines, lastError: engine.lastError };
}

/** The message of what reading a file throws. */
async function readingFault(path: string): Promise<string> {
  const error = await readCredentials(path).catch((error: unknown) => error);
  assert(error instanceof GatewayError, String(error));
  return `${error.message} ${error.hint}`.trim();
}

Deno.test({
  name: "a token, a user and an nkey are let in; wrong ones are told once",
  ignore,
  async fn() {
    await using folder = new Folder();
    const right = makeNkey();
    const cases: [config: string, good: string, bad: string, told: RegExp, secrets: string[]][] = [
      [
        `authorization { token: "right-token" }`,
        "token: right-token",
        "token: wrong-token",
        /let this gateway in: the token of \S+ is not accepted \(Authorization Violation\)/i,
        ["right-token", "wrong-token"],
      ],
      [
        `authorization { users: [{ user: anna, password: "right-word" }] }`,
        "user: anna\npassword: right-word",
        "user: anna\npassword: wrong-word",
        /let this gateway in: user "anna" with the password of \S+ is not accepted/,
        ["right-word", "wrong-word"],
      ],
      [
        `authorization { users: [{ nkey: ${right.public} }] }`,
        `nkey: ${right.seed}`,
        `nkey: ${makeNkey().seed}`,
        /let this gateway in: the nkey of \S+ is not accepted/,
        [right.seed],
      ],
    ];
    for (const [config, good, bad, told, secrets] of cases) {
      await using server = await NatsServer.start({ config });
      const path = await folder.write("engine.yaml", good);
      const taken = await tried(server.url, await readCredentials(path));
      assertEquals([taken.state, taken.lines], ["connected", []]);
      const refused = await tried(
        server.url,
        await readCredentials(await folder.write("engine.yaml", bad)),
        config.includes("token") ? 2 : 1, // A second line would show.
      );
      const nothing = await tried(server.url, null);
      for (const { state, lines, lastError } of [refused, nothing]) {
        assertEquals([state, lines.length], ["refused", 1], lines.join("\n"));
        for (const secret of [...secrets, bad.replace(/^[^]*: /, "")]) {
          assert(!`${lines[0]}${lastError}`.includes(secret), lines[0]);
        }
      }
      assert(told.test(refused.lines[0]!), refused.lines[0]);
      assertStringIncludes(nothing.lines[0]!, "it asks for credentials");
      assertStringIncludes(nothing.lines[0]!, "--fleet-credentials");
    }
  },
});

Deno.test({
  name: "a .creds file is let in, alone or beside TLS' files; one of another operator is told once",
  ignore,
  async fn() {
    await using folder = new Folder();
    const { config, creds } = makeCreds();
    await using server = await NatsServer.start({ config, jetStream: false });
    const alone = await readCredentials(await folder.write("a.creds", creds));
    const named = await readCredentials(await folder.write("engine.yaml", "creds: a.creds"));
    assertEquals(named.files, [`${folder.path}/engine.yaml`, `${folder.path}/a.creds`]);
    for (const auth of [alone, named]) {
      const { state, lines } = await tried(server.url, auth);
      assertEquals([state, lines], ["connected", []]);
    }
    const strange = await readCredentials(await folder.write("b.creds", makeCreds().creds));
    const { state, lines } = await tried(server.url, strange);
    assertEquals([state, lines.length], ["refused", 1], lines.join("\n"));
    assertStringIncludes(lines[0]!, `the user of ${folder.path}/b.creds is not accepted`);
    const torn = creds.replace(/(SU[A-Z2-7]{20})[A-Z2-7]{10}/, "$1AAAAAAAAAA");
    const broken = await readCredentials(await folder.write("c.creds", torn));
    let message = "";
    try {
      Engine.open({ servers: [server.url], name: "test", auth: broken });
    } catch (error) {
      message = (error as Error).message;
    }
    assertEquals(
      message,
      `cannot use the credentials in ${folder.path}/c.creds: its seed or JWT is not whole`,
    );
  },
});

Deno.test({
  name: "TLS: a known authority, the system's, another one, another name, a client's certificate",
  ignore,
  async fn() {
    await using folder = new Folder();
    const made = await makeCertificates(folder.path);
    const tls = ({ cert, key }: Certificates["server"], more = "") => {
      return `tls { cert_file: "${cert}", key_file: "${key}", timeout: 60${more} }`;
    };
    const credentials = async (text: string) => {
      return await readCredentials(await folder.write("engine.yaml", text));
    };
    const trusting = await credentials(`tls: { ca: ca.pem }`);
    {
      await using server = await NatsServer.start({ config: tls(made.server) });
      const url = `tls://127.0.0.1:${server.port}`;
      for (const at of [url, server.url, `tls://localhost:${server.port}`]) {
        const { state, lines } = await tried(at, trusting);
        assertEquals([state, lines], ["connected", []], at);
      }
      const unknown = await tried(url, null);
      const other = await tried(url, await credentials(`tls: { ca: other.pem }`));
      for (const { state, lines } of [unknown, other]) {
        assertEquals([state, lines.length], ["refused", 1], lines.join("\n"));
        assertStringIncludes(lines[0]!, "its certificate is of no authority that is trusted here");
      }
    }
    {
      await using server = await NatsServer.start({ config: tls(made.stranger) });
      const { state, lines } = await tried(`tls://127.0.0.1:${server.port}`, trusting);
      assertEquals([state, lines.length], ["refused", 1], lines.join("\n"));
      assertStringIncludes(lines[0]!, "its certificate is for another name");
    }
    {
      await using server = await NatsServer.start();
      const { state, lines } = await tried(`tls://127.0.0.1:${server.port}`, trusting);
      assertEquals([state, lines.length], ["refused", 1], lines.join("\n"));
      assertStringIncludes(lines[0]!, "it speaks no TLS");
    }
    {
      const verify = `, ca_file: "${made.ca}", verify: true`;
      await using server = await NatsServer.start({ config: tls(made.server, verify) });
      const url = `tls://127.0.0.1:${server.port}`;
      const shown = await credentials("tls: { ca: ca.pem, cert: client.pem, key: client.key }");
      const { state, lines } = await tried(url, shown);
      assertEquals([state, lines], ["connected", []]);
      const silent = await tried(url, trusting);
      assertEquals([silent.state, silent.lines.length], ["refused", 1], silent.lines.join("\n"));
      assertStringIncludes(silent.lines[0]!, "it may ask for a certificate");
      const foreign = await credentials("tls: { ca: ca.pem, cert: client.pem, key: server.key }");
      const unfit = await tried(url, foreign);
      assertEquals([unfit.state, unfit.lines.length], ["refused", 1], unfit.lines.join("\n"));
      assertStringIncludes(unfit.lines[0]!, "belong together");
    }
  },
});

Deno.test({
  name: "a user that may not do something is connected, and told once what",
  ignore,
  async fn() {
    await using folder = new Folder();
    await using server = await NatsServer.start({
      config: "authorization { users: [{ user: a, password: b, permissions: " +
        `{ publish: ["allowed"], subscribe: [">"] } }] }`,
    });
    const auth = await readCredentials(await folder.write("engine.yaml", "user: a\npassword: b"));
    const logger = new Warnings();
    await using engine = Engine.open({ servers: [server.url], name: "test", auth, logger });
    const connection = await engine.whenConnected();
    for (let i = 0; i < 10; i++) connection.publish("other.subject");
    await connection.flush();
    await connection.flush();
    assertEquals(engine.state, "connected");
    assertEquals(logger.lines, ["the fleet's engine does not permit to publish other.subject"]);
  },
});

Deno.test("a file of credentials is private, whole, and says one thing", async () => {
  await using folder = new Folder();
  const open = await folder.write("open.yaml", "token: s3cret", 0o640);
  assertStringIncludes(await readingFault(open), "others than its user may read or write it");
  assertStringIncludes(await readingFault(open), "chmod 600");
  assertStringIncludes(await readingFault(`${folder.path}/none`), "there is no such file");
  assertStringIncludes(await readingFault(folder.path), "it is no file");
  const seed = makeNkey().seed;
  const cases: [text: string, told: RegExp][] = [
    [
      "s3cret",
      /is not a mapping of keys; write YAML with token, user and password, nkey, or creds/,
    ],
    ["", /is not a mapping/],
    ["token: *s3cret", /is no YAML/],
    ["token: 's3cret", /is no YAML/],
    ["tokn: s3cret", /:1:1 unknown key; known are token, user, password, nkey, creds, tls\n/],
    ["token: [s3cret]", /:1:1 token is not a text of one line$/],
    ["token: s3cret\nnkey: s3cret", /:2:1 token and nkey: write one of token, user and/],
    ["user: anna", /:1:1 user alone is not enough: write one of/],
    ["password: s3cret", /:1:1 password alone is not enough/],
    ["user: anna\npassword: s3cret\ntoken: s3cret", /write one of/],
    ["nkey: s3cret", /:1:1 nkey is not the seed of a user/],
    ["nkey: " + seed.replace("SU", "SA"), /:1:1 nkey is not the seed of a user/],
    ["token: s3cret\ntls: s3cret", /:2:1 tls is not a mapping of ca, cert, key$/],
    ["token: s3cret\ntls: { cert: a }", /:2:1 tls needs cert and key together$/],
    ["token: s3cret\ntls: { s3cret: a }", /:2:8 unknown key; known are ca, cert, key/],
    ["token: s3cret\ntls: {}", /:2:1 tls names none of ca, cert, key$/],
    ["tls: { ca: none.pem }", /none.pem: there is no such file/],
    ["tls: { ca: engine.yaml }", /it has no certificate in PEM/],
    ["creds: engine.yaml", /it is no .creds file/],
  ];
  for (const [text, told] of cases) {
    const path = await folder.write("engine.yaml", text);
    const message = await readingFault(path);
    assert(told.test(message), `${text}: ${message}`);
    assert(!message.includes("s3cret"), message);
  }
});
