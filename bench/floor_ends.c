/*
 * The two ends of the floor programs: what stands on either side of a gateway, as cheap as it can
 * be made, so that what is measured is what stands between them.
 *
 *   floor_ends ROW SOCKET SECONDS MTU STREAMS
 *
 * It listens on the unix socket (the VMM's end) and on a TCP and a UDP port of 127.0.0.1 (the
 * host's), prints "listening TCP UDP", and after a warm-up of half a second counts for SECONDS what
 * has come whole to its destination: "rate N" a second, in bytes or exchanges.
 *
 *   relay.up, relay.down  bytes through, in writes and reads of 256 KiB
 *   up, down              frames of the MTU on the unix side: as a bridge that hands a device's
 *                         frames on (64 or 512 KiB a write, reads of 1 MiB), with a guest that keeps
 *                         to the window it is told and acknowledges every second frame; on the TCP
 *                         side writes and reads of 256 KiB
 *   rr, crr, crr.fin      one byte there and back, on one connection or on a new one each time;
 *                         .fin with the frames of an orderly end
 *   udpup, udpdown        frames with datagrams of 1,200 bytes, from and to a UDP socket
 *   udp.send, udp.receive the UDP socket alone; datagrams come at 300,000 a second, here as above
 *
 * Of a frame's headers only two fields count: a stream's number (or the kind of an exchange's step)
 * and a count of bytes; floor_wire.ts says where. Nothing is summed, checked or sent again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
  LENGTH = 4, TCP_HEADERS = 14 + 20 + 32, UDP_HEADERS = 14 + 20 + 8,
  STREAM_AT = 34, COUNT_AT = 38, /* in a frame */
  BLOCK_BYTES = 256 << 10, READ_BYTES = 1 << 20,
  BATCH_FRAMES = 64, BATCH_BYTES = 512 << 10,
  TURN_BYTES = 64 << 10, /* what a kernel hands over of one stream at a time */
  STREAMS_MAX = 4096, DATAGRAM_BYTES = 1200, DATAGRAMS = 64,
  DATAGRAMS_A_SECOND = 300000,
  SOCKET_BUFFER_BYTES = 4 << 20,
  STEP_OPEN = 0, STEP_DATA = 1, STEP_FINISH = 2,
};

static int stream = -1, tcp_listener, udp, streams, mtu;
static atomic_ullong counted;

struct flow { uint32_t sent, edge, received; int unacknowledged; };
static struct flow flows[STREAMS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;

static void fail(const char *what) {
  fprintf(stderr, "floor_ends: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_for(double seconds) {
  struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
  nanosleep(&t, NULL);
}

static void start(void *(*run)(void *), int fd) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, (void *)(intptr_t)fd)) fail("thread");
  pthread_detach(thread);
}

static void put32(uint8_t *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
}

static uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at) {
  return (unsigned)at[0] << 8 | at[1];
}

static void *allocate(size_t bytes) {
  void *memory = calloc(1, bytes);
  if (!memory) fail("memory");
  return memory;
}

static void write_all(int fd, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    ssize_t n = write(fd, bytes, count);
    if (n <= 0) fail("write");
    bytes += n;
    count -= (size_t)n;
  }
}

/* ---- Bytes ------------------------------------------------------------------------------- */

static void *send_for_ever(void *fd) {
  uint8_t *zeros = allocate(BLOCK_BYTES);
  for (;;) write_all((int)(intptr_t)fd, zeros, BLOCK_BYTES);
  return NULL;
}

static void *take_for_ever(void *fd) {
  uint8_t *into = allocate(BLOCK_BYTES);
  for (;;) {
    ssize_t n = read((int)(intptr_t)fd, into, BLOCK_BYTES);
    if (n <= 0) fail("read");
    counted += (size_t)n;
  }
  return NULL;
}

/* ---- Frames ------------------------------------------------------------------------------ */

static uint8_t received[READ_BYTES];
static size_t received_bytes;

/* One read; each whole frame that it brings goes to `take`. */
static void read_frames(void (*take)(const uint8_t *frame, uint32_t bytes)) {
  ssize_t n = read(stream, received + received_bytes, sizeof received - received_bytes);
  if (n <= 0) fail("the other side has closed the frame stream");
  received_bytes += (size_t)n;
  size_t at = 0;
  while (received_bytes - at >= LENGTH) {
    uint32_t bytes = get32(received + at);
    if (received_bytes - at < LENGTH + bytes) break;
    take(received + at + LENGTH, bytes);
    at += LENGTH + bytes;
  }
  memmove(received, received + at, received_bytes - at);
  received_bytes -= at;
}

static uint8_t acks[READ_BYTES];
static size_t acks_bytes;

static void push_ack(int number) {
  uint8_t *ack = acks + acks_bytes;
  put32(ack, TCP_HEADERS);
  put16(ack + LENGTH + STREAM_AT, (unsigned)number);
  put32(ack + LENGTH + COUNT_AT, flows[number].received);
  acks_bytes += LENGTH + TCP_HEADERS;
  flows[number].unacknowledged = 0;
}

static void take_data(const uint8_t *frame, uint32_t bytes) {
  int number = (int)get16(frame + STREAM_AT);
  uint32_t payload = bytes - TCP_HEADERS;
  counted += payload;
  flows[number].received += payload;
  if (++flows[number].unacknowledged == 2) push_ack(number);
}

static void *take_download(void *unused) {
  for (;;) {
    read_frames(take_data);
    for (int i = 0; i < streams; i++) if (flows[i].unacknowledged) push_ack(i);
    write_all(stream, acks, acks_bytes);
    acks_bytes = 0;
  }
  return unused;
}

static void take_window(const uint8_t *frame, uint32_t bytes) {
  if (bytes < TCP_HEADERS) return;
  pthread_mutex_lock(&lock);
  flows[get16(frame + STREAM_AT)].edge = get32(frame + COUNT_AT);
  pthread_cond_signal(&opened);
  pthread_mutex_unlock(&lock);
}

static void *take_windows(void *unused) {
  for (;;) read_frames(take_window);
  return unused;
}

/* Puts the numbers of the streams that may send into a batch: how many frames it has. */
static int fill_batch(uint8_t *batch, int most, size_t frame_bytes) {
  static int next;
  uint32_t payload = (uint32_t)mtu - (TCP_HEADERS - 14);
  int frames = 0;
  pthread_mutex_lock(&lock);
  for (;;) {
    for (int tried = 0; tried < streams && frames < most; tried++, next = (next + 1) % streams) {
      struct flow *flow = &flows[next];
      for (uint32_t turn = 0; turn < TURN_BYTES && frames < most; turn += payload) {
        if ((int32_t)(flow->edge - flow->sent - payload) < 0) break;
        flow->sent += payload;
        put16(batch + (size_t)frames++ * frame_bytes + LENGTH + STREAM_AT, (unsigned)next);
      }
    }
    if (frames > 0) break;
    pthread_cond_wait(&opened, &lock);
  }
  pthread_mutex_unlock(&lock);
  return frames;
}

static void *send_upload(void *unused) {
  size_t bytes = LENGTH + 14 + (size_t)mtu;
  int most = 1 + (int)(BATCH_BYTES / bytes);
  if (most > BATCH_FRAMES) most = BATCH_FRAMES;
  uint8_t *batch = allocate((size_t)most * bytes);
  for (int i = 0; i < most; i++) put32(batch + (size_t)i * bytes, 14 + (uint32_t)mtu);
  for (;;) write_all(stream, batch, (size_t)fill_batch(batch, most, bytes) * bytes);
  return unused;
}

/* ---- Exchanges --------------------------------------------------------------------------- */

static int last_step;

static void note_step(const uint8_t *frame, uint32_t bytes) {
  unsigned step = bytes >= TCP_HEADERS ? get16(frame + STREAM_AT) : STEP_FINISH;
  if (step != STEP_FINISH) last_step = (int)step;
}

static void send_step(int kind, size_t data) {
  uint8_t frame[LENGTH + TCP_HEADERS + 1] = {0};
  put32(frame, (uint32_t)(TCP_HEADERS + data));
  put16(frame + LENGTH + STREAM_AT, (unsigned)kind);
  write_all(stream, frame, LENGTH + TCP_HEADERS + data);
}

static void exchange(int kind, size_t data) {
  last_step = -1;
  send_step(kind, data);
  while (last_step != kind) read_frames(note_step);
}

static void *client(void *unused) {
  for (;; counted++) exchange(STEP_DATA, 1);
  return unused;
}

static void *connecting_client(void *finishes) {
  for (;; counted++) {
    exchange(STEP_OPEN, 0);
    exchange(STEP_DATA, 1);
    if ((intptr_t)finishes) send_step(STEP_FINISH, 0);
  }
  return NULL;
}

static void *echo_server(void *unused) {
  int one = 1;
  uint8_t bytes[256];
  for (;;) {
    int fd = accept(tcp_listener, NULL, NULL);
    if (fd < 0) fail("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;) if (write(fd, bytes, (size_t)n) < 0) break;
    close(fd);
  }
  return unused;
}

/* ---- Datagrams --------------------------------------------------------------------------- */

static struct mmsghdr messages[DATAGRAMS];
static struct iovec parts[DATAGRAMS];

static void prepare_datagrams(size_t room) {
  uint8_t *bytes = allocate(DATAGRAMS * room);
  for (int i = 0; i < DATAGRAMS; i++) {
    parts[i] = (struct iovec){bytes + (size_t)i * room, room};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
}

static void *take_datagrams(void *unused) {
  prepare_datagrams(2048);
  for (;;) {
    int n = recvmmsg(udp, messages, DATAGRAMS, MSG_WAITFORONE, NULL);
    if (n < 0) fail("recvmmsg");
    counted += (unsigned)n;
  }
  return unused;
}

/* To whoever has sent the first datagram. */
static void *send_datagrams(void *unused) {
  struct sockaddr_in peer;
  socklen_t size = sizeof peer;
  uint8_t byte;
  if (recvfrom(udp, &byte, 1, 0, (void *)&peer, &size) < 0) fail("recvfrom");
  if (connect(udp, (void *)&peer, size)) fail("connect");
  prepare_datagrams(DATAGRAM_BYTES);
  double due = now();
  for (;;) {
    sendmmsg(udp, messages, DATAGRAMS, 0);
    due += (double)DATAGRAMS / DATAGRAMS_A_SECOND;
    double early = due - now();
    if (early > 1e-4) pause_for(early);
    else if (early < -0.01) due = now();
  }
  return unused;
}

static void *send_datagram_frames(void *unused) {
  size_t bytes = LENGTH + UDP_HEADERS + DATAGRAM_BYTES;
  uint8_t *batch = allocate(BATCH_FRAMES * bytes);
  for (int i = 0; i < BATCH_FRAMES; i++) put32(batch + (size_t)i * bytes, (uint32_t)bytes - LENGTH);
  for (;;) write_all(stream, batch, BATCH_FRAMES * bytes);
  return unused;
}

static void count_frame(const uint8_t *frame, uint32_t bytes) {
  (void)frame;
  counted += bytes == UDP_HEADERS + DATAGRAM_BYTES;
}

static void *count_frames(void *unused) {
  for (;;) read_frames(count_frame);
  return unused;
}

/* ---- Beginning and end ------------------------------------------------------------------- */

static int port_of(int fd) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  if (getsockname(fd, (void *)&address, &size)) fail("getsockname");
  return ntohs(address.sin_port);
}

static void begin(const char *path) {
  struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr_un here = {.sun_family = AF_UNIX};
  int bytes = SOCKET_BUFFER_BYTES;
  strncpy(here.sun_path, path, sizeof here.sun_path - 1);
  int vmm = socket(AF_UNIX, SOCK_STREAM, 0);
  tcp_listener = socket(AF_INET, SOCK_STREAM, 0);
  udp = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(vmm, (void *)&here, sizeof here) || listen(vmm, 1)) fail(path);
  if (bind(tcp_listener, (void *)&loopback, sizeof loopback) || listen(tcp_listener, 1024)) fail("tcp");
  if (bind(udp, (void *)&loopback, sizeof loopback)) fail("udp");
  setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  printf("listening %d %d\n", port_of(tcp_listener), port_of(udp));
  fflush(stdout);
  stream = accept(vmm, NULL, NULL);
  if (setsockopt(stream, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes)) /* root's */
    setsockopt(stream, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void for_each_stream(void *(*run)(void *)) {
  for (int i = 0; i < streams; i++) {
    int fd = accept(tcp_listener, NULL, NULL);
    if (fd < 0) fail("accept");
    start(run, fd);
  }
}

static int run(const char *row) {
  int is_fin = !strcmp(row, "crr.fin");
  if (!strcmp(row, "relay.up")) start(send_for_ever, stream), for_each_stream(take_for_ever);
  else if (!strcmp(row, "relay.down")) start(take_for_ever, stream), for_each_stream(send_for_ever);
  else if (!strcmp(row, "up")) start(take_windows, 0), start(send_upload, 0), for_each_stream(take_for_ever);
  else if (!strcmp(row, "down")) start(take_download, 0), for_each_stream(send_for_ever);
  else if (!strcmp(row, "rr")) start(echo_server, 0), start(client, 0);
  else if (is_fin || !strcmp(row, "crr")) start(echo_server, 0), start(connecting_client, is_fin);
  else if (!strcmp(row, "udpup")) start(take_datagrams, 0), start(send_datagram_frames, 0);
  else if (!strcmp(row, "udpdown")) start(count_frames, 0), start(send_datagrams, 0);
  else if (!strcmp(row, "udp.send")) start(take_datagrams, 0);
  else if (!strcmp(row, "udp.receive")) start(send_datagrams, 0);
  else return 0;
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 6) return fprintf(stderr, "usage: floor_ends ROW SOCKET SECONDS MTU STREAMS\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  double seconds = atof(argv[3]);
  mtu = atoi(argv[4]);
  streams = atoi(argv[5]);
  if (streams < 1 || streams > STREAMS_MAX || mtu < 576) return fprintf(stderr, "floor_ends: MTU or STREAMS\n"), 2;
  begin(argv[2]);
  if (!run(argv[1])) return fprintf(stderr, "floor_ends: no row %s\n", argv[1]), 2;
  pause_for(0.5);
  unsigned long long before = counted;
  double from = now();
  pause_for(seconds);
  printf("rate %.0f\n", (double)(counted - before) / (now() - from));
  fflush(stdout);
  pause_for(5); /* whoever has read it ends both sides; an end in mid-air would look like a fault */
  return 0;
}
