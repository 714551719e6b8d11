/**
 * One guest of a simulation: the gateway's network as the product makes it, an embedded guest, the
 * bad link between them, and the guest's programs with the hosts that they talk to.
 *
 * A link that is cut is made anew with a guest that has started again; programs that were under
 * way have ended, later ones wait until the guest has its addresses.
 *
 * @module
 */
import { guestPolicy } from "../support/policy.ts";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import type { StreamEnd } from "../../lib/host/frame_stream.ts";
import { Arena } from "../../lib/host/gateway_memory.ts";
import { GuestNetwork } from "../../lib/host/guest_network.ts";
import type { FrameMemory } from "../../lib/wire/memory.ts";
import { VNET_HEADER_BYTES } from "../../lib/wire/virtio_net.ts";
import type { Dice } from "../support/dice.ts";
import type { PoisonedPool } from "../support/poisoned_pool.ts";
import type { VirtualHost } from "../support/virtual_host.ts";
import {
  openSocket,
  type SocketOptions,
  tcpAddress,
  type VirtualPeer,
} from "../support/virtual_socket.ts";
import { runDatagrams } from "./datagrams.ts";
import { type EndContext, runGuestEnd, runHostEnd, sleep } from "./ends.ts";
import { FaultyWire } from "./faulty_wire.ts";
import { EndLedger, type Expectation, GuestLedger, judgeStream, StreamLedger } from "./ledger.ts";
import type { NetworkPlan, StreamPlan } from "./plan.ts";
import { type AskingProgram, runPing, runQuestion } from "./questions.ts";
import { serveDns } from "./resolvers.ts";
import type { Trace } from "./trace.ts";

/** What all networks of a simulation share. */
export interface World {
  readonly host: VirtualHost;
  readonly pool: PoisonedPool;
  readonly trace: Trace;
  /** Hears what is wrong. */
  readonly fault: (who: string, text: string) => void;
}

/** Streams by what became of them. */
export interface StreamTally {
  streams: number;
  /** Both ends came in order. */
  whole: number;
  /** Their link was cut. */
  cut: number;
  /** Links that were lost and came back. */
  returns: number;
  /** Bytes that an end took and compared. */
  bytes: number;
}

const CONNECT_MS = 40_000;
const RESTART_MS = 500;
const WORST_MOMENT_MS = 3_000;
/** The gateway gives hosts 800 ms to take what a guest left behind. */
const DELIVERS_MS = 600;
/** How long it has when it ends in order itself. */
const GRACE_MS = 800;

/** One guest and everything of it. */
export class NetworkRun {
  readonly plan: NetworkPlan;
  readonly #world: World;
  readonly #dice: Dice;
  readonly #memory: FrameMemory;
  readonly #startMs: number;
  readonly #streams: StreamLedger[];
  #network: GuestNetwork | null = null;
  #guest: EmbeddedGuest | null = null;
  #wire: FaultyWire | null = null;
  #ready = Promise.withResolvers<EmbeddedGuest>();
  #ended: Promise<StreamEnd> | null = null;
  #running = 0;
  /** Networks made so far. */
  boots = 0;
  /** Links that came back. */
  returns = 0;

  constructor(plan: NetworkPlan, world: World, dice: Dice, memory: FrameMemory) {
    this.plan = plan;
    this.#world = world;
    this.#dice = dice;
    this.#memory = memory;
    this.#startMs = world.host.now();
    this.#streams = plan.streams.map((stream) => new StreamLedger(stream));
  }

  /** Whether every program has ended and every host's end is over. */
  get isDone(): boolean {
    return this.#running === 0 && this.#streams.every((stream) => stream.isOver);
  }

  /** What the gateway holds for the guest; `null` where all of it is nothing. */
  get leftovers(): string | null {
    const figures = Object.entries(this.#network?.figures() ?? {});
    const left = figures.filter(([, value]) => value !== 0);
    return left.length === 0 ? null : left.map(([key, value]) => `${key} ${value}`).join(", ");
  }

  /** Starts the guest and all programs. */
  start(): void {
    const { host } = this.#world;
    this.plan.resolvers.forEach((kind, i) =>
      serveDns(host, this.#resolver(i), kind, this.#dice.fork())
    );
    for (const stream of this.#streams) this.#placeHost(stream);
    this.#boot();
    this.#run("link", () => this.#liveThroughCuts());
    this.#run("link", () => this.#liveThroughReturns());
    for (const stream of this.#streams) {
      this.#run(`stream ${stream.plan.id}`, () => this.#runStream(stream));
    }
    for (const plan of this.plan.questions) {
      this.#runAsking(
        `question ${plan.id}`,
        plan.startMs,
        (guest, context) => runQuestion(guest, plan, context),
      );
    }
    this.plan.pings.forEach((plan, i) =>
      this.#runAsking(
        `ping ${i}`,
        plan.startMs,
        (guest, context) => runPing(guest, plan, context),
      )
    );
    for (const datagrams of this.plan.datagrams) {
      const who = `udp ${datagrams.id}`;
      this.#run(who, async () => {
        await this.#until(datagrams.startMs);
        const guest = await this.#ready.promise;
        await runDatagrams(guest, datagrams, {
          host,
          // Another socket's flow may take the place where there are too few.
          isCalm: this.#isSteady && this.plan.limits.udpFlows >= this.plan.datagrams.length,
          wasCut: () => this.#guest !== guest,
          fault: (text) => this.#fault(who, text),
          say: (text) => this.#say(who, text),
        });
      });
    }
  }

  /** Says what is still under way, where something should have ended. */
  get underWay(): string {
    const open = this.#streams.filter((stream) => !stream.isOver).map(({ plan, guests, hosts }) =>
      `stream ${plan.id} (guest ${guests.map((end) => end.connection.state)}, hosts over: ` +
      `${hosts.map((end) => end.isOver)})`
    );
    return `${this.#running} programs; ${open.join(", ")}; ${this.leftovers}`;
  }

  /** What the streams came to. */
  get tally(): StreamTally {
    const begun = this.#streams.filter((stream) => stream.hasBegun);
    const whole = begun.filter(({ guests }) =>
      guests.some((guest) => guest.isOrderly && guest.sawEnd && guest.hasFinished)
    );
    const ends = begun.flatMap(({ guests, hosts }) => [...guests, ...hosts]);
    return {
      streams: begun.length,
      whole: whole.length,
      cut: begun.filter((stream) => stream.wasCut).length,
      returns: this.returns,
      bytes: ends.reduce((sum, end) => sum + end.takenBytes, 0),
    };
  }

  /** Judges what the streams have done. */
  judge(): void {
    const expectation: Expectation = {
      isCalm: this.#isCalm,
      isSteady: this.#isSteady,
      mayTimeOut: !this.#isCalm,
      mayLoseReset: this.plan.returns.length > 0,
    };
    for (const stream of this.#streams) {
      for (const fault of judgeStream(stream, expectation)) {
        this.#fault(`stream ${stream.plan.id}`, fault);
      }
    }
  }

  /** Ends the guest and the link, and shows that nothing is left. */
  async end(): Promise<void> {
    const network = this.#network!;
    await this.#guest!.close();
    this.#wire!.cut("close");
    await this.#ended;
    this.#checkEnded(network);
  }

  // ---- The link's life --------------------------------------------------------------------

  #boot(): void {
    const { host, pool, trace } = this.#world;
    const { plan } = this;
    this.boots++;
    const link = this.#socketOptions(plan.linkBufferBytes, plan.linkPartShare, 0);
    const [conn, gatewayEnd] = host.openConn(link);
    const [guestConn, guestEnd] = openSocket(host.clock, link);
    this.#network = new GuestNetwork({
      system: host,
      conn,
      pool,
      arena: new Arena(pool),
      // One damaged segment in 65,536 looks like one whose sum is left to the device.
      network: parseGuestNetwork({
        mtu: plan.mtu,
        ipv6: plan.ipv6,
        checksums: plan.mix.flip > 0 ? "verify" : "auto",
        offload: plan.offload !== "none",
      }),
      hasHeaders: plan.offload === "headers",
      limits: plan.limits,
      dns: { upstreams: plan.resolvers.map((_, i) => this.#resolver(i)) },
      policy: guestPolicy(),
      hostLoopback: false,
      hostServices: [],
      ipv6Upstream: true,
      ownPorts: () => new Set<number>(),
      lingerMs: plan.lingerMs,
      logger: this.#logger(),
    });
    this.#ended = this.#network.run();
    this.#wire = new FaultyWire(guestEnd, gatewayEnd, {
      clock: host.clock,
      mix: {
        ...plan.mix,
        stalls: plan.mix.stalls.map((stall) => ({ ...stall, atMs: this.#startMs + stall.atMs })),
      },
      dice: this.#dice.fork(),
      trace,
      name: plan.name,
      headerBytes: plan.offload === "headers" ? VNET_HEADER_BYTES : 0,
    });
    const guestDice = this.#dice.fork();
    this.#guest = EmbeddedGuest.attach(guestConn, {
      clock: host,
      memory: this.#memory,
      random: () => guestDice.word(),
      mtu: plan.mtu,
      ipv6: plan.ipv6,
      offload: plan.offload !== "none",
      hasHeaders: plan.offload === "headers",
    });
    for (const stream of this.#streams) this.#listen(this.#guest, stream);
    this.#run("lease", () => this.#lease(this.#guest!));
  }

  async #lease(guest: EmbeddedGuest): Promise<void> {
    while (this.#guest === guest) {
      try {
        await guest.lease();
        this.#say("guest", "has its addresses");
        this.#ready.resolve(guest);
        return;
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
        if (this.#isSteady) this.#fault("guest", `got no lease on a good link: ${error.message}`);
        this.#say("guest", `has no addresses yet: ${error.code}`);
        await sleep(this.#world.host.clock, RESTART_MS);
      }
    }
  }

  async #liveThroughCuts(): Promise<void> {
    for (const { atMs, kind, worstMoment } of this.plan.cuts) {
      await this.#until(atMs);
      if (worstMoment) await this.#worstMoment();
      const network = this.#network!;
      const guest = this.#guest!;
      const graceMs = kind === "by the gateway" ? this.#dice.pick([0, GRACE_MS]) : GRACE_MS;
      this.#noteCut(graceMs > 0);
      this.#say("link", `is cut: ${kind}, grace ${graceMs} ms`);
      const { resolve } = this.#ready;
      this.#ready = Promise.withResolvers();
      this.#ready.promise.then(resolve); // for programs that wait already
      this.#guest = null;
      if (kind === "by the gateway") await network.close(graceMs);
      else this.#wire!.cut(kind);
      await Promise.all([guest.close(), this.#ended]);
      this.#checkEnded(network);
      await sleep(this.#world.host.clock, this.#dice.pick([0, 10, RESTART_MS]));
      this.#boot();
    }
  }

  /** The link is lost and another one takes its place, while guest, gateway and hosts go on. */
  async #liveThroughReturns(): Promise<void> {
    const { host } = this.#world;
    const { plan } = this;
    await this.#ready.promise; // a guest that was never heard is not waited for
    for (const { atMs, kind, awayMs } of plan.returns) {
      await this.#until(atMs);
      this.#say("link", `is lost for ${awayMs} ms: ${kind}`);
      this.#wire!.lose(kind);
      while (this.#network!.link === "attached") await sleep(host.clock, 1);
      await sleep(host.clock, awayMs);
      const link = this.#socketOptions(plan.linkBufferBytes, plan.linkPartShare, 0);
      const [conn, gatewayEnd] = host.openConn(link);
      if (!this.#network!.reattach(conn)) this.#fault("link", "the gateway waits for nobody");
      this.#wire!.rejoin(gatewayEnd);
      this.returns++;
    }
  }

  /** Waits a while for a guest that was told more than its host has taken. */
  async #worstMoment(): Promise<void> {
    const { clock } = this.#world.host;
    const endMs = clock.now() + WORST_MOMENT_MS;
    while (clock.now() < endMs && !this.#streams.some((stream) => this.#isOwed(stream))) {
      await sleep(clock, 1);
    }
  }

  /** What the guest was told until here is what it is owed, unless the gateway is aborted. */
  #noteCut(hostsHaveTime: boolean): void {
    for (const stream of this.#streams) {
      if (!stream.hasBegun || stream.isOver || stream.wasCut) continue;
      stream.wasCut = true;
      if (!hostsHaveTime || !this.#isOwed(stream)) continue;
      this.#say(`stream ${stream.plan.id}`, "the guest leaves and is owed the rest");
      stream.guests[0]!.wasToldAllBeforeCut = true;
    }
  }

  /**
   * Whether a guest was told that all its bytes are there, its end included, while a host has not
   * taken all of them, but takes them within the time that it has for it. It has finished itself:
   * a socket that is closed with bytes unread takes what is under way the other way with it.
   */
  #isOwed({ guests, hosts, plan }: StreamLedger): boolean {
    const [guest] = guests;
    const [host] = hosts;
    if (guests.length !== 1 || hosts.length !== 1 || guest === undefined) return false;
    if (host === undefined || host.sawEnd || !host.hasFinished || host.hasAborted) return false;
    if (!guest.hasFinished || !guest.connection.sender.finAcknowledged) return false;
    if (!guest.sawEnd || guest.failure !== null || host.plan.abortAtBytes !== Infinity) {
      return false;
    }
    const left = guest.acknowledgedBytes - host.takenBytes;
    const steps = Math.ceil(left / Math.min(host.plan.readBytes, plan.bufferBytes));
    const hasBegun = host.plan.readAfterMs === 0 || host.takenBytes > 0;
    return plan.partShare === 0 && hasBegun &&
      steps * (host.plan.readGapMs + 2 * plan.operationMs) < DELIVERS_MS;
  }

  #checkEnded(network: GuestNetwork): void {
    for (const [key, value] of Object.entries(network.figures())) {
      if (value !== 0) this.#fault("end", `${key} is ${value} when the network has ended`);
    }
    const { "bug.turn": turn = 0, "bug.tcp": tcp = 0 } = network.counters.snapshot();
    if (turn + tcp > 0) this.#fault("end", `${turn + tcp} bugs of our own`);
  }

  // ---- Streams ----------------------------------------------------------------------------

  #placeHost(stream: StreamLedger): void {
    const { host } = this.#world;
    const { address, port, connect, opener } = stream.plan;
    if (opener === "client") return;
    switch (connect.kind) {
      case "accept":
        host.listen(address, port, (peer) => this.#serve(stream, peer), {
          delayMs: connect.delayMs,
          socket: this.#streamSocket(stream.plan),
        });
        return;
      case "refuse":
        return host.refuse(address, port, connect.code, connect.delayMs);
      case "black hole":
        return host.blackHole(address, port);
      case "forbidden":
        host.listen(address, port, (peer) => this.#serve(stream, peer));
    }
  }

  #serve(stream: StreamLedger, peer: VirtualPeer): void {
    const ledger = new EndLedger(stream.plan.host);
    stream.hosts.push(ledger);
    this.#say(`stream ${stream.plan.id}`, "host: connected");
    runHostEnd(peer, ledger, this.#context(stream, "host"));
  }

  /** A stream's program: opens it, or connects to the port that the guest listens on. */
  async #runStream(stream: StreamLedger): Promise<void> {
    const { plan } = stream;
    await this.#until(plan.startMs);
    const guest = await this.#ready.promise;
    stream.hasBegun = true;
    if (plan.opener === "client") return this.#connectClient(stream);
    let tcp: GuestTcp;
    try {
      tcp = await guest.connect(plan.address, plan.port, CONNECT_MS);
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
      stream.connectFailure = error.code;
      if (this.#guest !== guest) stream.wasCut = true;
      if (stream.wasCut) stream.connectFailure = null;
      return this.#say(`stream ${plan.id}`, `guest: no connection, ${error.code}`);
    }
    await this.#runGuest(stream, tcp);
  }

  #connectClient(stream: StreamLedger): void {
    const { host } = this.#world;
    const { plan } = stream;
    const [conn, peer] = host.openConn({
      ...this.#streamSocket(plan),
      local: tcpAddress("10.0.0.1", plan.port),
      remote: tcpAddress(plan.address, 50_000 + plan.id),
    });
    this.#serve(stream, peer);
    if (this.#network!.acceptPublished(conn, plan.port)) return;
    stream.connectFailure = "refused";
    conn.close();
  }

  /** The guest takes a client's connection, where the plan does not have it refuse. */
  #listen(guest: EmbeddedGuest, stream: StreamLedger): void {
    const { opener, connect, port } = stream.plan;
    if (opener !== "client" || connect.kind !== "accept") return;
    guest.listen(port, (tcp) => {
      this.#run(`stream ${stream.plan.id}`, () => this.#runGuest(stream, tcp));
    });
  }

  async #runGuest(stream: StreamLedger, tcp: GuestTcp): Promise<void> {
    const ledger = new GuestLedger(stream.plan.guest, tcp.connection);
    stream.guests.push(ledger);
    this.#say(`stream ${stream.plan.id}`, "guest: connected");
    await runGuestEnd(tcp, ledger, this.#context(stream, "guest"));
  }

  #context(stream: StreamLedger, end: "guest" | "host"): EndContext {
    const { plan } = stream;
    const who = `stream ${plan.id}`;
    const guest = this.#guest;
    const upKey = this.#key(plan.id, 0);
    const downKey = plan.host.echoes ? upKey : this.#key(plan.id, 1);
    return {
      clock: this.#world.host.clock,
      sendKey: end === "guest" ? upKey : downKey,
      takeKey: end === "guest" ? downKey : upKey,
      isGone: () => this.#guest !== guest,
      fault: (text) => this.#fault(who, text),
      say: (text) => this.#say(who, text),
    };
  }

  #key(id: number, direction: number): number {
    return Math.imul(this.plan.name.charCodeAt(3) * 1_000 + id * 2 + direction + 1, 0x2545_f491);
  }

  // ---- Questions and echoes ---------------------------------------------------------------

  /** Runs a program that needs nothing but the guest, once that has its addresses. */
  #runAsking(who: string, startMs: number, program: AskingProgram): void {
    this.#run(who, async () => {
      await this.#until(startMs);
      const guest = await this.#ready.promise;
      await program(guest, {
        isCalm: this.#isSteady,
        mustResolve: this.#mustResolve,
        wasCut: () => this.#guest !== guest,
        fault: (text) => this.#fault(who, text),
        say: (text) => this.#say(who, text),
      });
    });
  }

  /** Whether every question has to be answered with an address. */
  get #mustResolve(): boolean {
    const { resolvers, questions, limits } = this.plan;
    return this.#isSteady && resolvers.every((kind) => kind === "answers") &&
      questions.length <= limits.dnsInFlightPerUpstream;
  }

  // ---- Small things -----------------------------------------------------------------------

  /** Calm, and the link stays: what is lost with one only streams make good. */
  get #isSteady(): boolean {
    return this.#isCalm && this.plan.returns.length === 0;
  }

  /** Nothing is lost, late or cut, and there is memory for everybody. */
  get #isCalm(): boolean {
    const { weather, mix, cuts, scarce, tight } = this.plan;
    return weather === "clean" && mix.stalls.length === 0 && mix.bytesPerMs === Infinity &&
      cuts.length === 0 && !scarce && !tight;
  }

  #resolver(index: number): string {
    return `10.0.${this.plan.name.charCodeAt(3)}.${53 + index}`;
  }

  #streamSocket({ bufferBytes, partShare, operationMs }: StreamPlan): SocketOptions {
    return this.#socketOptions(bufferBytes, partShare, operationMs);
  }

  #socketOptions(bufferBytes: number, partShare: number, operationMs: number): SocketOptions {
    const dice = this.#dice.fork();
    return {
      bufferBytes,
      ...(partShare === 0 ? {} : {
        transferBytes: () => dice.chance(partShare) ? dice.between(1, 2_000) : Infinity,
      }),
      ...(operationMs === 0 ? {} : { operationMs: () => dice.below(operationMs + 1) }),
    };
  }

  /** Waits until so long after the beginning. */
  #until(ms: number): Promise<void> {
    const { clock } = this.#world.host;
    return sleep(clock, Math.max(0, this.#startMs + ms - clock.now()));
  }

  /** Runs a program; one that throws something unforeseen is a fault. */
  #run(who: string, program: () => Promise<void>): void {
    this.#running++;
    program().catch((error) => {
      // A guest whose link is gone says so from every call.
      if (error instanceof GuestError && error.code === "closed") return;
      this.#fault(who, `threw ${(error as Error).stack ?? error}`);
    }).finally(() => this.#running--);
  }

  #logger(): GatewayLogger {
    return {
      ...silentLogger,
      error: (message, fields) => this.#fault("log", `${message} ${JSON.stringify(fields ?? {})}`),
    };
  }

  #fault(who: string, text: string): void {
    this.#world.fault(`${this.plan.name} ${who}`, text);
  }

  #say(who: string, text: string): void {
    this.#world.trace.event(`${this.plan.name} ${who}`, text);
  }
}
