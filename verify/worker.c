/* worker.c: fork, a socket for turns, shared memory for questions and answers, a watchdog.
 *
 * A case travels as bytes in shared memory; one byte over the socket says whose turn it is. End of
 * file on the socket is a death; its cause is in the wait status and, for a fault, in what the
 * signal handler left in the shared memory. */
#include "verify/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "verify/cage.h"

enum { MEMORY_SLACK = 1 << 30, POLL_MS = 20, SAID_BYTES = 1 << 16, ASLEEP_SECONDS = 10 };

typedef struct shared {
    verify_case which;
    verify_options options;
    verify_report report;
    char name[64], refused[200];
    volatile sig_atomic_t fault; /* signal, 0 = none */
    char fault_at[160];
} shared;

struct worker {
    worker_open *open;
    const void *context;
    worker_job *job; /* or NULL: it serves cases */
    void *job_context, *job_result;
    double seconds;
    shared *shared;
    pid_t pid; /* 0 = not running */
    int socket, starts;
    int said; /* a file in memory: what the worker prints, so that no verdict is mixed with it */
};

/* ---- inside the worker ---------------------------------------------------------------- */

static shared *mine; /* for the signal handler */

/* Formats in a signal handler, which no standard allows: if that hangs, the watchdog ends it. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    char where[96] = "";
    cage_describe(info->si_addr, where, sizeof where);
    bool unknown = number == SIGSEGV && info->si_code == SI_KERNEL && !info->si_addr;
    if (unknown)
        snprintf(mine->fault_at, sizeof mine->fault_at,
                 ", no address: a misaligned vector access or a wild pointer");
    else if (number == SIGSEGV || number == SIGBUS)
        snprintf(mine->fault_at, sizeof mine->fault_at, " at address %p%s%s", info->si_addr,
                 where[0] ? ", " : "", where);
    mine->fault = number;
    _exit(128 + number);
}

static void catch_faults(void)
{
    static char stack[65536];
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaction(faults[f], &action, NULL);
    }
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the parent's affair */
}

/* Pages that this process has mapped, in bytes. */
static int64_t address_space(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%lld", &pages) != 1) pages = 0;
    fclose(file);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* What a case may use: its inputs three times over, its scratch, and room for threads. */
static void limit_memory(const attn_kernel *kernel, const shared *s)
{
    const attn_problem *p = &s->which.problem;
    int64_t there = address_space();
    double scratch = attn_supports(kernel, p)
                         ? 0
                         : (double)attn_scratch_bytes(kernel, p, s->options.threads + 2);
    double limit = (double)there + 3.0 * (double)ref_inputs_bytes(p) + scratch + MEMORY_SLACK;
    struct rlimit old;
    getrlimit(RLIMIT_AS, &old);
    bool limited = there > 0 && limit < 0x1p46 && !(s->options.without >> VERIFY_MEMORY & 1);
    rlim_t now = limited ? (rlim_t)limit : old.rlim_max;
    setrlimit(RLIMIT_AS, &(struct rlimit){now < old.rlim_max ? now : old.rlim_max, old.rlim_max});
}

static _Noreturn void serve(worker *w, int socket)
{
    shared *s = w->shared;
    char turn;
    const attn_kernel *kernel = w->open(w->context, s->refused, sizeof s->refused);
    if (kernel) snprintf(s->name, sizeof s->name, "%s", kernel->name);
    while (read(socket, &turn, 1) == 1) {
        if (kernel) limit_memory(kernel, s);
        if (kernel) s->report = verify_check(kernel, &s->which, s->options);
        if (write(socket, "r", 1) != 1) break;
    }
    _exit(0);
}

static _Noreturn void begin(worker *w, int socket)
{
    mine = w->shared;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (w->said >= 0) dup2(w->said, STDOUT_FILENO), dup2(w->said, STDERR_FILENO);
    catch_faults();
    if (!w->job) serve(w, socket);
    w->job(w->job_context, w->job_result);
    _exit(write(socket, "r", 1) == 1 ? 0 : 1);
}

/* ---- outside -------------------------------------------------------------------------- */

worker *worker_new(worker_open *open, const void *context, double seconds)
{
    worker *w = calloc(1, sizeof *w);
    void *memory =
        mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!w || memory == MAP_FAILED) return free(w), NULL;
    w->open = open, w->context = context, w->seconds = seconds, w->shared = memory;
    w->said = memfd_create("said", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (w->said >= 0 && ftruncate(w->said, SAID_BYTES) == 0)
        fcntl(w->said, F_ADD_SEALS, F_SEAL_GROW); /* who prints without end fails to */
    return w;
}

/* What the worker printed before it died, as ": " and one line: a sanitizer's summary if there is
 * one, else the last line. */
static void append_last_words(const worker *w, char *text, size_t size)
{
    static char all[SAID_BYTES + 1]; /* not on the heap, which later workers inherit */
    char *line = NULL, *next = NULL;
    if (w->said >= 0 && pread(w->said, all, SAID_BYTES, 0) > 0)
        for (char *part = strtok_r(all, "\n", &next); part; part = strtok_r(NULL, "\n", &next))
            if (!line || strncmp(line, "SUMMARY: ", 9) != 0) line = part;
    size_t used = strlen(text);
    if (line) snprintf(text + used, size - used, ": %.140s", line);
}

/* Forgets what was printed. */
static void clear_words(worker *w)
{
    static const char nothing[SAID_BYTES];
    if (w->said < 0 || lseek(w->said, 0, SEEK_CUR) == 0) return;
    if (pwrite(w->said, nothing, sizeof nothing, 0) > 0) lseek(w->said, 0, SEEK_SET);
}

static bool start(worker *w)
{
    int sockets[2];
    if (w->pid) return true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) return false;
    fflush(NULL); /* a kernel that exits must not print what waits in our buffers */
    clear_words(w);
    w->starts++;
    w->shared->fault = 0;
    w->shared->refused[0] = w->shared->fault_at[0] = '\0';
    w->pid = fork();
    if (w->pid == 0) {
        close(sockets[0]);
        begin(w, sockets[1]);
    }
    close(sockets[1]);
    w->socket = sockets[0];
    if (w->pid > 0) return true;
    w->pid = 0;
    close(sockets[0]);
    return false;
}

/* Ends the worker and returns its wait status. */
static int stop(worker *w)
{
    int status = 0;
    if (!w->pid) return 0;
    kill(w->pid, SIGKILL);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {}
    close(w->socket);
    w->pid = 0;
    return status;
}

static double clock_of(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t)) return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for the worker's turn to end. 'r': it answered; 'd': it died; 'h': it hangs. CPU time
 * decides, so that a busy machine makes no hang; clock time decides for a call that sleeps, as one
 * does that died while it held the heap's lock. */
static char wait_for(worker *w, double seconds)
{
    clockid_t cpu;
    bool has_clock = clock_getcpuclockid(w->pid, &cpu) == 0;
    double cpu_start = has_clock ? clock_of(cpu) : 0, start = clock_of(CLOCK_MONOTONIC);
    double last_busy = 0, last_change = start;
    for (;;) {
        struct pollfd file = {.fd = w->socket, .events = POLLIN};
        char turn;
        if (poll(&file, 1, POLL_MS) > 0) return read(w->socket, &turn, 1) == 1 ? turn : 'd';
        double busy = has_clock ? clock_of(cpu) - cpu_start : 0;
        double now = clock_of(CLOCK_MONOTONIC);
        if (busy != last_busy) last_busy = busy, last_change = now;
        bool asleep = has_clock && now - last_change > ASLEEP_SECONDS;
        if (busy > seconds || asleep || now - start > 10 * seconds) return 'h';
    }
}

__attribute__((format(printf, 4, 5))) static verify_report
died(verify_report r, verify_options options, verify_part part, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r.reason, sizeof r.reason, format, args);
    va_end(args);
    bool counts = !(options.without >> part & 1);
    r.status = counts ? VERIFY_FAIL : VERIFY_SKIP;
    r.failed = counts ? UINT64_C(1) << part : 0;
    return r;
}

static verify_report how_it_died(worker *w, verify_options options)
{
    verify_report none = {0};
    /* The end of the socket comes before the end of the process: wait for that, do not kill. */
    int status = 0;
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {}
    close(w->socket);
    w->pid = 0;
    const shared *s = w->shared;
    if (s->fault)
        return died(none, options, VERIFY_DEATH, "it died of signal %d (%s)%s", (int)s->fault,
                    strsignal((int)s->fault), s->fault_at);
    if (WIFSIGNALED(status))
        return died(none, options, VERIFY_DEATH, "it died of signal %d (%s)", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    return died(none, options, VERIFY_DEATH, "it ended the process with exit(%d)",
                WEXITSTATUS(status));
}

static verify_report cause_of_death(worker *w, verify_options options)
{
    verify_report r = how_it_died(w, options);
    append_last_words(w, r.reason, sizeof r.reason);
    return r;
}

/* Waits for the answer. False, and why, if there is none. */
static bool answered(worker *w, double seconds, verify_options options, verify_report *how)
{
    verify_report none = {0};
    char turn = wait_for(w, seconds);
    if (turn == 'd') *how = cause_of_death(w, options);
    if (turn == 'h') stop(w);
    if (turn == 'h')
        *how = died(none, options, VERIFY_WATCHDOG, "it did not return within %.0f s", seconds);
    return turn == 'r';
}

verify_report worker_check(worker *w, const verify_case *which, verify_options options)
{
    const attn_problem *p = &which->problem;
    verify_report none = {0};
    double work = (double)p->batch * (double)p->q_heads * (double)p->q_len * (double)p->kv_len *
                  (double)(p->qk_dim + p->v_dim);
    double seconds = w->seconds * fmax(1, 16 * work * 0x1p-30);
    if (!start(w)) return died(none, options, VERIFY_DEATH, "no process: %s", strerror(errno));
    w->shared->which = *which, w->shared->options = options;
    send(w->socket, "q", 1, MSG_NOSIGNAL); /* if that fails, it is dead, and does not answer */
    if (!answered(w, seconds, options, &none)) return none;
    if (w->shared->refused[0]) return died(none, options, VERIFY_CLAIMS, "%s", w->shared->refused);
    return w->shared->report;
}

bool worker_call(worker_job *job, void *context, void *result, size_t bytes, double seconds,
                 verify_report *how)
{
    verify_options all = {0};
    worker *w = worker_new(NULL, NULL, seconds);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool ready = w && memory != MAP_FAILED, done = false;
    *how = (verify_report){0};
    if (ready) w->job = job, w->job_context = context, w->job_result = memory;
    if (!ready || !start(w))
        *how = died(*how, all, VERIFY_DEATH, "no process: %s", strerror(errno));
    else done = answered(w, seconds, all, how);
    if (done) memcpy(result, memory, bytes);
    if (memory != MAP_FAILED) munmap(memory, bytes);
    worker_free(w);
    return done;
}

const char *worker_kernel_name(const worker *w) { return w->shared->name; }
int worker_starts(const worker *w) { return w->starts; }

void worker_free(worker *w)
{
    if (!w) return;
    stop(w);
    if (w->said >= 0) close(w->said);
    munmap(w->shared, sizeof *w->shared);
    free(w);
}
