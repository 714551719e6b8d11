/**
 * The token of a control interface on TCP: 256 bits in a file that only its user can read.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { shellQuote } from "../config/permission_line.ts";
import { isGranted, permissionError } from "../host/permissions.ts";

const HEX = /^[0-9a-f]{64}$/i;
const BASE64_URL = /^[A-Za-z0-9_-]{43}=?$/;
const FILE_MAX_BYTES = 1_024;

/**
 * Reads a token.
 *
 * @param path Its file.
 * @returns The token as it is written, without the space around it.
 * @throws {GatewayError} Where there is none, or others can read it.
 */
export async function readToken(path: string): Promise<string> {
  if (!isGranted({ name: "read", path })) {
    throw permissionError(`read ${path}`, shellQuote(`--allow-read=${path.replaceAll(",", ",,")}`));
  }
  const file = shellQuote(path);
  let info: Deno.FileInfo;
  let text: string;
  try {
    info = await Deno.stat(path);
    text = info.isFile && info.size <= FILE_MAX_BYTES ? await Deno.readTextFile(path) : "";
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound;
    throw tokenError(path, isMissing ? "there is no such file" : (error as Error).message, {
      hint: isMissing ? `Make it with: (umask 077; openssl rand -hex 32 > ${file})` : "",
    });
  }
  if (info.mode !== null && (info.mode & 0o077) !== 0) {
    throw tokenError(path, "others than its user may read or write it", {
      hint: `Make it private with: chmod 600 ${file}, and another token, as that one was open`,
    });
  }
  const token = text.trim();
  if (HEX.test(token) || BASE64_URL.test(token)) return token;
  throw tokenError(path, "it is not 64 hexadecimal digits, nor 43 of base64url", {
    hint: `Make it with: (umask 077; openssl rand -hex 32 > ${file})`,
  });
}

function tokenError(path: string, why: string, options: { hint: string }): GatewayError {
  return new GatewayError("config", `cannot use the token in ${path}: ${why}`, options);
}
