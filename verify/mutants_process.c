/* mutants_process.c: what a call must not write, leave behind or do to its process. */
#include <fcntl.h>
#include <fenv.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/mutant.h"
#include "verify/registers.h"

/* ---- writing where one must not ------------------------------------------------------- */

static void writes_into_gap(mutant_call *c)
{
    bool gap = c->t.out.head_stride > c->p.q_len * c->t.out.row_stride;
    if (mutant_last_slice(c) && gap && c->p.q_len > 1) c->t.out.data[c->p.v_dim] = 0;
}
static void writes_past_last_row(mutant_call *c)
{
    if (mutant_last_slice(c))
        mutant_first_row(c)[(c->s.q_end - c->s.q_begin - 1) * c->t.out.row_stride + c->p.v_dim] = 0;
}
static void scales_query_in_place(mutant_call *c)
{
    float *q = (float *)c->t.q.data + c->s.batch * c->t.q.batch_stride +
               c->s.head * c->t.q.head_stride + c->s.q_begin * c->t.q.row_stride;
    *(volatile float *)q *= 2; /* and back: exact */
    *(volatile float *)q *= 0.5f;
}
static void scratch_too_small(mutant_call *c)
{
    ((float *)c->scratch)[c->p.kv_len + c->p.v_dim + c->p.qk_dim % 5] = 0;
}
static void assumes_alignment(mutant_call *c)
{
    if ((uintptr_t)c->t.v.data % 16) raise(SIGBUS); /* as an aligned vector load would */
}
static volatile float unused; /* what is computed for nothing */

static void divides_by_keys(mutant_call *c)
{
    int64_t keys = c->p.kv_len;
    if (keys == 0) raise(SIGFPE); /* not all CPUs trap */
    else unused = (float)(MUTANT_BLOCK / keys);
}

/* ---- leaving things behind ------------------------------------------------------------ */

static void leaks(mutant_call *c)
{
    (void)c;
    void *volatile lost = malloc(100);
    (void)lost;
}
static void leaves_file_open(mutant_call *c)
{
    if (mutant_last_slice(c)) open("/dev/null", O_RDONLY);
}
static void blocks_signals(mutant_call *c)
{
    sigset_t set;
    (void)c;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
}
/* Other threads would carry what they are left with into later calls. */
static bool calling_thread(void) { return gettid() == getpid(); }
static void leaves_rounding(mutant_call *c)
{
    if (mutant_last_slice(c) && calling_thread()) fesetround(FE_UPWARD);
}
static void leaves_subnormals_flushed(mutant_call *c)
{
    if (mutant_last_slice(c) && calling_thread()) registers_flush_subnormals();
}
static void spoils_register(mutant_call *c)
{
    if (mutant_last_slice(c)) registers_spoil();
}

/* ---- ends of the process -------------------------------------------------------------- */

static void null_pointer(mutant_call *c)
{
    volatile float *nothing = NULL;
    if (c->p.q_len == 1 && c->p.kv_len > 1) *nothing = 0;
}
static void illegal_instruction(mutant_call *c)
{
    if (c->p.qk_dim > 64) raise(SIGILL);
}
static void never_returns(mutant_call *c)
{
    for (volatile bool forever = c->p.kv_len == 1; forever;) {}
}
static void exits(mutant_call *c)
{
    if (c->p.has_sinks) exit(0);
}
static void heap_overrun(mutant_call *c)
{
    enum { BLOCKS = 8, BYTES = 2000, HEADER = 16 };
    volatile char *blocks[BLOCKS];
    if (c->p.v_dim % 8 == 0) return;
    for (int b = 0; b < BLOCKS; b++) blocks[b] = malloc(BYTES);
    for (int b = 0; b + 1 < BLOCKS; b++) {
        ptrdiff_t next = blocks[b + 1] - blocks[b];
        if (next < BYTES || next > BYTES + 2 * HEADER) continue; /* they do not lie side by side */
        for (ptrdiff_t x = next - HEADER; x < next; x++) blocks[b][x] = 0;
    }
    for (int b = 0; b < BLOCKS; b++) free((void *)blocks[b]);
}
static void computes_nothing(mutant_row *r) { (void)r; }
static void returns_zeros(mutant_row *r)
{
    mutant_right.finish(r);
    memset(mutant_out_row(r), 0, (size_t)r->p->v_dim * sizeof(float));
}

/* Takes all the memory there is; goes on as if nothing had happened when there is no more. */
static void runaway(mutant_call *c)
{
    enum { PIECE = 1 << 26, MOST = 48 };
    void *pieces[MOST];
    int taken = 0;
    if (c->p.kv_len != 3) return;
    for (; taken < MOST; taken++) { /* not malloc, which a test run may tell to fill every byte */
        pieces[taken] = mmap(NULL, PIECE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pieces[taken] == MAP_FAILED) break;
    }
    bool limited = taken < MOST;
    while (taken > 0) munmap(pieces[--taken], PIECE);
    if (limited) abort();
}

const mutant mutants_of_process[] = {
    {"writes-into-gap",
     "class: a whole vector stored at the end of a row",
     "strays",
     {.after = writes_into_gap}},
    {"writes-past-last-row",
     "Dao-AILab/flash-attention#1830: write behind the output",
     "death gauss",
     {.after = writes_past_last_row}},
    {"scales-query-in-place",
     "class: input used as scratch and put back",
     "death gauss",
     {.before = scales_query_in_place}},
    {"scratch-too-small",
     "class: scratch sized by the wrong dimension",
     "scratch gauss scratch",
     {.before = scratch_too_small}},
    {"assumes-alignment",
     "class: aligned vector loads",
     "death gauss",
     {.before = assumes_alignment}},
    {"divides-by-keys",
     "class: division by a size of zero",
     "death gauss",
     {.before = divides_by_keys}},
    {"leaks", "class: a buffer per call", "heap gauss heap", {.before = leaks}},
    {"leaves-file-open", "class: a descriptor per call", "files", {.after = leaves_file_open}},
    {"blocks-signals",
     "class: signal mask not restored",
     "signals gauss",
     {.after = blocks_signals}},
    {"leaves-rounding",
     "class: rounding mode not restored",
     "rounding",
     {.after = leaves_rounding}},
    {"leaves-subnormals-flushed",
     "llvm/llvm-project#80475: FTZ set by a library",
     "subnormals",
     {.after = leaves_subnormals_flushed, .applies = registers_can_flush}},
    {"spoils-register",
     "class: hand-written code that forgets d8 to d15",
     "registers",
     {.after = spoils_register, .applies = registers_can_spoil}},
    {"null-pointer", "class: SIGSEGV for one query", "death same-sign", {.before = null_pointer}},
    {"illegal-instruction",
     "class: an ISA the CPU lacks",
     "death gather",
     {.before = illegal_instruction}},
    {"never-returns",
     "class: a loop that steps over its end",
     "watchdog gauss",
     {.before = never_returns}},
    {"exits", "class: exit(0) on what is not supported", "death gauss", {.before = exits}},
    {"heap-overrun", "class: writes behind a heap block", "death gauss", {.before = heap_overrun}},
    {"computes-nothing",
     "class: support claimed, nothing done",
     "bound gauss",
     {.row = computes_nothing}},
    {"returns-zeros",
     "class: support claimed, zeros returned",
     "bound nan-row gauss",
     {.finish = returns_zeros}},
    {"runaway", "class: memory without bound", "death gauss", {.before = runaway}},
    {0},
};
