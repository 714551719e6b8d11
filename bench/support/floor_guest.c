/*
 * The guest's end of the floor that stands in the gateway's place: UDP datagrams over the guest's
 * kernel, whose frames have the sizes and the order of those that its TCP would send.
 *
 *   floor_guest pull STREAMS HOST PORT   takes a source's bytes and acknowledges them
 *   floor_guest push STREAMS HOST PORT   sends within the window that it is told
 *   floor_guest rr HOST PORT             one octet there and back, in turn, on one stream
 *   floor_guest crr HOST PORT            open, one octet there and back, finish
 *
 *   Ethernet 14 | IPv4 20 | UDP 8 | kind 2, 0 2, count 4, owner 4, 0 12 | data
 *
 * That is 66 octets in front of the data, as TCP with timestamps has. `count` of an OPEN is how
 * many streams there will be, of DATA the offset of its first octet, of an ACK how far the other
 * side has come, or, towards the guest, how far it may send. Nothing is sent again: a frame that is
 * missing ends the process with an error.
 *
 * What costs the kernel what TCP costs it: a socket for each stream; 64 KiB for each send, cut into
 * frames by the kernel (UDP_SEGMENT, with its checksums); runs of 64 KiB of one stream after those
 * of another; an ACK for two to six frames, as a kernel sends them here; an ACK that needs no answer
 * is dropped by a filter and wakes nobody. What differs, to the floor's disadvantage: frames are
 * received one by one, not as a stream, ACKs are sent and windows learnt by system calls, several
 * streams send by a call for each 64 KiB. To its advantage: no state is kept, no timer set, and
 * data that arrives has no checksum to verify.
 *
 * A second process waits for the end of the first one, however that comes, and tells it to the
 * other side, which closes what the first one had open. Speaks on standard input and output as
 * `traffic` does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "traffic_counts.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum {
  IP_UDP_BYTES = 28, HEAD_BYTES = 24,
  KIND_AT = 0, COUNT_AT = 4, OWNER_AT = 8, /* in a datagram */
  SYN_BYTES = 32, SYN_ACK_BYTES = 36,
  SEND_BYTES = 65507, SEND_SEGMENTS = 64, /* what one send may have */
  TURN_BYTES = 256 << 10, TURN_SENDS = 5, BATCH = 64,
  RECEIVE_BUFFER_BYTES = 64 << 20, EVENTS = 64, OPENING_AT_ONCE = 8,
  ANSWER_SECONDS = 30, LINGERING = 64,
  /* A kernel acknowledges at least two frames at once, and up to six where it lags behind. */
  ACK_FRAMES_LEAST = 2, ACK_FRAMES_MOST = 6,
};

enum kind { OPEN = 1, DATA = 2, ACK = 3, FINISH = 4, END = 5 };

struct stream { int fd, unacknowledged; uint32_t moved, edge; };

static struct sockaddr_in host;
static uint32_t owner;
static size_t payload; /* of a full datagram, with the head */

static void lost(const char *what) {
  fprintf(stderr, "traffic: %s\n", what);
  exit(1);
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

static enum kind kind_of(const uint8_t *datagram) {
  return (enum kind)(datagram[KIND_AT] << 8 | datagram[KIND_AT + 1]);
}

static void head(uint8_t *at, enum kind kind, uint32_t count) {
  at[KIND_AT] = 0;
  at[KIND_AT + 1] = (uint8_t)kind;
  put32(at + COUNT_AT, count);
  put32(at + OWNER_AT, owner);
}

static void *allocate(size_t count, size_t bytes) {
  void *memory = calloc(count, bytes);
  if (memory == NULL) fail("memory");
  return memory;
}

static int open_socket(int flags) {
  int bytes = RECEIVE_BUFFER_BYTES, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0);
  struct timeval limit = {.tv_sec = ANSWER_SECONDS};
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr *)&host, sizeof host) < 0) fail("connect");
  return fd;
}

/* Lets the kernel drop what TCP would not tell the program about either. */
static void ignore_acks(int fd) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, sizeof(struct udphdr) + KIND_AT),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ACK, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)) fail("filter");
}

static void tell(int fd, enum kind kind, uint32_t count, size_t bytes) {
  uint8_t datagram[64] = {0};
  head(datagram, kind, count);
  if (send(fd, datagram, bytes, 0) < 0) fail("send");
}

/* Waits for a datagram of a kind: its count. */
static uint32_t await(int fd, enum kind kind) {
  uint8_t datagram[128];
  if (recv(fd, datagram, sizeof datagram, 0) < HEAD_BYTES) fail("no answer");
  if (kind_of(datagram) != kind) lost("a frame is missing before another one");
  return get32(datagram + COUNT_AT);
}

/* ---- Streams ----------------------------------------------------------------------------- */

static struct stream *streams;
static int streams_count, poller;

static void open_streams(void) {
  streams = allocate((size_t)streams_count, sizeof *streams);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) fail("epoll");
  for (int from = 0; from < streams_count; from += OPENING_AT_ONCE) {
    int to = from + OPENING_AT_ONCE < streams_count ? from + OPENING_AT_ONCE : streams_count;
    for (int i = from; i < to; i++) {
      streams[i].fd = open_socket(0);
      tell(streams[i].fd, OPEN, (uint32_t)streams_count, SYN_BYTES);
    }
    for (int i = from; i < to; i++) {
      struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
      streams[i].edge = await(streams[i].fd, OPEN);
      tell(streams[i].fd, ACK, 0, HEAD_BYTES);
      if (epoll_ctl(poller, EPOLL_CTL_ADD, streams[i].fd, &event) < 0) fail("epoll_ctl");
    }
  }
}

static struct mmsghdr messages[BATCH], acks[BATCH];
static struct iovec parts[BATCH], ack_parts[BATCH];
static uint8_t ack_heads[BATCH][HEAD_BYTES];
static int acks_due;

static void prepare(struct mmsghdr *them, struct iovec *iovecs, uint8_t *bytes, int n, size_t step) {
  for (int i = 0; i < n; i++) {
    iovecs[i] = (struct iovec){bytes + (size_t)i * step, step};
    them[i].msg_hdr.msg_iov = &iovecs[i];
    them[i].msg_hdr.msg_iovlen = 1;
  }
}

static void acknowledge(struct stream *stream) {
  head(ack_heads[acks_due++], ACK, stream->moved);
  stream->unacknowledged = 0;
}

static void send_all(int fd, struct mmsghdr *them, int count) {
  for (int sent = 0; sent < count;) {
    int n = sendmmsg(fd, them + sent, (unsigned)(count - sent), 0);
    if (n < 0) fail("sendmmsg");
    sent += n;
  }
}

static void take(struct stream *stream, int most) {
  int n = recvmmsg(stream->fd, messages, (unsigned)most, MSG_DONTWAIT, NULL);
  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) fail("recvmmsg");
  uint32_t before = stream->moved;
  for (int i = 0; i < n; i++) {
    const uint8_t *datagram = parts[i].iov_base;
    if (kind_of(datagram) == FINISH) lost("a stream ended");
    if (kind_of(datagram) != DATA || get32(datagram + COUNT_AT) != stream->moved) {
      lost("a frame of data is missing");
    }
    stream->moved += messages[i].msg_len - HEAD_BYTES;
    if (++stream->unacknowledged == ACK_FRAMES_MOST) acknowledge(stream);
  }
  if (stream->unacknowledged >= ACK_FRAMES_LEAST) acknowledge(stream);
  add(&bytes_moved, stream->moved - before);
  send_all(stream->fd, acks, acks_due);
  acks_due = 0;
}

static void pull(void) {
  int most = (int)(TURN_BYTES / payload) + 1;
  if (most > BATCH - 1) most = BATCH - 1;
  prepare(messages, parts, allocate((size_t)most, payload), most, payload);
  prepare(acks, ack_parts, ack_heads[0], BATCH, HEAD_BYTES);
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) take(&streams[events[i].data.u32], most);
  }
}

static int segments, turn_sends; /* of one send, of one turn */
static uint8_t *sending[TURN_SENDS];
static uint8_t segment_control[TURN_SENDS][CMSG_SPACE(sizeof(uint16_t))];

static void prepare_sends(void) {
  segments = SEND_BYTES / (int)payload;
  if (segments > SEND_SEGMENTS) segments = SEND_SEGMENTS;
  /* A kernel lets the streams take turns of one send, however much a program hands over. */
  turn_sends = streams_count == 1 ? TURN_SENDS : 1;
  for (int i = 0; i < TURN_SENDS; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    uint16_t size = (uint16_t)payload;
    sending[i] = allocate((size_t)segments, payload);
    parts[i].iov_base = sending[i];
    *message = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    if (segments == 1) continue;
    message->msg_control = segment_control[i];
    message->msg_controllen = sizeof segment_control[i];
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    control->cmsg_level = SOL_UDP;
    control->cmsg_type = UDP_SEGMENT;
    control->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(control), &size, sizeof size);
  }
}

/* Sends what the window has room for, at most a turn: how many frames. */
static int send_turn(struct stream *stream) {
  uint32_t data = (uint32_t)payload - HEAD_BYTES;
  int frames = (int)((stream->edge - stream->moved) / data), sends = 0, left;
  if (frames > (int)(TURN_BYTES / data)) frames = (int)(TURN_BYTES / data);
  for (left = frames; left > 0 && sends < turn_sends; sends++) {
    int here = left < segments ? left : segments;
    for (int i = 0; i < here; i++, stream->moved += data) {
      head(sending[sends] + (size_t)i * payload, DATA, stream->moved);
    }
    parts[sends].iov_len = (size_t)here * payload;
    left -= here;
  }
  if (sends > 0) send_all(stream->fd, messages, sends);
  return frames - left;
}

/* Takes all windows that have come: the last one counts. */
static void learn(struct stream *stream) {
  static uint8_t heads[BATCH][HEAD_BYTES];
  static struct iovec head_parts[BATCH];
  static struct mmsghdr them[BATCH];
  if (head_parts[0].iov_base == NULL) prepare(them, head_parts, heads[0], BATCH, HEAD_BYTES);
  int n = recvmmsg(stream->fd, them, BATCH, MSG_DONTWAIT, NULL);
  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) fail("recvmmsg");
  for (int i = 0; i < n; i++) {
    if (kind_of(heads[i]) != ACK) lost("a stream ended");
    stream->edge = get32(heads[i] + COUNT_AT);
  }
}

static void push(void) {
  prepare_sends();
  for (;;) {
    struct epoll_event events[EVENTS];
    int frames = 0;
    for (int i = 0; i < streams_count; i++) frames += send_turn(&streams[i]);
    int ready = epoll_wait(poller, events, EVENTS, frames > 0 ? 0 : -1);
    for (int i = 0; i < ready; i++) learn(&streams[events[i].data.u32]);
  }
}

/* ---- Exchanges --------------------------------------------------------------------------- */

static int begin_stream(void) {
  int fd = open_socket(0);
  ignore_acks(fd);
  tell(fd, OPEN, 1, SYN_BYTES);
  await(fd, OPEN);
  tell(fd, ACK, 0, HEAD_BYTES);
  return fd;
}

static void take_turn(int fd, uint32_t turn) {
  tell(fd, DATA, turn, HEAD_BYTES + 1);
  if (await(fd, DATA) != turn) lost("an answer is missing");
}

static void rr(void) {
  int fd = begin_stream();
  say_ready();
  for (uint32_t turn = 0;; turn++) {
    int64_t from_ns = now_ns();
    take_turn(fd, turn);
    keep_duration(now_ns() - from_ns);
    add(&units, 1);
  }
}

/* Finished streams that the host's end is not known of. */
static int lingering[LINGERING], lingering_count;

static void linger(int fd) {
  int keep = 0;
  for (int i = 0; i < lingering_count; i++) {
    uint8_t datagram[HEAD_BYTES];
    int wait = lingering_count - i == LINGERING; /* no more of them: it has to come */
    if (recv(lingering[i], datagram, sizeof datagram, wait ? 0 : MSG_DONTWAIT) < 0) {
      if (wait || errno != EAGAIN) fail("no end");
      lingering[keep++] = lingering[i];
      continue;
    }
    if (kind_of(datagram) != FINISH) lost("a frame is missing before the end");
    tell(lingering[i], ACK, 0, HEAD_BYTES);
    close(lingering[i]);
  }
  lingering_count = keep;
  lingering[lingering_count++] = fd;
}

static void crr(void) {
  say_ready();
  for (;;) {
    int64_t from_ns = now_ns();
    int fd = begin_stream();
    take_turn(fd, 0);
    tell(fd, ACK, 0, HEAD_BYTES);
    tell(fd, FINISH, 0, HEAD_BYTES);
    keep_duration(now_ns() - from_ns);
    add(&units, 1);
    linger(fd);
  }
}

/* ---- Beginning and end ------------------------------------------------------------------- */

/* A process that outlives this one for as long as it takes to tell its end. */
static void leave_a_witness(void) {
  int ends[2];
  uint8_t octet;
  if (pipe(ends) < 0) fail("pipe");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child > 0) {
    close(ends[0]);
    return;
  }
  close(ends[1]);
  close(STDIN_FILENO);
  while (read(ends[0], &octet, 1) > 0) continue;
  tell(open_socket(0), END, 0, HEAD_BYTES);
  _exit(0);
}

int main(int count, char **words) {
  const char *role = count > 1 ? words[1] : "";
  int is_bulk = count == 5 && (!strcmp(role, "pull") || !strcmp(role, "push"));
  if (!is_bulk && !(count == 4 && (!strcmp(role, "rr") || !strcmp(role, "crr")))) {
    return fprintf(stderr, "usage: see the head of floor_guest.c\n"), 2;
  }
  host = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[count - 1]))};
  if (inet_pton(AF_INET, words[count - 2], &host.sin_addr) != 1) lost("HOST is no address");
  owner = (uint32_t)getpid();
  leave_a_witness();
  int mtu, fd = open_socket(0);
  socklen_t size = sizeof mtu;
  if (getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size) < 0) fail("IP_MTU");
  close(fd);
  payload = (size_t)mtu - IP_UDP_BYTES;
  begin();
  pthread_t obeying;
  if (pthread_create(&obeying, NULL, obey, NULL) != 0) fail("thread");
  if (!is_bulk) !strcmp(role, "rr") ? rr() : crr();
  streams_count = atoi(words[2]);
  if (streams_count < 1) lost("STREAMS is a number above 0");
  open_streams();
  say_ready();
  !strcmp(role, "pull") ? pull() : push();
}
