/*
 * The client's side of a load; each command prints lines of JSON.
 *
 *   load_client hold FLOWS PORT COUNT HOST                  TCP flows that stay open
 *   load_client hold-udp FLOWS PORT HOST                    UDP flows that stay open
 *   load_client storm RATE SECONDS WINDOW ECHO PORT COUNT HOST...
 *                            connects at RATE a second, at most WINDOW at once; ECHO 1: one octet
 *                            each way before the close
 *   load_client holes COUNT SPREAD PORT HOST                connects that nobody answers, to HOST or
 *                            with SPREAD 1 to COUNT addresses from HOST on
 *   load_client bulk STREAMS SECONDS PORT HOST              downloads, bytes of each stream
 *   load_client upload STREAMS SECONDS PORT HOST            uploads
 *   load_client rr SECONDS PORT HOST                        one octet there and back, in turn
 *   load_client dns RATE SECONDS HOST                       questions for gateway.internal
 *
 * Held flows obey words on standard input: "more N", "echo" (an octet on each flow) and "close";
 * its end ends them too. The other commands end by themselves. A connect is timed from when it was
 * due, or from its start where the window was full.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define FLOWS_MAX 65536
#define HOSTS_MAX 8
#define ERRORS_MAX 256
#define OPENING_AT_ONCE 128
#define LATE_MS 40000
#define HOLES_LATE_MS 100000
#define UDP_TRIES 4
#define UDP_TRY_MS 1500
#define UDP_PAUSE_MS 16 /* after 64 of them: four thousand new flows a second */
#define BUFFER_BYTES (256 * 1024)

enum state { FREE, CONNECTING, OPEN, ASKED, DONE };

struct flow {
  int64_t due_ns;
  enum state state;
};

/* Durations of one kind, in nanoseconds. */
struct times {
  int64_t *ns;
  size_t count, room;
};

static struct flow flows[FLOWS_MAX]; /* by descriptor */
static struct sockaddr_storage hosts[HOSTS_MAX];
static int host_count, poller;
static long errors[ERRORS_MAX];
static uint8_t buffer[BUFFER_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "load_client: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void keep(struct times *times, int64_t ns) {
  if (times->count == times->room) {
    times->room = times->room == 0 ? 4096 : times->room * 2;
    times->ns = realloc(times->ns, times->room * sizeof *times->ns);
    if (times->ns == NULL) fail("memory");
  }
  times->ns[times->count++] = ns;
}

static int by_size(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* `"p50Ms":…,"p99Ms":…,"maxMs":…` */
static void print_times(struct times *times) {
  size_t n = times->count;
  if (n > 1) qsort(times->ns, n, sizeof *times->ns, by_size);
  double p50 = n == 0 ? 0 : times->ns[n / 2] / 1e6;
  double p99 = n == 0 ? 0 : times->ns[n * 99 / 100] / 1e6;
  double max = n == 0 ? 0 : times->ns[n - 1] / 1e6;
  printf("\"p50Ms\":%.3f,\"p99Ms\":%.3f,\"maxMs\":%.3f", p50, p99, max);
}

static void count_error(int error) {
  errors[error > 0 && error < ERRORS_MAX ? error : 0]++;
}

/* `"errors":{"ETIMEDOUT":3}`; an end without an error is "closed". */
static void print_errors(void) {
  const char *comma = "";
  printf("\"errors\":{");
  for (int i = 0; i < ERRORS_MAX; i++) {
    if (errors[i] == 0) continue;
    const char *name = i == 0 ? "closed" : strerrorname_np(i);
    printf("%s\"%s\":%ld", comma, name == NULL ? "unknown" : name, errors[i]);
    comma = ",";
  }
  printf("}");
}

static void add_host(const char *text) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)&hosts[host_count];
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&hosts[host_count];
  if (host_count == HOSTS_MAX) exit(2);
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
  } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
  } else {
    fprintf(stderr, "load_client: %s is no address\n", text);
    exit(2);
  }
  host_count++;
}

static socklen_t size_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void set_port(struct sockaddr_storage *address, int port) {
  if (address->ss_family == AF_INET) {
    ((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
  } else {
    ((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
  }
}

static void watch(int fd, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, how, fd, &event) < 0) fail("epoll_ctl");
}

/* Starts a connect; returns the descriptor, or -1 with the error counted. */
static int start(struct sockaddr_storage address, int port, int type, int64_t due_ns) {
  int one = 1, fd = socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || fd >= FLOWS_MAX) fail("socket");
  if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  set_port(&address, port);
  if (connect(fd, (struct sockaddr *)&address, size_of(&address)) < 0 && errno != EINPROGRESS) {
    count_error(errno);
    close(fd);
    return -1;
  }
  flows[fd].due_ns = due_ns;
  flows[fd].state = CONNECTING;
  watch(fd, EPOLL_CTL_ADD, type == SOCK_STREAM ? EPOLLOUT : EPOLLIN);
  return fd;
}

static int connect_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

static void end(int fd) {
  flows[fd].state = FREE;
  close(fd);
}

/* Opens flows to the first host, over COUNT ports, and waits until each is open or has failed. */
static void open_held(int wanted, int port, int count) {
  int64_t from_ns = now_ns();
  int asked = 0, pending = 0, opened = 0;
  while (asked < wanted || pending > 0) {
    while (asked < wanted && pending < OPENING_AT_ONCE) {
      if (start(hosts[0], port + asked++ % count, SOCK_STREAM, now_ns()) >= 0) pending++;
    }
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, LATE_MS);
    if (ready <= 0) break;
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd, error;
      if (flows[fd].state == OPEN) { /* a flow that is held has ended */
        end(fd);
        count_error(0);
        continue;
      }
      pending--;
      if ((error = connect_error(fd)) != 0) {
        count_error(error);
        end(fd);
        continue;
      }
      flows[fd].state = OPEN;
      watch(fd, EPOLL_CTL_MOD, EPOLLIN);
      opened++;
    }
  }
  printf("{\"opened\":%d,\"seconds\":%.2f,", opened, (now_ns() - from_ns) / 1e9);
  print_errors();
  printf("}\n");
  fflush(stdout);
}

/* An octet on each flow, and waits for all of them. */
static void echo_held(void) {
  int asked = 0, answered = 0;
  int64_t from_ns = now_ns();
  for (int fd = 0; fd < FLOWS_MAX; fd++) {
    if (flows[fd].state != OPEN || send(fd, "x", 1, MSG_NOSIGNAL) != 1) continue;
    flows[fd].state = ASKED;
    asked++;
  }
  while (answered < asked && now_ns() - from_ns < LATE_MS * 1000000LL) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 1000);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      char octet = 0;
      ssize_t got = recv(fd, &octet, 1, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got != 1 || octet != 'x' || flows[fd].state != ASKED) {
        count_error(got < 0 ? errno : 0);
        if (flows[fd].state == ASKED) asked--;
        end(fd);
        continue;
      }
      flows[fd].state = OPEN;
      answered++;
    }
  }
  printf("{\"echoed\":%d,\"seconds\":%.2f,", answered, (now_ns() - from_ns) / 1e9);
  print_errors();
  printf("}\n");
  fflush(stdout);
}

/* More UDP flows, a datagram on each of them, again where none came back. */
static void open_datagrams(int wanted, int port) {
  for (int i = 0; i < wanted; i++) start(hosts[0], port, SOCK_DGRAM, 0);
  int asked = 0, answered = 0, again = 0;
  for (int attempt = 0; attempt < UDP_TRIES; attempt++) {
    asked = 0;
    for (int fd = 0; fd < FLOWS_MAX; fd++) {
      if (flows[fd].state != CONNECTING && flows[fd].state != ASKED) continue;
      again += attempt > 0;
      flows[fd].state = ASKED;
      uint32_t word = (uint32_t)fd;
      send(fd, &word, sizeof word, 0);
      if (++asked % 64 == 0) poll(NULL, 0, UDP_PAUSE_MS);
    }
    if (asked == 0) break;
    int64_t until_ns = now_ns() + UDP_TRY_MS * 1000000LL;
    for (int left = asked; left > 0 && now_ns() < until_ns;) {
      struct epoll_event events[EVENTS];
      int ready = epoll_wait(poller, events, EVENTS, 100);
      for (int i = 0; i < ready; i++) {
        int fd = events[i].data.fd;
        uint32_t word = 0;
        ssize_t got = recv(fd, &word, sizeof word, 0);
        if (got < 0 && errno != EAGAIN) count_error(errno);
        if (got != sizeof word || word != (uint32_t)fd || flows[fd].state != ASKED) continue;
        flows[fd].state = DONE;
        answered++;
        left--;
      }
    }
  }
  printf("{\"answered\":%d,\"again\":%d,", answered, again);
  print_errors();
  printf("}\n");
  fflush(stdout);
}

/* Obeys the owner until it is gone. */
static void obey(int port, int count, int datagrams) {
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int more = strncmp(line, "more ", 5) == 0 ? atoi(line + 5) : 0;
    if (more > 0 && datagrams) open_datagrams(more, port);
    if (more > 0 && !datagrams) open_held(more, port, count);
    if (strcmp(line, "echo\n") == 0) echo_held();
    if (strcmp(line, "close\n") == 0) return;
  }
}

struct storm {
  struct times connects;
  long started, served, in_flight;
  int echo;
};

static void storm_event(struct storm *storm, int fd) {
  struct flow *flow = &flows[fd];
  if (flow->state == CONNECTING) {
    int error = connect_error(fd);
    if (error != 0) {
      count_error(error);
      goto over;
    }
    keep(&storm->connects, now_ns() - flow->due_ns);
    if (!storm->echo) {
      storm->served++;
      goto over;
    }
    flow->state = ASKED;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    if (send(fd, "x", 1, MSG_NOSIGNAL) == 1) return;
    count_error(errno);
    goto over;
  }
  char octet = 0;
  ssize_t got = recv(fd, &octet, 1, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got == 1 && octet == 'x') {
    storm->served++;
  } else {
    count_error(got < 0 ? errno : 0);
  }
over:
  storm->in_flight--;
  end(fd);
}

static void run_storm(int rate, int seconds, int window, int echo, int port, int count) {
  struct storm storm = {.echo = echo};
  int64_t from_ns = now_ns(), step_ns = 1000000000LL / rate, due_ns = from_ns;
  int64_t until_ns = from_ns + seconds * 1000000000LL, busy_ns = from_ns;
  while (storm.in_flight > 0 || now_ns() < until_ns) {
    int64_t now = now_ns();
    if (now > until_ns + LATE_MS * 1000000LL) break;
    while (due_ns <= now && due_ns < until_ns && storm.in_flight < window) {
      long turn = storm.started++;
      int to = port + (int)(turn / host_count % count);
      if (start(hosts[turn % host_count], to, SOCK_STREAM, due_ns) >= 0) storm.in_flight++;
      due_ns += step_ns;
    }
    if (storm.in_flight >= window && due_ns < now) due_ns = now;
    int64_t wait_ns = due_ns < until_ns ? due_ns - now : 100000000LL;
    if (wait_ns < 0 || storm.in_flight >= window) wait_ns = 1000000;
    struct timespec wait = {wait_ns / 1000000000LL, wait_ns % 1000000000LL};
    struct epoll_event events[EVENTS];
    int ready = epoll_pwait2(poller, events, EVENTS, &wait, NULL);
    for (int i = 0; i < ready; i++) storm_event(&storm, events[i].data.fd);
    if (ready > 0) busy_ns = now_ns();
  }
  double took = (busy_ns - from_ns) / 1e9;
  printf("{\"offered\":%ld,\"started\":%ld,\"served\":%ld,\"late\":%ld,\"seconds\":%.2f,",
         (long)rate * seconds, storm.started, storm.served, storm.in_flight, took);
  print_times(&storm.connects);
  printf(",");
  print_errors();
  printf("}\n");
}

static void run_holes(int count, int spread, int port) {
  struct times ends = {0};
  int64_t from_ns = now_ns();
  long pending = 0, opened = 0;
  for (int i = 0; i < count; i++) {
    struct sockaddr_storage address = hosts[0];
    struct in_addr *at = &((struct sockaddr_in *)&address)->sin_addr;
    if (spread) at->s_addr = htonl(ntohl(at->s_addr) + (uint32_t)i);
    if (start(address, port, SOCK_STREAM, now_ns()) >= 0) pending++;
  }
  puts("{\"asked\":true}");
  fflush(stdout);
  while (pending > 0 && now_ns() - from_ns < HOLES_LATE_MS * 1000000LL) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 1000);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd, error = connect_error(fd);
      if (error == 0) opened++;
      else count_error(error);
      keep(&ends, now_ns() - flows[fd].due_ns);
      pending--;
      end(fd);
    }
  }
  printf("{\"opened\":%ld,\"pending\":%ld,", opened, pending);
  print_times(&ends);
  printf(",");
  print_errors();
  printf("}\n");
}

static void run_bulk(int streams, int seconds, int port, int upload) {
  int64_t *bytes = calloc(FLOWS_MAX, sizeof *bytes);
  int *fds = calloc((size_t)streams, sizeof *fds);
  if (bytes == NULL || fds == NULL) fail("memory");
  for (int i = 0; i < streams; i++) {
    if ((fds[i] = start(hosts[0], port, SOCK_STREAM, now_ns())) < 0) exit(1);
    watch(fds[i], EPOLL_CTL_MOD, upload ? EPOLLOUT : EPOLLIN);
  }
  int64_t from_ns = now_ns(), until_ns = from_ns + seconds * 1000000000LL;
  while (now_ns() < until_ns) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      ssize_t moved = upload ? send(fd, buffer, sizeof buffer, MSG_NOSIGNAL)
                             : recv(fd, buffer, sizeof buffer, 0);
      if (moved < 0 && errno == EAGAIN) continue;
      if (moved <= 0) fail("a bulk stream ended");
      bytes[fd] += moved;
    }
  }
  printf("{\"seconds\":%.3f,\"bytes\":[", (now_ns() - from_ns) / 1e9);
  for (int i = 0; i < streams; i++) printf("%s%lld", i ? "," : "", (long long)bytes[fds[i]]);
  printf("]}\n");
}

static void run_rr(int seconds, int port) {
  struct times turns = {0};
  int fd = start(hosts[0], port, SOCK_STREAM, now_ns());
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  if (fd < 0 || poll(&ready, 1, LATE_MS) != 1 || connect_error(fd) != 0) fail("rr connect");
  ready.events = POLLIN;
  int64_t until_ns = now_ns() + seconds * 1000000000LL;
  for (int64_t from_ns; (from_ns = now_ns()) < until_ns;) {
    char octet;
    if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) fail("rr send");
    if (poll(&ready, 1, LATE_MS) != 1 || recv(fd, &octet, 1, 0) != 1) fail("rr receive");
    keep(&turns, now_ns() - from_ns);
  }
  printf("{\"turns\":%zu,", turns.count);
  print_times(&turns);
  printf("}\n");
}

/* Questions at a steady rate, each from a port of its own; an answer counts within a second. */
static void run_dns(int rate, int seconds) {
  static const uint8_t question[] =
      "\x12\x34\1\0\0\1\0\0\0\0\0\0\7gateway\10internal\0\0\1\0\1";
  long asked = 0, answered = 0;
  int64_t until_ns = now_ns() + seconds * 1000000000LL;
  while (now_ns() < until_ns) {
    int fd = start(hosts[0], 53, SOCK_DGRAM, 0);
    if (fd < 0) fail("dns");
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    asked += send(fd, question, sizeof question - 1, 0) > 0;
    if (poll(&ready, 1, 1000) == 1) {
      ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      /* An answer to us, without an error, that answers at least once. */
      answered += got > 12 && buffer[1] == 0x34 && (buffer[3] & 15) == 0 && buffer[7] > 0;
    }
    end(fd);
    poll(NULL, 0, 1000 / rate);
  }
  printf("{\"asked\":%ld,\"answered\":%ld}\n", asked, answered);
}

static int usage(void) {
  fprintf(stderr, "usage: see the head of load_client.c\n");
  return 2;
}

int main(int count, char **words) {
  const char *command = count > 1 ? words[1] : "";
  int n[6] = {0}, numbers = 0;
  while (numbers < 6 && numbers + 2 < count && strpbrk(words[numbers + 2], ".:") == NULL) {
    n[numbers] = atoi(words[numbers + 2]);
    numbers++;
  }
  for (int i = numbers + 2; i < count; i++) add_host(words[i]);
  if (host_count == 0) return usage();
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) fail("epoll_create1");
  if (strcmp(command, "hold") == 0 && numbers == 3) {
    open_held(n[0], n[1], n[2]);
    obey(n[1], n[2], 0);
  } else if (strcmp(command, "hold-udp") == 0 && numbers == 2) {
    open_datagrams(n[0], n[1]);
    obey(n[1], 1, 1);
  } else if (strcmp(command, "storm") == 0 && numbers == 6) {
    run_storm(n[0], n[1], n[2], n[3], n[4], n[5]);
  } else if (strcmp(command, "holes") == 0 && numbers == 3) {
    run_holes(n[0], n[1], n[2]);
  } else if (strcmp(command, "bulk") == 0 && numbers == 3) {
    run_bulk(n[0], n[1], n[2], 0);
  } else if (strcmp(command, "upload") == 0 && numbers == 3) {
    run_bulk(n[0], n[1], n[2], 1);
  } else if (strcmp(command, "rr") == 0 && numbers == 2) {
    run_rr(n[0], n[1]);
  } else if (strcmp(command, "dns") == 0 && numbers == 2) {
    run_dns(n[0], n[1]);
  } else {
    return usage();
  }
  return 0;
}
