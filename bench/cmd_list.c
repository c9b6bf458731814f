/* cmd_list.c: which kernels are there, and do they run here? */
#include <stdio.h>

#include "bench/command.h"

static json_t *claims_json(const attn_kernel *kernel)
{
    attn_problem p = attn_problem_make(8, 1024, 64);
    attn_claims c = kernel->claims(&p);
    return json_pack("{s:f, s:f, s:I, s:I, s:f, s:b}", "exp_ulp", c.exp_ulp, "tanh_ulp", c.tanh_ulp,
                     "sum_height", (json_int_t)c.sum_height, "rescales", (json_int_t)c.rescales,
                     "flush", c.flush, "deterministic", c.deterministic);
}

static json_t *list_json(void)
{
    int count;
    const attn_kernel *const *kernels = attn_kernels(&count);
    json_t *list = json_array();
    for (int k = 0; k < count; k++) {
        const char *missing = attn_isa_missing(kernels[k]->isa);
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:s, s:o, s:s}", "name",
                                              kernels[k]->name, "isa", kernels[k]->isa, "runs",
                                              !missing, "why", missing ? missing : "", "summary",
                                              kernels[k]->summary, "claims",
                                              missing ? json_null() : claims_json(kernels[k]),
                                              "source", kernels[k]->source));
    }
    return json_pack("{s:o}", "kernels", list);
}

/* What a kernel says of itself at 1024 tokens. It says so in its own ISA's instructions. */
static void print_claims(const attn_kernel *kernel)
{
    attn_problem p = attn_problem_make(8, 1024, 64), top = p, add = p;
    top.select = ATTN_TOPK, top.top_k = 3;
    add.score = ATTN_ADDITIVE;
    attn_claims c = kernel->claims(&p);
    if (kernel->refuses(&top)) printf("    refuses hard and top-k: %s\n", kernel->refuses(&top));
    if (kernel->refuses(&add)) printf("    refuses additive scores: %s\n", kernel->refuses(&add));
    printf("    claims at n = 1024: exp %g ULP, tanh %g ULP, height %lld, %lld rescales\n",
           c.exp_ulp, c.tanh_ulp, (long long)c.sum_height, (long long)c.rescales);
}

static void print_list(void)
{
    int count;
    const attn_kernel *const *kernels = attn_kernels(&count);
    for (int k = 0; k < count; k++) {
        const char *missing = attn_isa_missing(kernels[k]->isa);
        printf("%-16s %s\n", kernels[k]->name, kernels[k]->summary);
        printf("    runs here: %s%s\n", missing ? "no, " : "yes", missing ? missing : "");
        if (!missing) print_claims(kernels[k]);
        printf("    source: %s\n", kernels[k]->source);
    }
    command_print_unbuilt("");
}

int cmd_list(int argc, char **argv)
{
    const char *json = NULL;
    const command_option options[] = {
        {"json", &json, NULL, "FILE  write as JSON (- = standard output)"},
        {NULL, NULL, NULL, NULL}};
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "list [--json FILE]", "list --json -", &positional,
                      &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional) return command_error("list: unexpected argument \"%.60s\"", argv[1]);
    if (json) return command_write_json(json, list_json());
    print_list();
    return EXIT_RIGHT;
}
