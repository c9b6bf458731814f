/* cmd_show.c: `attest show`: where does attention look? The weights of one head as a heat map.
 *
 * Text on the terminal, 80 columns; JSON; or a picture, which scripts/picture draws from that JSON.
 * The weights are the kernel's own: a wrapper around the inner attention asks for them in the layer
 * that is shown. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/model.h"
#include "verify/case.h"

typedef struct show_options {
    const char *folder, *model, *text, *kernel, *output;
    int64_t batch, head, layer; /* layer -1: the last */
} show_options;

/* One head's map: weights[queries, keys], a label for each. Label texts live in `text`. */
typedef struct head_map {
    char name[4 * 80 + 1], place[128]; /* of what; where in it, by which kernel */
    int64_t queries, keys;
    const char **query_labels, **key_labels;
    char *text;
    float *all;     /* [batch, heads, queries, keys], of the layer shown */
    float *weights; /* this head's, within `all` */
} head_map;

static void map_free(head_map *map)
{
    free(map->query_labels);
    free(map->key_labels);
    free(map->text);
    free(map->all);
    *map = (head_map){0};
}

/* ---- the weights ----------------------------------------------------------------- */

typedef struct showing {
    const attn_kernel *kernel;
    int64_t layer, calls; /* calls seen */
    float *all;
} showing;

static attn_problem with_weights(const attn_problem *problem)
{
    attn_problem p = *problem;
    p.weights = ATTN_WEIGHTS_NORMALISED;
    return p;
}

/* The inner attention: keeps the weights of layer `layer`, or of every layer, the last one last. */
static attn_status keep_weights(void *context, const attn_problem *problem,
                                const attn_tensors *tensors, attn_error *error)
{
    showing *s = context;
    attn_exec exec = {.threads = 1};
    attn_problem p = with_weights(problem);
    attn_tensors t = *tensors;
    int64_t head = p.q_len * p.kv_len;
    t.weights = (attn_output){s->all, p.q_heads * head, head, p.kv_len};
    bool wanted = s->layer < 0 || s->layer == s->calls;
    s->calls++;
    return wanted ? attn_run(s->kernel, &p, &t, &exec, error)
                  : attn_run(s->kernel, problem, tensors, &exec, error);
}

/* The kernel by name, or the best that gives weights; NULL after one line. */
static const attn_kernel *choose_kernel(const show_options *o, const attn_problem *problem)
{
    attn_problem p = with_weights(problem);
    const attn_kernel *list[256] = {attn_best(&p)};
    int count = 1;
    bool named = o->kernel && strcmp(o->kernel, "best") != 0;
    if (named && command_kernels(o->kernel, list, &count)) return NULL;
    if (count != 1)
        return command_error("show: --kernel \"%.40s\" names %d kernels; it must be one", o->kernel,
                             count),
               NULL;
    const char *refusal = list[0] ? attn_supports(list[0], &p) : "no kernel gives these weights";
    if (!refusal) return list[0];
    return command_error("show: kernel %s refuses: %s", list[0] ? list[0]->name : "best", refusal),
           NULL;
}

/* Memory for the weights, and whether --batch and --head exist. */
static int prepare(const show_options *o, const attn_problem *p, head_map *map)
{
    int64_t floats;
    if (p->q_len < 1 || p->kv_len < 1)
        return command_error("show: there are %lld queries and %lld keys: nothing to show",
                             (long long)p->q_len, (long long)p->kv_len);
    if (o->head >= p->q_heads || o->batch >= p->batch)
        return command_error("show: --batch %lld --head %lld; there are %lld batches of %lld heads",
                             (long long)o->batch, (long long)o->head, (long long)p->batch,
                             (long long)p->q_heads);
    map->queries = p->q_len, map->keys = p->kv_len;
    if (__builtin_mul_overflow(p->batch * p->q_heads, map->queries * map->keys, &floats) ||
        floats > machine_memory_available() / 4)
        return command_error("show: the weights do not fit into memory");
    map->all = calloc((size_t)floats, sizeof *map->all);
    map->query_labels = calloc((size_t)map->queries, sizeof *map->query_labels);
    map->key_labels = calloc((size_t)map->keys, sizeof *map->key_labels);
    map->text = calloc((size_t)(map->queries + map->keys), 24);
    if (!map->all || !map->query_labels || !map->key_labels || !map->text)
        return command_error("show: no memory");
    map->weights = map->all + (o->batch * p->q_heads + o->head) * map->queries * map->keys;
    return EXIT_RIGHT;
}

static int check_layer(const show_options *o, const showing *s)
{
    if (o->layer < s->calls) return EXIT_RIGHT;
    return command_error("show: --layer is %lld; it must be from 0 to %lld", (long long)o->layer,
                         (long long)s->calls - 1);
}

/* ---- a case directory ------------------------------------------------------------ */

/* Token ids where the case has them, else positions. */
static void label_case(const show_options *o, const case_record *record, head_map *map)
{
    const npy_array *tokens = NULL;
    char *text = map->text;
    for (int i = 0; i < record->input_count; i++)
        if (strcmp(record->inputs[i].name, "tokens") == 0) tokens = &record->inputs[i].array;
    for (int64_t x = 0; x < map->queries + map->keys; x++, text += 24) {
        int64_t at = x < map->queries ? x : x - map->queries;
        int64_t label = tokens ? (int64_t)npy_value(tokens, o->batch * map->keys + at) : at;
        snprintf(text, 24, "%lld", (long long)label);
        *(x < map->queries ? &map->query_labels[at] : &map->key_labels[at]) = text;
    }
}

static int map_case(const show_options *o, head_map *map)
{
    case_record record;
    npy_error error;
    attn_error detail;
    case_status read = case_read(o->folder, false, &record, &error);
    if (read != CASE_READY) {
        case_free(&record);
        return read == CASE_BROKEN ? command_error("%s", error.text)
                                   : command_error("show: %s: %s", o->folder, error.text);
    }
    showing s = {choose_kernel(o, &record.problem), o->layer, 0, NULL};
    int status = s.kernel ? prepare(o, &record.problem, map) : EXIT_USAGE;
    s.all = map->all;
    if (status == EXIT_RIGHT && case_run(&record, &(attn_inner){keep_weights, &s}, &detail))
        status = command_error("show: kernel %s: %s", s.kernel->name, detail.text);
    if (status == EXIT_RIGHT) status = check_layer(o, &s);
    if (status == EXIT_RIGHT) {
        label_case(o, &record, map);
        snprintf(map->name, sizeof map->name, "%.*s", command_fit(record.name, 80), record.name);
        snprintf(map->place, sizeof map->place, "batch %lld, layer %lld, head %lld, by %s",
                 (long long)o->batch, (long long)(o->layer < 0 ? s.calls - 1 : o->layer),
                 (long long)o->head, s.kernel->name);
    }
    case_free(&record);
    return status;
}

/* ---- the model ------------------------------------------------------------------- */

static int label_model(const model *m, const int64_t *ids, head_map *map)
{
    int64_t bytes = 1, used = 0;
    for (int64_t t = 0; t < map->keys; t++)
        bytes += (int64_t)strlen(m->vocabulary.words[ids[t]]) + 1;
    free(map->text);
    map->text = malloc((size_t)bytes);
    if (!map->text) return command_error("show: no memory");
    for (int64_t t = 0; t < map->keys; t++) {
        const char *word = m->vocabulary.words[ids[t]];
        map->query_labels[t] = map->key_labels[t] = strcpy(map->text + used, word);
        used += (int64_t)strlen(word) + 1;
    }
    return EXIT_RIGHT;
}

static int run_model(const show_options *o, const model *m, model_pass *pass, int64_t *ids,
                     head_map *map)
{
    npy_error error;
    attn_error detail;
    int64_t count = vocabulary_tokenize(&m->vocabulary, o->text, ids, m->most_tokens, &error);
    if (count < 0) return command_error("show: --text: %s", error.text);
    attn_problem p = model_problem(m, count);
    showing s = {choose_kernel(o, &p), o->layer, 0, NULL};
    if (!s.kernel || prepare(o, &p, map) || label_model(m, ids, map)) return EXIT_USAGE;
    s.all = map->all;
    if (model_run(pass, ids, count, (attn_inner){keep_weights, &s}, &detail))
        return command_error("show: kernel %s: %s", s.kernel->name, detail.text);
    snprintf(map->name, sizeof map->name, "%.*s", command_fit(m->name, 80), m->name);
    snprintf(map->place, sizeof map->place, "layer %lld, head %lld, by %s",
             (long long)(o->layer < 0 ? s.calls - 1 : o->layer), (long long)o->head,
             s.kernel->name);
    return check_layer(o, &s);
}

static int map_model(const show_options *o, head_map *map)
{
    model m;
    model_pass pass = {0};
    npy_error error;
    int64_t *ids = NULL;
    int status = EXIT_RIGHT;
    if (!model_read(o->model, &m, &error) || !model_pass_new(&m, m.most_tokens, &pass, &error))
        status = command_error("%s", error.text);
    else if (!(ids = calloc((size_t)m.most_tokens, sizeof *ids)))
        status = command_error("show: no memory");
    else status = run_model(o, &m, &pass, ids, map);
    free(ids);
    model_pass_free(&pass);
    model_free(&m);
    return status;
}

/* ---- text ------------------------------------------------------------------------ */

enum { WIDTH = 80, LABEL = 12, MOST_ROWS = 64, HEADER = 10, LEVELS = 10 };
static const char ramp[LEVELS + 1] = " .:-=+*#%@";

/* The sum over a cell's keys, averaged over its queries. */
static double cell_weight(const head_map *map, int64_t row, int64_t rows, int64_t column,
                          int64_t columns)
{
    double sum = 0;
    int64_t i, last = row + rows < map->queries ? row + rows : map->queries;
    for (i = row; i < last; i++)
        for (int64_t j = column; j < column + columns && j < map->keys; j++)
            sum += map->weights[i * map->keys + j];
    return sum / (double)(last - row);
}

/* Labels of the columns, written downwards. */
static void print_header(const head_map *map, int64_t columns, int width)
{
    int deepest = 0;
    for (int64_t j = 0; j < map->keys; j += columns) {
        int length = (int)strlen(map->key_labels[j]);
        deepest = length > deepest ? length : deepest;
    }
    for (int line = 0; line < deepest && line < HEADER; line++) {
        printf("%*s ", LABEL, "");
        for (int64_t j = 0; j < map->keys; j += columns) {
            const char *label = map->key_labels[j];
            int from = command_fit(label, line), to = command_fit(label, line + 1);
            printf("%.*s%*s", to - from, label + from, width - (to > from), "");
        }
        putchar('\n');
    }
}

static void print_map(const head_map *map)
{
    const int64_t room = WIDTH - LABEL - 1;
    int64_t columns = (map->keys + room - 1) / room,
            rows = (map->queries + MOST_ROWS - 1) / MOST_ROWS;
    int64_t shown = (map->keys + columns - 1) / columns;
    int width = shown * 3 <= room ? 3 : shown * 2 <= room ? 2 : 1;
    double most = 0;
    for (int64_t i = 0; i < map->queries; i += rows)
        for (int64_t j = 0; j < map->keys; j += columns)
            most = fmax(most, cell_weight(map, i, rows, j, columns));
    printf("%s\n%s\nrows: queries", map->name, map->place);
    if (rows > 1) printf(", %lld together (mean)", (long long)rows);
    printf("; columns: keys");
    if (columns > 1) printf(", %lld together (sum)", (long long)columns);
    printf("\nweight in %%, at least:");
    for (int level = 1; level < LEVELS; level++)
        printf(" %c %.2g", ramp[level], 100 * most * pow((level - 0.5) / (LEVELS - 1), 2));
    puts("\n");
    print_header(map, columns, width);
    for (int64_t i = 0; i < map->queries; i += rows) {
        const char *label = map->query_labels[i];
        int bytes = command_fit(label, LABEL), used = 0;
        while (command_fit(label, used) < bytes) used++;
        printf("%*s%.*s ", LABEL - used, "", bytes, label);
        for (int64_t j = 0; j < map->keys; j += columns) {
            double share = most > 0 ? cell_weight(map, i, rows, j, columns) / most : 0;
            for (int x = 0; x < width; x++) putchar(ramp[(int)lround((LEVELS - 1) * sqrt(share))]);
        }
        putchar('\n');
    }
}

/* ---- files ----------------------------------------------------------------------- */

static json_t *map_json(const head_map *map)
{
    json_t *queries = json_array(), *keys = json_array(), *weights = json_array();
    for (int64_t j = 0; j < map->keys; j++)
        json_array_append_new(keys, json_string(map->key_labels[j]));
    for (int64_t i = 0; i < map->queries; i++) {
        json_t *row = json_array();
        json_array_append_new(queries, json_string(map->query_labels[i]));
        for (int64_t j = 0; j < map->keys; j++)
            json_array_append_new(row, json_real(map->weights[i * map->keys + j]));
        json_array_append_new(weights, row);
    }
    return json_pack("{s:i, s:s++, s:o, s:o, s:o}", "schema", 1, "title", map->name, ", ",
                     map->place, "queries", queries, "keys", keys, "weights", weights);
}

/* scripts/picture beside the build folder that the program lies in, else in the working folder. */
static const char *find_script(char *path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", path, size - 32);
    for (int up = 0; up < 2 && length > 0; up++)
        while (length > 0 && path[--length] != '/') continue;
    strcpy(path + (length > 0 ? length : 0), "/scripts/picture");
    return access(path, X_OK) == 0 ? path : "scripts/picture";
}

/* Draws our JSON, which the script reads as its standard input. */
static int draw(const char *output, const char *json)
{
    char path[4096];
    int ends[2], status = 0;
    pid_t child;
    const char *script = find_script(path, sizeof path);
    if (access(script, X_OK))
        return command_error("show: -o %s is drawn by scripts/picture, which is neither beside the "
                             "build folder nor here; write -o map.json and draw that",
                             output);
    posix_spawn_file_actions_t actions;
    char *const words[] = {(char *)script, "-", "-o", (char *)output, NULL};
    if (pipe(ends)) return command_error("show: pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int failed = posix_spawn(&child, script, &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN); /* a script that stops early says so itself */
    FILE *to = failed ? NULL : fdopen(ends[1], "w");
    if (to) fputs(json, to), fclose(to);
    else close(ends[1]);
    if (failed) return command_error("show: %s: %s", script, strerror(failed));
    waitpid(child, &status, 0);
    return status ? EXIT_USAGE : EXIT_RIGHT;
}

static int write_map(const char *output, const head_map *map)
{
    const char *end = strrchr(output, '.');
    for (int64_t x = 0; x < map->queries * map->keys; x++)
        if (!isfinite(map->weights[x]))
            return command_error("show: weight %lld is not a number; nothing is drawn",
                                 (long long)x);
    if (end && strcmp(end, ".json") == 0) return command_write_json(output, map_json(map));
    json_t *json = map_json(map);
    char *text = json_dumps(json, JSON_REAL_PRECISION(6));
    json_decref(json);
    int status = text ? draw(output, text) : command_error("show: no memory");
    free(text);
    return status;
}

static int check_output(const char *output)
{
    const char *end = output ? strrchr(output, '.') : NULL;
    if (!output) return EXIT_RIGHT;
    if (!end || (strcmp(end, ".json") && strcmp(end, ".svg") && strcmp(end, ".png")))
        return command_error("show: -o %s: a map is written as .json, .svg or .png", output);
    return command_can_write(output);
}

int cmd_show(int argc, char **argv)
{
    show_options o = {.layer = -1};
    const char *batch = NULL, *head = NULL, *layer = NULL;
    const command_option options[] = {
        {"model", &o.model, NULL, "DIR  a model made by scripts/fetch_minilm, with --text"},
        {"text", &o.text, NULL, "TEXT  what the model reads"},
        {"layer", &layer, NULL, "N  from 0; default: the last"},
        {"head", &head, NULL, "N  query head, from 0 (0)"},
        {"batch", &batch, NULL, "N  of a case, from 0 (0)"},
        {"kernel", &o.kernel, NULL, "NAME  default: the best one that gives weights"},
        {"o", &o.output, NULL, "FILE  a picture (.svg, .png), or the numbers (.json)"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "show DIR [options], or show --model DIR --text TEXT",
                      "show verify/data/minilm/layer5 --head 3 -o map.svg", &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (command_int("layer", layer, 0, INT32_MAX, &o.layer) ||
        command_int("head", head, 0, INT32_MAX, &o.head) ||
        command_int("batch", batch, 0, INT32_MAX, &o.batch))
        return EXIT_USAGE;
    if (positional != (o.model ? 0 : 1) || !o.model != !o.text)
        return command_error("show: needs one case directory, or --model and --text");
    if (check_output(o.output)) return EXIT_USAGE;
    o.folder = argv[1];
    head_map map = {.queries = 0};
    int status = o.model ? map_model(&o, &map) : map_case(&o, &map);
    if (status == EXIT_RIGHT && o.output) status = write_map(o.output, &map);
    else if (status == EXIT_RIGHT) print_map(&map);
    map_free(&map);
    return status;
}
