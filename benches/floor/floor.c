/* floor: what a ping-pong between two processes costs at the least, one mechanism at a time.
 *
 * Two processes, forked from one, do nothing but pass a payload to and fro. ipc-client is held against it by
 * `cargo bench --bench floor`, which also builds it; by hand: cc -O2 -o floor floor.c -lrt
 *
 *   floor METHOD [--wait block|spin|adaptive] [--spin-us US] [--size BYTES] [--rounds N] [--warmup N]
 *                [--client-cpu CPU] [--server-cpu CPU] [--timing clock|tsc|none]
 *
 * METHOD     tcp, tcp-delay (no TCP_NODELAY), udp, unix, unix-dgram, unix-seqpacket, pipe, fifo, eventfd, mq;
 *            shmem: shared memory, a cache line for each direction, 128 bytes apart, and a payload of up to 48
 *            bytes in it; shmem-line: one line for both directions and such a payload; futex: the same as shmem.
 * --wait     block: in the kernel. spin: never. adaptive: spin for --spin-us, then block.
 * --timing   what is read at the end of every round, where the next begins: clock_gettime, or the bare time
 *            stamp counter (x86_64; a fence before it would be right for a measurement, and dearer). none: a
 *            batch of 1000 rounds is timed as a whole, and the quantiles are those of the batches' means.
 *
 * The payload is received into a buffer and sent from it on both sides; its first 4 bytes are the round's number,
 * which the client checks. Prints one JSON object; times are nanoseconds a round trip; CPU time and voluntary
 * context switches are the client's alone. Exit codes: 0, 1 usage, 2 the system refused, 3 the peer went away,
 * 4 a wrong pong. Nothing runs longer than two minutes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INLINE static inline __attribute__((always_inline))
#define COLD static __attribute__((cold, noinline))

enum { BATCH = 1000, LINE = 64, PAGE = 4096, MAX_INLINE = 48, LIMIT_S = 120 };
enum wait { BLOCK, SPIN, ADAPTIVE };
enum timing { CLOCK, TSC, NONE };

COLD _Noreturn void fail(const char *what) {
  perror(what);
  exit(2);
}

/* Passes a system call's result on, or ends the program. */
static long must(long result, const char *what) {
  if (result < 0)
    fail(what);
  return result;
}

/* ---- clocks ---- */

INLINE uint64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#ifdef __x86_64__
enum { HAS_TSC = true };
INLINE uint64_t tsc(void) { return __builtin_ia32_rdtsc(); }
INLINE void relax(void) { __builtin_ia32_pause(); }
#else
enum { HAS_TSC = false };
INLINE uint64_t tsc(void) { return 0; }
INLINE void relax(void) {
#ifdef __aarch64__
  __asm__ volatile("isb" ::: "memory");
#endif
}
#endif

static double tsc_per_ns(void) {
  uint64_t ns = clock_ns(), ticks = tsc();
  while (clock_ns() - ns < 20000000)
    ;
  return (double)(tsc() - ticks) / (double)(clock_ns() - ns);
}

/* ---- what one side of a channel has ---- */

/* A word that one side writes and the other waits for, and the flag by which that one says that it sleeps. */
struct turn {
  _Atomic uint32_t *word, *sleeps;
};

struct side {
  enum wait wait;
  uint64_t spin_ns;
  size_t size;
  char *buffer;
  int in, out;               /* descriptors, message queues among them */
  struct turn mine, yours; /* shared memory: waited for, written */
  char *from, *to;         /* shared memory: payloads */
  uint32_t step, awaited;  /* shared memory: round r awaits r * step + awaited */
  uint32_t published;      /* and publishes r * step + published */
};

/* A call that would have blocked: returns when it is to be made again. */
COLD void not_ready(struct side *s, int fd, short events, uint64_t *since) {
  if (errno == EINTR)
    return;
  if (errno != EAGAIN)
    fail("receiving or sending");
  if (s->wait != ADAPTIVE)
    return;
  uint64_t now = clock_ns();
  if (!*since)
    *since = now;
  else if (now - *since >= s->spin_ns) {
    struct pollfd p = {.fd = fd, .events = events};
    if (poll(&p, 1, -1) < 0 && errno != EINTR)
      fail("poll");
  }
}

/* Repeats a call until all the bytes have been moved. */
#define MOVE_ALL(side, fd, events, call)                                                                          \
  do {                                                                                                            \
    char *at = (side)->buffer;                                                                                    \
    size_t left = (side)->size;                                                                                   \
    uint64_t since = 0;                                                                                           \
    while (left) {                                                                                                \
      ssize_t n = (call);                                                                                         \
      if (n > 0) {                                                                                                \
        at += n;                                                                                                  \
        left -= (size_t)n;                                                                                        \
      } else if (n == 0)                                                                                          \
        exit(3);                                                                                                  \
      else                                                                                                        \
        not_ready(side, fd, events, &since);                                                                      \
    }                                                                                                             \
  } while (0)

INLINE void socket_receive(struct side *s, uint32_t round) {
  (void)round;
  MOVE_ALL(s, s->in, POLLIN, recv(s->in, at, left, 0));
}
INLINE void socket_send(struct side *s, uint32_t round) {
  (void)round;
  MOVE_ALL(s, s->out, POLLOUT, send(s->out, at, left, MSG_NOSIGNAL));
}
INLINE void file_receive(struct side *s, uint32_t round) {
  (void)round;
  MOVE_ALL(s, s->in, POLLIN, read(s->in, at, left));
}
INLINE void file_send(struct side *s, uint32_t round) {
  (void)round;
  MOVE_ALL(s, s->out, POLLOUT, write(s->out, at, left));
}
INLINE void queue_receive(struct side *s, uint32_t round) {
  (void)round;
  MOVE_ALL(s, s->in, POLLIN, mq_receive(s->in, at, left, NULL));
}
INLINE void queue_send(struct side *s, uint32_t round) {
  (void)round;
  /* It says 0, not how much it took. */
  MOVE_ALL(s, s->out, POLLOUT, mq_send(s->out, at, left, 0) ? -1 : (ssize_t)left);
}

INLINE long futex(_Atomic uint32_t *word, int operation, uint32_t value) {
  return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

INLINE uint32_t look(struct turn turn) { return atomic_load_explicit(turn.word, memory_order_acquire); }

/* Copies a payload; a constant size is a load and a store. */
INLINE void copy(char *to, const char *from, size_t size) {
  if (size == 8)
    memcpy(to, from, 8);
  else
    memcpy(to, from, size);
}

INLINE void memory_receive(struct side *s, uint32_t round, enum wait wait) {
  struct turn turn = s->mine;
  uint32_t value = round * s->step + s->awaited, seen;
  if (wait == SPIN) {
    while (look(turn) != value)
      relax();
  } else if (wait == BLOCK) {
    while ((seen = look(turn)) != value)
      futex(turn.word, FUTEX_WAIT, seen);
  } else {
    bool there = false;
    uint64_t since = 0, now;
    while (!there) {
      for (int i = 0; i < 64 && !(there = look(turn) == value); i++)
        relax();
      if (there)
        break;
      now = clock_ns();
      since = since ? since : now;
      if (now - since >= s->spin_ns)
        break;
    }
    while (!there) {
      atomic_store(turn.sleeps, 1);
      seen = atomic_load(turn.word);
      there = seen == value;
      if (there)
        atomic_store(turn.sleeps, 0);
      else
        futex(turn.word, FUTEX_WAIT, seen);
    }
  }
  copy(s->buffer, s->from, s->size);
}

INLINE void memory_send(struct side *s, uint32_t round, enum wait wait) {
  struct turn turn = s->yours;
  uint32_t value = round * s->step + s->published;
  copy(s->to, s->buffer, s->size);
  if (wait == SPIN) {
    atomic_store_explicit(turn.word, value, memory_order_release);
    return;
  }
  atomic_store(turn.word, value);
  if (wait == BLOCK)
    futex(turn.word, FUTEX_WAKE, 1);
  else if (atomic_load(turn.sleeps)) {
    atomic_store(turn.sleeps, 0);
    futex(turn.word, FUTEX_WAKE, 1);
  }
}

INLINE void memory_receive_spin(struct side *s, uint32_t round) { memory_receive(s, round, SPIN); }
INLINE void memory_receive_block(struct side *s, uint32_t round) { memory_receive(s, round, BLOCK); }
INLINE void memory_receive_adaptive(struct side *s, uint32_t round) { memory_receive(s, round, ADAPTIVE); }
INLINE void memory_send_spin(struct side *s, uint32_t round) { memory_send(s, round, SPIN); }
INLINE void memory_send_block(struct side *s, uint32_t round) { memory_send(s, round, BLOCK); }
INLINE void memory_send_adaptive(struct side *s, uint32_t round) { memory_send(s, round, ADAPTIVE); }

/* ---- the loops, compiled once for each mechanism ---- */

typedef void step(struct side *, uint32_t round);

INLINE void echo(struct side *side, uint32_t rounds, step *receive, step *send) {
  struct side s = *side; /* a copy of its own: what is shared cannot change it */
  for (uint32_t round = 1; round <= rounds; round++) {
    receive(&s, round);
    send(&s, round);
  }
}

COLD _Noreturn void wrong_pong(uint32_t round) {
  fprintf(stderr, "the pong of round %u is another's\n", round);
  exit(4);
}

INLINE void ask_timed(struct side *side, uint32_t first, uint32_t count, uint64_t *ticks, step *receive, step *send,
                      enum timing timing) {
  struct side s = *side;
  uint64_t last = timing == TSC ? tsc() : clock_ns();
  for (uint32_t k = 0; k < count; k++) {
    uint32_t round = first + k, stamp;
    memcpy(s.buffer, &round, sizeof round);
    send(&s, round);
    receive(&s, round);
    memcpy(&stamp, s.buffer, sizeof stamp);
    if (stamp != round)
      wrong_pong(round);
    if (timing != NONE) {
      uint64_t now = timing == TSC ? tsc() : clock_ns();
      ticks[k] = now - last;
      last = now;
    }
  }
  if (timing == NONE)
    ticks[0] = (clock_ns() - last) / count;
}

INLINE void ask(struct side *s, uint32_t first, uint32_t count, uint64_t *ticks, enum timing timing,
                step *receive, step *send) {
  if (timing == CLOCK)
    ask_timed(s, first, count, ticks, receive, send, CLOCK);
  else if (timing == TSC)
    ask_timed(s, first, count, ticks, receive, send, TSC);
  else
    ask_timed(s, first, count, ticks, receive, send, NONE);
}

struct loops {
  void (*echo)(struct side *, uint32_t rounds);
  void (*ask)(struct side *, uint32_t first, uint32_t count, uint64_t *ticks, enum timing);
};

#define LOOPS(name, receive, send)                                                                                \
  static void name##_echo(struct side *s, uint32_t rounds) { echo(s, rounds, receive, send); }                    \
  static void name##_ask(struct side *s, uint32_t first, uint32_t count, uint64_t *ticks, enum timing timing) {   \
    ask(s, first, count, ticks, timing, receive, send);                                                           \
  }                                                                                                               \
  static const struct loops name##_loops = {name##_echo, name##_ask}

LOOPS(socket, socket_receive, socket_send);
LOOPS(file, file_receive, file_send);
LOOPS(queue, queue_receive, queue_send);
LOOPS(spin, memory_receive_spin, memory_send_spin);
LOOPS(block, memory_receive_block, memory_send_block);
LOOPS(adaptive, memory_receive_adaptive, memory_send_adaptive);

/* ---- making a channel: both sides, before the fork ---- */

/* A descriptor whose calls do not block, unless waiting in the call is what is asked for. */
static void set_wait(int fd, enum wait wait) {
  if (wait != BLOCK)
    must(fcntl(fd, F_SETFL, must(fcntl(fd, F_GETFL), "F_GETFL") | O_NONBLOCK), "F_SETFL");
}

static int loopback(int type, struct sockaddr_in *address) {
  socklen_t length = sizeof *address;
  int fd = (int)must(socket(AF_INET, type, 0), "socket");
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  must(bind(fd, (struct sockaddr *)address, length), "bind");
  must(getsockname(fd, (struct sockaddr *)address, &length), "getsockname");
  return fd;
}

static void dial(int fd, struct sockaddr_in *to) {
  must(connect(fd, (struct sockaddr *)to, sizeof *to), "connect");
}

static void make_tcp(int *client, int *server, int nodelay) {
  struct sockaddr_in address, unused;
  int listener = loopback(SOCK_STREAM, &address);
  must(listen(listener, 1), "listen");
  *client = loopback(SOCK_STREAM, &unused);
  dial(*client, &address);
  *server = (int)must(accept(listener, NULL, NULL), "accept");
  close(listener);
  must(setsockopt(*client, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof nodelay), "TCP_NODELAY");
  must(setsockopt(*server, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof nodelay), "TCP_NODELAY");
}

static void make_udp(int *client, int *server) {
  struct sockaddr_in a, b;
  *client = loopback(SOCK_DGRAM, &a);
  *server = loopback(SOCK_DGRAM, &b);
  dial(*client, &b);
  dial(*server, &a);
}

static int make_fifo(int number) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/ipcd-floor.%d.%d", getpid(), number);
  must(mkfifo(path, 0600), "mkfifo");
  int fd = (int)must(open(path, O_RDWR), "opening a FIFO");
  unlink(path);
  return fd;
}

static int make_queue(int number, size_t size) {
  char name[64];
  struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = (long)size};
  snprintf(name, sizeof name, "/ipcd-floor.%d.%d", getpid(), number);
  int fd = (int)must(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes), "mq_open");
  mq_unlink(name);
  return fd;
}

static void make_memory(struct side *client, struct side *server, bool one_line) {
  size_t payload = (client->size + PAGE - 1) / PAGE * PAGE, length = PAGE + 2 * payload;
  char *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    fail("mmap");
  memset(base, 0, length);
  _Atomic uint32_t *ping = (_Atomic uint32_t *)base, *pong = one_line ? ping : ping + 2 * LINE / sizeof *ping;
  /* A flag for each side, also where they share the word: a side that takes its own back must not take the other's. */
  client->yours = server->mine = (struct turn){.word = ping, .sleeps = ping + 1};
  client->mine = server->yours = (struct turn){.word = pong, .sleeps = pong + 2};
  bool beside = client->size <= MAX_INLINE;
  client->to = server->from = beside ? (char *)ping + LINE - MAX_INLINE : base + PAGE;
  client->from = server->to = beside ? (char *)pong + LINE - MAX_INLINE : base + PAGE + payload;
  client->step = server->step = 1;
  if (one_line) {
    /* Odd for a ping, even for a pong. */
    client->step = server->step = 2;
    client->published = server->awaited = UINT32_MAX;
  }
}

static const struct loops *make(const char *method, struct side *client, struct side *server) {
  enum wait wait = client->wait;
  int a[2], b[2];
  const struct loops *loops = &file_loops;
  bool one_line = !strcmp(method, "shmem-line");
  if (one_line || !strcmp(method, "shmem") || !strcmp(method, "futex")) {
    make_memory(client, server, one_line);
    return wait == SPIN ? &spin_loops : wait == BLOCK ? &block_loops : &adaptive_loops;
  }
  if (!strcmp(method, "pipe")) {
    must(pipe(a), "pipe");
    must(pipe(b), "pipe");
    client->out = a[1], server->in = a[0];
    server->out = b[1], client->in = b[0];
  } else if (!strcmp(method, "fifo")) {
    client->out = server->in = make_fifo(0);
    server->out = client->in = make_fifo(1);
  } else if (!strcmp(method, "eventfd")) {
    /* The counter is the payload: it is read, and thereby set back, before the next is added. */
    client->size = server->size = 8;
    client->out = server->in = (int)must(eventfd(0, 0), "eventfd");
    server->out = client->in = (int)must(eventfd(0, 0), "eventfd");
    memset(client->buffer, 0, 8);
  } else if (!strcmp(method, "mq")) {
    client->out = server->in = make_queue(0, client->size);
    server->out = client->in = make_queue(1, client->size);
    loops = &queue_loops;
  } else {
    loops = &socket_loops;
    if (!strcmp(method, "tcp") || !strcmp(method, "tcp-delay"))
      make_tcp(&a[0], &a[1], !method[3]);
    else if (!strcmp(method, "udp"))
      make_udp(&a[0], &a[1]);
    else if (!strcmp(method, "unix"))
      must(socketpair(AF_UNIX, SOCK_STREAM, 0, a), "socketpair");
    else if (!strcmp(method, "unix-dgram"))
      must(socketpair(AF_UNIX, SOCK_DGRAM, 0, a), "socketpair");
    else if (!strcmp(method, "unix-seqpacket"))
      must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, a), "socketpair");
    else
      return NULL;
    client->in = client->out = a[0];
    server->in = server->out = a[1];
  }
  set_wait(client->in, wait);
  set_wait(client->out, wait);
  set_wait(server->in, wait);
  set_wait(server->out, wait);
  return loops;
}

/* ---- the program ---- */

static void pin(int cpu) {
  if (cpu < 0)
    return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  must(sched_setaffinity(0, sizeof set, &set), "pinning");
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static double cpu_ns(const struct rusage *u) {
  return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e9 +
         (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1e3;
}

COLD _Noreturn void usage(const char *problem) {
  fprintf(stderr, "floor: %s; see the top of floor.c\n", problem);
  exit(1);
}

static int one_of(const char *word, const char *const *words, const char *problem) {
  for (int i = 0; words[i]; i++)
    if (!strcmp(word, words[i]))
      return i;
  usage(problem);
}

static long number(const char *word, long least, const char *problem) {
  char *end;
  long value = strtol(word, &end, 10);
  if (end == word || *end || value < least || value > 1000000000)
    usage(problem);
  return value;
}

static const char *const WAITS[] = {"block", "spin", "adaptive", NULL};
static const char *const TIMINGS[] = {"clock", "tsc", "none", NULL};

int main(int argc, char **argv) {
  static const struct option OPTIONS[] = {
      {"wait", required_argument, NULL, 'w'},       {"spin-us", required_argument, NULL, 'u'},
      {"size", required_argument, NULL, 's'},       {"rounds", required_argument, NULL, 'n'},
      {"warmup", required_argument, NULL, 'm'},     {"client-cpu", required_argument, NULL, 'c'},
      {"server-cpu", required_argument, NULL, 'r'}, {"timing", required_argument, NULL, 't'},
      {NULL, 0, NULL, 0}};
  long rounds = 100000, warmup = 5000;
  int client_cpu = -1, server_cpu = -1, option;
  enum timing timing = CLOCK;
  struct side client = {.wait = BLOCK, .spin_ns = 50000, .size = 8};
  while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
    switch (option) {
    case 'w': client.wait = (enum wait)one_of(optarg, WAITS, "--wait is block, spin or adaptive"); break;
    case 'u': client.spin_ns = (uint64_t)number(optarg, 0, "--spin-us is a number") * 1000; break;
    case 's': client.size = (size_t)number(optarg, 4, "--size is a number, at least 4"); break;
    case 'n': rounds = number(optarg, 1, "--rounds is a number, at least 1"); break;
    case 'm': warmup = number(optarg, 0, "--warmup is a number"); break;
    case 'c': client_cpu = (int)number(optarg, 0, "--client-cpu is a number"); break;
    case 'r': server_cpu = (int)number(optarg, 0, "--server-cpu is a number"); break;
    case 't': timing = (enum timing)one_of(optarg, TIMINGS, "--timing is clock, tsc or none"); break;
    default: usage("an unknown option");
    }
  if (optind + 1 != argc)
    usage("one METHOD is needed");
  if (timing == TSC && !HAS_TSC)
    usage("no time stamp counter here");
  const char *method = argv[optind];
  if (!strcmp(method, "shmem-line") && client.size > MAX_INLINE)
    usage("shmem-line carries at most 48 bytes");

  size_t room = (client.size + PAGE - 1) / PAGE * PAGE;
  client.buffer = aligned_alloc(PAGE, room);
  if (!client.buffer)
    fail("memory");
  memset(client.buffer, 'x', room);
  struct side server = client;
  const struct loops *loops = make(method, &client, &server);
  if (!loops)
    usage("an unknown METHOD");

  pid_t parent = getpid(), child = fork();
  must(child, "fork");
  alarm(LIMIT_S);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
      _exit(3);
    pin(server_cpu);
    loops->echo(&server, (uint32_t)(warmup + rounds));
    _exit(0);
  }
  pin(client_cpu);
  /* Neither side holds the other's end, so that it sees it go. */
  if (server.in != client.out && server.in > 0)
    close(server.in);
  if (server.out != client.in && server.out != server.in && server.out > 0)
    close(server.out);
  double scale = timing == TSC ? tsc_per_ns() : 1;
  long samples = timing == NONE ? (rounds + BATCH - 1) / BATCH : rounds;
  uint64_t *ticks = malloc((size_t)(samples > warmup ? samples : warmup + 1) * sizeof *ticks);
  if (!ticks)
    fail("memory");
  memset(ticks, 1, (size_t)(samples > warmup ? samples : warmup + 1) * sizeof *ticks);
  if (warmup)
    loops->ask(&client, 1, (uint32_t)warmup, ticks, timing);

  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  uint64_t start = clock_ns();
  if (timing == NONE)
    for (long done = 0, k = 0; done < rounds; done += BATCH, k++) {
      long count = rounds - done < BATCH ? rounds - done : BATCH;
      loops->ask(&client, (uint32_t)(warmup + done + 1), (uint32_t)count, ticks + k, timing);
    }
  else
    loops->ask(&client, (uint32_t)(warmup + 1), (uint32_t)rounds, ticks, timing);
  uint64_t elapsed = clock_ns() - start;
  getrusage(RUSAGE_SELF, &after);

  int status;
  must(waitpid(child, &status, 0), "waitpid");
  qsort(ticks, (size_t)samples, sizeof *ticks, by_value);
  double quantiles[] = {0, .5, .9, .99, .999, 1}, ns[6];
  for (int i = 0; i < 6; i++)
    ns[i] = (double)ticks[(long)((double)(samples - 1) * quantiles[i])] / scale;
  printf("{\"method\":\"%s\",\"wait\":\"%s\",\"size\":%zu,\"client_cpu\":%d,\"server_cpu\":%d,\"timing\":\"%s\","
         "\"rounds\":%ld,\"mean\":%.1f,\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p99_9\":%.1f,"
         "\"max\":%.1f,\"cpu\":%.1f,\"switches\":%.3f}\n",
         method, WAITS[client.wait], client.size, client_cpu, server_cpu, TIMINGS[timing], rounds,
         (double)elapsed / (double)rounds, ns[0], ns[1], ns[2], ns[3], ns[4], ns[5],
         (cpu_ns(&after) - cpu_ns(&before)) / (double)rounds,
         (double)(after.ru_nvcsw - before.ru_nvcsw) / (double)rounds);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 3;
}
