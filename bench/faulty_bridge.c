/*
 * A bad link with a kernel at its end: joins a tap device to a frame stream and does to each frame
 * on its way, in both directions, what a link may do: lose, repeat, displace, damage and delay it.
 *
 *   faulty_bridge NAMESPACE TAP connect|listen PATH [loss=P] [dup=P] [reorder=P] [flip=P]
 *                 [delay=MS] [late=MS] [seed=N]
 *
 * P is a percentage of the frames and may have decimals; each frame is drawn for alone. `delay`
 * holds for every frame, counted from its own arrival; a displaced one is held up to `late` ms
 * longer (5 by default), so that later frames pass it; a damaged one has one bit turned. Stream
 * format: 4-byte big-endian length, then one Ethernet frame, of a device whose MTU is at most 1500.
 *
 * "joined" on standard output says that both ends are open. It ends by SIGTERM or SIGINT, when the
 * stream does, and with its standard input, as whoever started it is gone then; it says in one line
 * of JSON what it did to the frames, and how late it let them go: the measure's own share of delay.
 *
 * It must not be what limits a measurement. A thread per direction, which share nothing; a frame
 * lies in one slot from its reading to its writing, the queue holds indices sorted by the time of
 * release (a frame in order costs one comparison), and all that is due goes in one call. There is
 * no rate: a queue is 32768 frames, and only a full one, or a reader that takes no more, makes the
 * bridge stop reading, which it counts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../tests/support/tap.h"

enum {
  HEADER_BYTES = 4,
  FRAME_MIN_BYTES = 14,
  FRAME_MAX_BYTES = 1530,
  SLOT_BYTES = 1536,
  SLOTS = 32768, /* a power of two: queue positions wrap by mask */
  BATCH = 64,
  STREAM_BUFFER_BYTES = 256 * 1024,
  SOCKET_BUFFER_BYTES = 4 << 20,
  TIMER_SLACK_NS = 20000,
};

/* Chances are out of 2^32. */
struct faults {
  uint64_t loss, dup, reorder, flip;
  uint64_t delay_ns, late_ns;
  uint64_t seed;
};

struct entry {
  uint64_t due_ns;
  uint32_t slot;
  uint32_t bytes; /* of the frame; its length prefix lies before it in the slot */
};

struct counters {
  _Atomic uint64_t frames, lost, duplicated, reordered, flipped, refused, stalls, late_ns;
};

struct direction {
  int source, sink;
  int sink_is_stream;
  const struct faults *faults;
  uint64_t dice;
  /* Sorted by due_ns; positions count up for ever. */
  struct entry queue[SLOTS];
  uint32_t head, tail;
  uint32_t free_slots[SLOTS], free_count;
  uint8_t *slots;
  size_t head_sent; /* bytes of the head entry that the stream has taken */
  /* What has been read of a source stream, and where its next frame begins. */
  uint8_t received[STREAM_BUFFER_BYTES];
  size_t received_from, received_to;
  struct counters counters;
};

static struct direction to_stream, to_tap;
static int ended_pipe[2];

static void fail(const char *what) {
  fprintf(stderr, "faulty_bridge: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static uint64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(_Atomic uint64_t *counter, uint64_t by) {
  atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* splitmix64: any seed will do, and neighbours give unlike sequences. */
static uint64_t draw(struct direction *d) {
  uint64_t z = d->dice += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static int hits(struct direction *d, uint64_t chance) {
  return chance != 0 && (draw(d) >> 32) < chance;
}

static uint8_t *slot_at(struct direction *d, uint32_t slot) {
  return d->slots + (size_t)slot * SLOT_BYTES;
}

static struct entry *entry_at(struct direction *d, uint32_t position) {
  return &d->queue[position & (SLOTS - 1)];
}

/* The newest frame nearly always goes to the end; it is only behind frames that were displaced. */
static void enqueue(struct direction *d, uint32_t slot, uint32_t bytes, uint64_t due_ns) {
  uint32_t at = d->tail++;
  /* The head may be half sent: nothing gets before it. */
  uint32_t first = d->head + (d->head_sent > 0);
  while (at != first && entry_at(d, at - 1)->due_ns > due_ns) {
    *entry_at(d, at) = *entry_at(d, at - 1);
    at--;
  }
  *entry_at(d, at) = (struct entry){.due_ns = due_ns, .slot = slot, .bytes = bytes};
}

static void dequeue(struct direction *d, uint64_t now_ns) {
  count(&d->counters.late_ns, now_ns - entry_at(d, d->head)->due_ns);
  d->free_slots[d->free_count++] = entry_at(d, d->head)->slot;
  d->head++;
}

static uint64_t due_time(struct direction *d, uint64_t now_ns) {
  uint64_t due_ns = now_ns + d->faults->delay_ns;
  if (hits(d, d->faults->reorder)) {
    count(&d->counters.reordered, 1);
    due_ns += draw(d) % (d->faults->late_ns + 1);
  }
  return due_ns;
}

/* The frame in the slot on top of the free ones has arrived: draws its fate. */
static void admit(struct direction *d, uint32_t bytes, uint64_t now_ns) {
  count(&d->counters.frames, 1);
  if (hits(d, d->faults->loss)) {
    count(&d->counters.lost, 1);
    return; /* the slot stays free */
  }
  uint32_t slot = d->free_slots[--d->free_count];
  uint8_t *at = slot_at(d, slot);
  uint32_t prefix = htonl(bytes);
  memcpy(at, &prefix, HEADER_BYTES);
  if (hits(d, d->faults->dup)) {
    count(&d->counters.duplicated, 1);
    uint32_t copy = d->free_slots[--d->free_count];
    memcpy(slot_at(d, copy), at, HEADER_BYTES + bytes);
    enqueue(d, copy, bytes, due_time(d, now_ns));
  }
  if (hits(d, d->faults->flip)) {
    count(&d->counters.flipped, 1);
    uint64_t bit = draw(d) % ((uint64_t)bytes * 8);
    at[HEADER_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
  }
  enqueue(d, slot, bytes, due_time(d, now_ns));
}

/* Each frame may take a second slot for its copy. */
static int has_room(const struct direction *d) { return d->free_count >= 2; }

/* What the two readers return: whether the source still lives. */

static int read_tap(struct direction *d) {
  uint64_t now_ns = clock_ns();
  for (int i = 0; i < BATCH && has_room(d); i++) {
    uint8_t *at = slot_at(d, d->free_slots[d->free_count - 1]) + HEADER_BYTES;
    ssize_t length = read(d->source, at, FRAME_MAX_BYTES);
    if (length < 0 && (errno == EAGAIN || errno == EIO)) return 1; /* EIO: the device is down */
    if (length <= 0) fail("tap read");
    admit(d, (uint32_t)length, now_ns);
  }
  return 1;
}

/* Admits the whole frames that were received, as far as there is room. */
static void parse_received(struct direction *d) {
  uint64_t now_ns = clock_ns();
  while (has_room(d)) {
    size_t have = d->received_to - d->received_from;
    if (have < HEADER_BYTES) break;
    const uint8_t *at = d->received + d->received_from;
    uint32_t bytes;
    memcpy(&bytes, at, HEADER_BYTES);
    bytes = ntohl(bytes);
    if (bytes < FRAME_MIN_BYTES || bytes > FRAME_MAX_BYTES) {
      fprintf(stderr, "faulty_bridge: the peer sent a frame of %u bytes\n", bytes);
      _exit(3);
    }
    if (have < HEADER_BYTES + bytes) break;
    uint8_t *slot = slot_at(d, d->free_slots[d->free_count - 1]);
    memcpy(slot + HEADER_BYTES, at + HEADER_BYTES, bytes);
    admit(d, bytes, now_ns);
    d->received_from += HEADER_BYTES + bytes;
  }
  size_t rest = d->received_to - d->received_from;
  memmove(d->received, d->received + d->received_from, rest);
  d->received_from = 0;
  d->received_to = rest;
}

static int read_stream(struct direction *d) {
  size_t room = STREAM_BUFFER_BYTES - d->received_to;
  ssize_t got = read(d->source, d->received + d->received_to, room);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  d->received_to += (size_t)got;
  parse_received(d);
  return 1;
}

/* Writes what is due to the stream; returns 1, 0 when it takes no more just now, -1 at its end. */
static int release_to_stream(struct direction *d, uint64_t now_ns) {
  while (d->head != d->tail) {
    struct iovec parts[BATCH];
    int n = 0;
    for (uint32_t p = d->head; p != d->tail && n < BATCH; p++) {
      struct entry *e = entry_at(d, p);
      if (e->due_ns > now_ns) break;
      size_t skip = n == 0 ? d->head_sent : 0;
      parts[n].iov_base = slot_at(d, e->slot) + skip;
      parts[n++].iov_len = HEADER_BYTES + e->bytes - skip;
    }
    if (n == 0) return 1;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(d->sink, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) return 0;
    if (sent < 0) return -1;
    int whole = 0;
    size_t left = (size_t)sent;
    for (; whole < n && left >= parts[whole].iov_len; whole++) {
      left -= parts[whole].iov_len;
      dequeue(d, now_ns);
      d->head_sent = 0;
    }
    if (whole < n) {
      d->head_sent += left;
      return 0;
    }
  }
  return 1;
}

static int release_to_tap(struct direction *d, uint64_t now_ns) {
  while (d->head != d->tail) {
    struct entry *e = entry_at(d, d->head);
    if (e->due_ns > now_ns) break;
    if (write(d->sink, slot_at(d, e->slot) + HEADER_BYTES, e->bytes) < 0) {
      if (errno == EAGAIN) return 0;
      /* What the kernel refuses (device down, no memory) is lost, as on a wire. */
      if (errno != EINVAL && errno != EIO && errno != ENOBUFS) fail("tap write");
      count(&d->counters.refused, 1);
    }
    dequeue(d, now_ns);
  }
  return 1;
}

/* Sleeps until the source has something, the sink takes something again, or a frame is due. */
static short await_work(struct direction *d, int may_read, int sink_is_full) {
  struct pollfd ready[2] = {
      {.fd = may_read ? d->source : -1, .events = POLLIN},
      {.fd = sink_is_full ? d->sink : -1, .events = POLLOUT},
  };
  struct timespec wait, *limit = NULL;
  if (d->head != d->tail && !sink_is_full) {
    uint64_t now_ns = clock_ns(), due_ns = entry_at(d, d->head)->due_ns;
    uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
    wait.tv_sec = (time_t)(left_ns / 1000000000u);
    wait.tv_nsec = (long)(left_ns % 1000000000u);
    limit = &wait;
  }
  if (ppoll(ready, 2, limit, NULL) < 0 && errno != EINTR) fail("poll");
  return may_read ? ready[0].revents : 0;
}

static void *carry(void *argument) {
  struct direction *d = argument;
  prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
  for (;;) {
    uint64_t now_ns = clock_ns();
    int state = d->sink_is_stream ? release_to_stream(d, now_ns) : release_to_tap(d, now_ns);
    if (state < 0) break;
    if (!d->sink_is_stream && has_room(d)) parse_received(d);
    int may_read = state == 1 && has_room(d);
    if (!may_read) count(&d->counters.stalls, 1);
    if (await_work(d, may_read, state == 0) == 0) continue;
    if (!(d->sink_is_stream ? read_tap(d) : read_stream(d))) break;
  }
  if (write(ended_pipe[1], "", 1) != 1) fail("pipe");
  return NULL;
}

static int open_stream(const char *path, int listening) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(path);
  }
  strcpy(address.sun_path, path);
  int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (stream < 0) fail("socket");
  const struct sockaddr *name = (const struct sockaddr *)&address;
  if (listening) {
    if (bind(stream, name, sizeof address) < 0 || listen(stream, 1) < 0) fail(path);
    puts("listening");
    fflush(stdout);
    int accepted = accept(stream, NULL, NULL);
    if (accepted < 0) fail("accept");
    close(stream);
    stream = accepted;
  } else if (connect(stream, name, sizeof address) < 0) {
    fail(path);
  }
  int bytes = SOCKET_BUFFER_BYTES;
  setsockopt(stream, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  if (fcntl(stream, F_SETFL, O_NONBLOCK) < 0) fail("O_NONBLOCK");
  return stream;
}

static void usage(void) {
  fprintf(stderr, "usage: faulty_bridge NAMESPACE TAP connect|listen PATH [loss=P] [dup=P] "
                  "[reorder=P] [flip=P] [delay=MS] [late=MS] [seed=N]\n");
  exit(2);
}

static void read_fault(struct faults *f, const char *word) {
  const char *equals = strchr(word, '=');
  if (equals == NULL) usage();
  char *end;
  double value = strtod(equals + 1, &end);
  if (end == equals + 1 || *end != '\0' || !(value >= 0 && value < 1e9)) usage();
  size_t length = (size_t)(equals - word);
  const struct {
    const char *name;
    uint64_t *field;
    double unit, most;
  } known[] = {
      {"loss", &f->loss, 0x1p32 / 100, 100},   {"dup", &f->dup, 0x1p32 / 100, 100},
      {"reorder", &f->reorder, 0x1p32 / 100, 100}, {"flip", &f->flip, 0x1p32 / 100, 100},
      {"delay", &f->delay_ns, 1e6, 60000},     {"late", &f->late_ns, 1e6, 60000},
      {"seed", &f->seed, 1, 1e9},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strlen(known[i].name) != length || strncmp(known[i].name, word, length) != 0) continue;
    if (value > known[i].most) usage();
    *known[i].field = (uint64_t)(value * known[i].unit);
    return;
  }
  usage();
}

static void prepare(struct direction *d, int source, int sink, const struct faults *f) {
  d->source = source;
  d->sink = sink;
  d->faults = f;
  d->sink_is_stream = d == &to_stream;
  d->dice = f->seed * 2 + (uint64_t)d->sink_is_stream;
  d->slots = malloc((size_t)SLOTS * SLOT_BYTES);
  if (d->slots == NULL) fail("memory");
  for (uint32_t slot = 0; slot < SLOTS; slot++) d->free_slots[slot] = SLOTS - 1 - slot;
  d->free_count = SLOTS;
}

static void report(const char *name, struct direction *d, const char *after) {
  struct counters *c = &d->counters;
  uint64_t frames = c->frames, kept = frames - c->lost + c->duplicated;
  printf("\"%s\":{\"frames\":%lu,\"lost\":%lu,\"duplicated\":%lu,\"reordered\":%lu,"
         "\"flipped\":%lu,\"refused\":%lu,\"stalls\":%lu,\"lateUs\":%.1f}%s",
         name, frames, (uint64_t)c->lost, (uint64_t)c->duplicated, (uint64_t)c->reordered,
         (uint64_t)c->flipped, (uint64_t)c->refused, (uint64_t)c->stalls,
         kept == 0 ? 0.0 : (double)c->late_ns / 1e3 / (double)kept, after);
}

/* Returns when a signal, the stream's end or the end of standard input asks for it. */
static void await_end(int signals) {
  struct pollfd ready[3] = {
      {.fd = STDIN_FILENO, .events = POLLIN},
      {.fd = signals, .events = POLLIN},
      {.fd = ended_pipe[0], .events = POLLIN},
  };
  for (;;) {
    if (poll(ready, 3, -1) < 0 && errno != EINTR) fail("poll");
    if (ready[1].revents || ready[2].revents) return;
    char discarded[64];
    if (ready[0].revents && read(STDIN_FILENO, discarded, sizeof discarded) <= 0) return;
  }
}

int main(int words, char **word) {
  if (words < 5) usage();
  int listening = strcmp(word[3], "listen") == 0;
  if (!listening && strcmp(word[3], "connect") != 0) usage();
  struct faults faults = {.late_ns = 5000000, .seed = 1};
  for (int i = 5; i < words; i++) read_fault(&faults, word[i]);

  int stream = open_stream(word[4], listening);
  enter(word[1]);
  int tap = open_tap(word[2]);
  prepare(&to_stream, tap, stream, &faults);
  prepare(&to_tap, stream, tap, &faults);

  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGTERM);
  sigaddset(&asked, SIGINT);
  if (pthread_sigmask(SIG_BLOCK, &asked, NULL) != 0) fail("sigmask");
  int signals = signalfd(-1, &asked, SFD_CLOEXEC);
  if (signals < 0 || pipe(ended_pipe) < 0) fail("signalfd");
  pthread_t threads[2];
  if (pthread_create(&threads[0], NULL, carry, &to_stream) != 0 ||
      pthread_create(&threads[1], NULL, carry, &to_tap) != 0) {
    fail("thread");
  }
  puts("joined");
  fflush(stdout);
  await_end(signals);
  putchar('{');
  report("toStream", &to_stream, ",");
  report("toTap", &to_tap, "}\n");
  fflush(stdout);
  _exit(0);
}
