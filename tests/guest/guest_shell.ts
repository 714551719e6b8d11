/**
 * A shell in the guest with the words that a policy is tried with, and how long each attempt took:
 * as the guest's own programs measure it, without the time that it takes to start them.
 *
 *     web ARGS...         curl, trusting the test's authority
 *     ask ARGS...         dig at the gateway
 *     hear HOST PORT      connects and prints the line that the server says first
 *     talk HOST PORT WORD connects, says a word and prints the line that the server answers
 *     datagram HOST PORT  sends one and waits for an answer
 *     hello ARGS...       openssl s_client, without a name unless one is given
 *
 * The gateway is the resolver of every program in it.
 *
 * @module
 */
import { type Guest, NETWORK } from "./harness.ts";

const { gatewayIp } = NETWORK;

const WORDS = `
web() { curl -sS -m 60 --cacert "$AUTHORITY" -w '\\ntook %{time_total} s' "$@" 2>&1; }
ask() { dig +time=30 +tries=1 @${gatewayIp} "$@"; }
timed() {
  local from=\${EPOCHREALTIME/[.,]/} code
  "$@" 2>&1; code=$?
  echo "took $(( \${EPOCHREALTIME/[.,]/} - from )) us"
  return $code
}
connected() { exec 3<>"$1" && read -r -t 30 line <&3 && echo "$line"; }
sent() { exec 3<>"$1" && printf x >&3 && read -r -N 1 -t 30 line <&3 && echo "answered $line"; }
talked() { exec 3<>"$1" && echo "$2" >&3 && read -r -t 30 line <&3 && echo "$line"; }
hear() { timed connected "/dev/tcp/$1/$2"; }
talk() { timed talked "/dev/tcp/$1/$2" "$3"; }
datagram() { timed sent "/dev/udp/$1/$2"; }
hello() { timed openssl s_client -CAfile "$AUTHORITY" "$@" </dev/null; }
`;

/** How a script ended. */
export interface Said {
  /** The exit code of its last command. */
  code: number;
  /** What it printed. */
  text: string;
  /** How long its last attempt took, by the guest's clock. */
  ms: number;
}

/** Runs scripts in a guest. */
export class GuestShell {
  readonly #guest: Guest;
  readonly #authority: string;

  /** `authority` is the file with the certificate that the guest trusts. */
  constructor(guest: Guest, authority: string) {
    this.#guest = guest;
    this.#authority = authority;
  }

  /** Runs a script to its end, whatever the exit code. */
  async run(script: string): Promise<Said> {
    const { directory } = this.#guest.gateway;
    const resolvConf = `${directory}/resolv.conf`;
    await Deno.writeTextFile(resolvConf, `nameserver ${gatewayIp}\n`);
    const whole = [
      `mount --bind ${resolvConf} /etc/resolv.conf || exit`,
      `AUTHORITY=${this.#authority}`,
      WORDS,
      script,
    ].join("\n");
    const { code, stdout, stderr } = await this.#guest.run("bash", "-c", whole);
    const text = stdout + stderr;
    return { code, text, ms: tookMs(text) };
  }

  /** Runs a script that has to print what is looked for, and returns all that it printed. */
  async must(script: string, says: RegExp): Promise<string> {
    const { code, text } = await this.run(script);
    if (says.test(text)) return text;
    throw new Error(`Nothing like ${says} from ${script}, which ended with ${code}:\n${text}`);
  }
}

function tookMs(text: string): number {
  const seconds = /^took ([0-9.]+) s$/m.exec(text)?.[1];
  if (seconds !== undefined) return Number(seconds) * 1000;
  const microseconds = /^took ([0-9]+) us$/m.exec(text)?.[1];
  if (microseconds !== undefined) return Number(microseconds) / 1000;
  return Number(/Query time: ([0-9]+) msec/.exec(text)?.[1] ?? NaN);
}
