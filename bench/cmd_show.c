/* cmd_show.c: `attest show`: where does attention look? The weights of one head as a heat map.
 *
 * Text on the terminal, 80 columns; JSON; or a picture, which scripts/picture draws from that JSON.
 * The weights are the kernel's own: a wrapper around the inner attention asks for them in the layer
 * that is shown. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/heat_map.h"
#include "bench/machine.h"
#include "bench/model.h"
#include "verify/case.h"

typedef struct show_options {
    const char *folder, *model, *text, *kernel, *output;
    int64_t batch, head, layer; /* layer -1: the last */
} show_options;

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
static int prepare(const show_options *o, const attn_problem *p, heat_map *map)
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
static void label_case(const show_options *o, const case_record *record, heat_map *map)
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

static int map_case(const show_options *o, heat_map *map)
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

static int label_model(const model *m, const int64_t *ids, heat_map *map)
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
                     heat_map *map)
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

static int map_model(const show_options *o, heat_map *map)
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

/* ---- the command ----------------------------------------------------------------- */

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
    if (heat_map_check_output(o.output)) return EXIT_USAGE;
    o.folder = argv[1];
    heat_map map = {.queries = 0};
    int status = o.model ? map_model(&o, &map) : map_case(&o, &map);
    if (status == EXIT_RIGHT) status = heat_map_check(&map);
    if (status == EXIT_RIGHT && o.output) status = heat_map_write(o.output, &map);
    else if (status == EXIT_RIGHT) heat_map_print(&map);
    heat_map_free(&map);
    return status;
}
