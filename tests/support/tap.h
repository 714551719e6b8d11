/*
 * What the C programs of tests and benches share: the way into a namespace, and its tap device.
 * The program that includes it says with `fail` what went wrong, and ends there.
 */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void fail(const char *what);

/* Enters the namespace for good: an open socket stays in the one where it was made. */
static inline void enter(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  if (handle < 0 || setns(handle, CLONE_NEWNET) < 0) fail(path);
  close(handle);
}

/* Opens a tap device of the namespace that the program is in, with more flags than the usual ones. */
static inline int open_tap_with(const char *name, int flags) {
  int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tap < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(tap, TUNSETIFF, &request) < 0) fail(name);
  return tap;
}

static inline int open_tap(const char *name) { return open_tap_with(name, 0); }
