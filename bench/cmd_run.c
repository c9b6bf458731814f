/* cmd_run.c: `attest run`: attention of the tensors in .npy files.
 *
 * Two forms: a case directory in, out_<name>.npy out; or q, k and v as single files. Both make a
 * case_record, run one kernel on it, and only then write. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "verify/conform.h"

typedef struct run_options {
    const char *kernel, *threads, *output;
    const char *q, *k, *v, *mask, *problem, *weights, *lse;
    bool causal;
    int64_t thread_count;
} run_options;

/* The kernel by name, or the best one for this problem; NULL after one line on standard error. */
static const attn_kernel *choose_kernel(const run_options *o, const attn_problem *problem)
{
    const attn_kernel *list[256] = {attn_best(problem)};
    int count = 1;
    if (o->kernel && strcmp(o->kernel, "best") != 0 && command_kernels(o->kernel, list, &count))
        return NULL;
    if (count != 1)
        return command_error("run: --kernel \"%.40s\" names %d kernels; it must be one", o->kernel,
                             count),
               NULL;
    const char *refusal =
        list[0] ? attn_supports(list[0], problem) : "no kernel accepts this problem";
    if (!refusal) return list[0];
    return command_error("run: kernel %s refuses: %s", list[0] ? list[0]->name : "best", refusal),
           NULL;
}

static int compute(const run_options *o, case_record *record)
{
    const attn_kernel *kernel = choose_kernel(o, &record->problem);
    attn_error error;
    if (!kernel) return EXIT_USAGE;
    int64_t scratch = attn_scratch_bytes(kernel, &record->problem, (int)o->thread_count);
    if (scratch > machine_memory_available())
        return command_error("run: kernel %s needs %lld bytes of scratch, and %lld are available",
                             kernel->name, (long long)scratch,
                             (long long)machine_memory_available());
    if (conform_run(record, kernel, (int)o->thread_count, &error) == ATTN_OK) return EXIT_RIGHT;
    return command_error("run: kernel %s: %s", kernel->name, error.text);
}

/* The .npy bytes of an output, malloc'ed; NULL after one line on standard error. */
static void *format_output(const case_output *output, size_t *size)
{
    npy_array array = output->want;
    int64_t count = npy_count(&array);
    array.data = malloc((size_t)(count * npy_type_bytes(array.type)) + 1);
    if (array.data) npy_from_float(output->got, count, array.type, array.data);
    void *bytes = array.data ? npy_format(&array, size) : NULL;
    free(array.data);
    if (!bytes) command_error("run: no memory to format %lld elements", (long long)count);
    return bytes;
}

/* All outputs, or none; paths[o] is where output o goes. */
static int write_outputs(const case_record *record, const char *const *paths)
{
    command_file *files = calloc((size_t)record->output_count + 1, sizeof *files);
    int status = files ? EXIT_RIGHT : command_error("run: no memory");
    for (int o = 0; o < record->output_count && status == EXIT_RIGHT; o++) {
        files[o] = (command_file){paths[o], NULL, 0};
        files[o].data = format_output(&record->outputs[o], &files[o].size);
        if (!files[o].data) status = EXIT_USAGE;
    }
    if (status == EXIT_RIGHT) status = command_write_all(files, record->output_count);
    for (int o = 0; files && o < record->output_count; o++) free((void *)files[o].data);
    free(files);
    return status;
}

/* ---- a case directory ------------------------------------------------------------ */

/* Is `folder` a folder that can be written into, or can it be made? */
static int check_folder(const char *folder)
{
    struct stat info;
    char inside[4096];
    if (stat(folder, &info) != 0) return command_can_write(folder);
    if (!S_ISDIR(info.st_mode)) return command_error("run: -o %s is not a folder", folder);
    if (snprintf(inside, sizeof inside, "%s/out", folder) >= (int)sizeof inside)
        return command_error("run: the path %.60s... is too long", folder);
    return command_can_write(inside);
}

static int write_folder(const case_record *record, const char *folder)
{
    bool made = mkdir(folder, 0777) == 0;
    if (!made && errno != EEXIST)
        return command_error("run: cannot make %s: %s", folder, strerror(errno));
    char **paths = calloc((size_t)record->output_count + 1, sizeof *paths);
    int status = paths ? EXIT_RIGHT : command_error("run: no memory");
    for (int o = 0; o < record->output_count && status == EXIT_RIGHT; o++)
        if (asprintf(&paths[o], "%s/out_%s.npy", folder, record->outputs[o].name) < 0)
            status = command_error("run: no memory");
    if (status == EXIT_RIGHT) status = write_outputs(record, (const char *const *)paths);
    for (int o = 0; paths && o < record->output_count; o++) free(paths[o]);
    free(paths);
    if (status && made) rmdir(folder);
    return status;
}

static int run_folder(const run_options *o, const char *folder)
{
    case_record record;
    npy_error error;
    if (o->q || o->k || o->v || o->mask || o->problem || o->weights || o->lse || o->causal)
        return command_error("run: the case directory %s brings all tensors; only -o, --kernel and "
                             "--threads go with it",
                             folder);
    if (check_folder(o->output)) return EXIT_USAGE;
    case_status read = case_read(folder, false, &record, &error);
    int status = read == CASE_READY         ? EXIT_RIGHT
                 : read == CASE_UNSUPPORTED ? command_error("run: %s: op %s is unsupported: %s",
                                                            folder, record.op, error.text)
                                            : command_error("%s", error.text);
    if (status == EXIT_RIGHT) status = compute(o, &record);
    if (status == EXIT_RIGHT) status = write_folder(&record, o->output);
    case_free(&record);
    return status;
}

/* ---- single files ---------------------------------------------------------------- */

/* Do both paths name the same place, however they are spelled? */
static bool same_place(const char *a, const char *b)
{
    const char *a_name = strrchr(a, '/'), *b_name = strrchr(b, '/');
    char a_folder[4096], b_folder[4096];
    struct stat x, y;
    snprintf(a_folder, sizeof a_folder, "%.*s/.", a_name ? (int)(a_name - a) : 1, a_name ? a : ".");
    snprintf(b_folder, sizeof b_folder, "%.*s/.", b_name ? (int)(b_name - b) : 1, b_name ? b : ".");
    return strcmp(a_name ? a_name + 1 : a, b_name ? b_name + 1 : b) == 0 &&
           stat(a_folder, &x) == 0 && stat(b_folder, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

/* Two outputs in one file would leave only the last one. */
static int check_outputs(const run_options *o)
{
    const char *paths[] = {o->output, o->weights, o->lse};
    for (int p = 0; p < 3; p++) {
        if (paths[p] && command_can_write(paths[p])) return EXIT_USAGE;
        for (int other = 0; other < p; other++)
            if (paths[p] && paths[other] && same_place(paths[p], paths[other]))
                return command_error("run: %s is named for two outputs", paths[p]);
    }
    return EXIT_RIGHT;
}

/* Everything between the arrays, which are read, and the files, which are written. */
static int run_arrays(const run_options *o, const case_arrays *arrays)
{
    case_record record;
    npy_error error;
    int status = case_from_arrays(arrays, &record, &error) == CASE_READY
                     ? EXIT_RIGHT
                     : command_error("%s", error.text);
    const char *paths[] = {
        [CASE_OUT] = o->output, [CASE_WEIGHTS] = o->weights, [CASE_LSE] = o->lse};
    if (status == EXIT_RIGHT) status = compute(o, &record);
    const char *ordered[3] = {NULL};
    for (int i = 0; i < record.output_count && i < 3; i++)
        ordered[i] = paths[record.outputs[i].role];
    if (status == EXIT_RIGHT) status = write_outputs(&record, ordered);
    case_free(&record);
    return status;
}

static int run_files(const run_options *o)
{
    const char *paths[] = {o->q, o->k, o->v, o->mask};
    npy_array arrays[4] = {{0}};
    attn_problem problem;
    attn_error detail;
    npy_error error;
    int status = EXIT_RIGHT;
    if (!o->q || !o->k || !o->v)
        return command_error("run: needs a case directory, or --q, --k and --v; --%s is missing",
                             !o->q   ? "q"
                             : !o->k ? "k"
                                     : "v");
    if (o->problem && o->causal)
        return command_error("run: --problem and --causal do not go together; the key says c");
    if (o->problem && attn_problem_parse(o->problem, &problem, &detail))
        return command_error("%s", detail.text);
    if (check_outputs(o)) return EXIT_USAGE;
    for (int a = 0; a < 4 && status == EXIT_RIGHT; a++)
        if (paths[a] && !npy_read(paths[a], &arrays[a], &error))
            status = command_error("%s", error.text);
    if (status == EXIT_RIGHT) {
        case_arrays all = {&arrays[0],
                           &arrays[1],
                           &arrays[2],
                           o->mask ? &arrays[3] : NULL,
                           o->problem ? &problem : NULL,
                           o->causal,
                           o->weights != NULL,
                           o->lse != NULL};
        status = run_arrays(o, &all);
    }
    for (int a = 0; a < 4; a++) npy_free(&arrays[a]);
    return status;
}

int cmd_run(int argc, char **argv)
{
    run_options o = {.thread_count = 1};
    const command_option options[] = {
        {"o", &o.output, NULL, "PATH  folder for a case's out_*.npy; file for --q --k --v"},
        {"kernel", &o.kernel, NULL, "NAME  default: the best one that accepts the problem"},
        {"threads", &o.threads, NULL, "N  number of threads (1)"},
        {"q", &o.q, NULL, "FILE  [[[batch,] heads,] len, dim], float32 or float16"},
        {"k", &o.k, NULL, "FILE  keys; fewer heads than q share them"},
        {"v", &o.v, NULL, "FILE  values"},
        {"mask", &o.mask, NULL, "FILE  bool (true = takes part) or float, broadcast to q x k"},
        {"problem", &o.problem, NULL, "KEY  rules, e.g. h8q5k9d64c; sizes as in the files"},
        {"causal", NULL, &o.causal, "query i sees keys up to i + (keys - queries)"},
        {"weights", &o.weights, NULL, "FILE  also write the weights (as KEY's qk<mode> says)"},
        {"lse", &o.lse, NULL, "FILE  also write the log of the softmax sums"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options,
                      "run DIR -o FOLDER, or run --q Q --k K --v V -o O [options]",
                      "run --q q.npy --k k.npy --v v.npy --causal -o o.npy", &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (command_int("threads", o.threads, 1, ATTN_MAX_THREADS, &o.thread_count) ||
        command_can_start(o.thread_count))
        return EXIT_USAGE;
    if (!o.output) return command_error("run: -o is missing: where does the result go?");
    if (positional > 1)
        return command_error("run: unexpected argument \"%.60s\"; one case directory at a time",
                             argv[2]);
    return positional ? run_folder(&o, argv[1]) : run_files(&o);
}
