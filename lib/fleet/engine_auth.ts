/**
 * Credentials as the engine's client takes them, tried once before there is a connection: what can't
 * be signed with would else be found at each attempt.
 *
 * @module
 */
import {
  type Authenticator,
  type ConnectionOptions,
  credsAuthenticator,
  nkeyAuthenticator,
} from "@nats-io/nats-core";
import { GatewayError } from "../config/errors.ts";
import type { Credentials } from "./credentials.ts";

/**
 * The options of a connection.
 *
 * @throws {GatewayError} Where nothing can be signed with the key.
 */
export function authOptions(auth: Credentials | null): ConnectionOptions {
  const secret = auth?.secret ?? null;
  const tls = auth?.tls ? { tls: { ...auth.tls } } : {};
  switch (secret?.kind) {
    case undefined:
      return tls;
    case "token":
      return { ...tls, token: secret.token };
    case "user":
      return { ...tls, user: secret.user, pass: secret.password };
    case "nkey":
      return { ...tls, authenticator: signing(auth!, nkeyAuthenticator(encode(secret.seed))) };
    case "creds":
      return { ...tls, authenticator: signing(auth!, credsAuthenticator(encode(secret.text))) };
  }
}

function signing({ path, secret }: Credentials, authenticator: Authenticator): Authenticator {
  try {
    authenticator("a nonce");
  } catch {
    // What the client says might repeat what it was given.
    const what = secret?.kind === "nkey"
      ? "its nkey is not the seed of a user"
      : "its seed or JWT " +
        "is not whole";
    throw new GatewayError("config", `cannot use the credentials in ${path}: ${what}`, {
      hint: "Take them anew from whoever made them",
    });
  }
  return authenticator;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
