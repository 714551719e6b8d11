/**
 * What servers and clients of an engine show each other in tests: certificates made by `openssl`, key
 * pairs, and a `.creds` file with the configuration of a server that takes it.
 *
 * @module
 */
import { nkeys } from "@nats-io/nats-core/internal";
import { mustRun } from "../guest/program.ts";

type KeyPair = ReturnType<typeof nkeys.createUser>;

/** Files of certificates, by what they are of. */
export interface Certificates {
  /** The authority. */
  readonly ca: string;
  /** Another one, which has signed nothing. */
  readonly otherCa: string;
  /** The server's, for 127.0.0.1 and localhost, and its key. */
  readonly server: { readonly cert: string; readonly key: string };
  /** A client's and its key. */
  readonly client: { readonly cert: string; readonly key: string };
  /** A server's whose name is another one. */
  readonly stranger: { readonly cert: string; readonly key: string };
}

/** Makes certificates in a folder. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const authority = async (name: string): Promise<string> => {
    const [cert, key] = [`${folder}/${name}.pem`, `${folder}/${name}.key`];
    await mustRun([
      ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
      ...["-nodes", "-days", "2", "-subj", `/CN=${name}`, "-keyout", key, "-out", cert],
    ]);
    return cert;
  };
  const signed = async (name: string, san: string): Promise<{ cert: string; key: string }> => {
    const [cert, key, request] = [`${folder}/${name}.pem`, `${folder}/${name}.key`, `${folder}/r`];
    await mustRun([
      ...["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
      ...["-subj", `/CN=${name}`, "-keyout", key, "-out", request],
    ]);
    const extensions = `${folder}/extensions`;
    await Deno.writeTextFile(extensions, `subjectAltName=${san}\nbasicConstraints=CA:FALSE\n`);
    await mustRun([
      ...["openssl", "x509", "-req", "-in", request, "-CA", `${folder}/ca.pem`],
      ...["-CAkey", `${folder}/ca.key`, "-CAcreateserial", "-days", "2"],
      ...["-extfile", extensions, "-out", cert],
    ]);
    await Deno.chmod(key, 0o600);
    return { cert, key };
  };
  return {
    ca: await authority("ca"),
    otherCa: await authority("other"),
    server: await signed("server", "IP:127.0.0.1,DNS:localhost"),
    client: await signed("client", "DNS:client"),
    stranger: await signed("stranger", "DNS:stranger.test"),
  };
}

/** A user's key pair: what the server knows, and what the client keeps. */
export function makeNkey(): { readonly public: string; readonly seed: string } {
  const pair = nkeys.createUser();
  return { public: pair.getPublicKey(), seed: text(pair.getSeed()) };
}

/** A user's `.creds` file, and the part of a server's configuration that takes it. */
export function makeCreds(): { readonly config: string; readonly creds: string } {
  const operator = nkeys.createOperator();
  const account = nkeys.createAccount();
  const user = nkeys.createUser();
  const limits = { subs: -1, data: -1, payload: -1 };
  const operatorJwt = jwt(operator, operator, "operator", {});
  const accountJwt = jwt(operator, account, "account", {
    limits: { ...limits, conn: -1, leaf: -1, imports: -1, exports: -1, wildcards: true },
  });
  const userJwt = jwt(account, user, "user", { ...limits, pub: {}, sub: {} });
  return {
    config: `operator: "${operatorJwt}"\nresolver: MEMORY\n` +
      `resolver_preload: { ${account.getPublicKey()}: "${accountJwt}" }`,
    creds: `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n\n` +
      `-----BEGIN USER NKEY SEED-----\n${text(user.getSeed())}\n------END USER NKEY SEED------\n`,
  };
}

/** A signed statement of an issuer about a subject, as NATS has them. */
function jwt(issuer: KeyPair, subject: KeyPair, type: string, nats: object): string {
  const claims = {
    jti: crypto.randomUUID(),
    iat: Math.floor(Date.now() / 1_000),
    iss: issuer.getPublicKey(),
    name: type,
    sub: subject.getPublicKey(),
    nats: { ...nats, type, version: 2 },
  };
  const head = base64Url(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" }));
  const body = `${head}.${base64Url(JSON.stringify(claims))}`;
  const signature = issuer.sign(new TextEncoder().encode(body));
  return `${body}.${base64Url(String.fromCharCode(...signature))}`;
}

function base64Url(binary: string): string {
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
