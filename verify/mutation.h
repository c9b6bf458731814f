/* mutation.h: what does the suite do to the mutants? */
#ifndef VERIFY_MUTATION_H
#define VERIFY_MUTATION_H

#include "verify/mutant.h"
#include "verify/verify.h"

/* How far to go with a mutant. */
typedef enum mutation_depth {
    MUTATION_FIRST,   /* to the first failed case */
    MUTATION_PROMISE, /* until all that killed_by names has killed it */
    MUTATION_ALL      /* all cases */
} mutation_depth;

typedef struct mutation_result {
    const mutant *mutant;
    bool applies; /* on this CPU family; nothing was run otherwise */
    bool killed;
    int cases, failed;
    uint64_t killers;  /* features of the failed cases, and the parts that failed them */
    uint64_t only;     /* features without which no failed case would be left */
    verify_case first; /* the first failed case, and what was said about it */
    verify_report report;
} mutation_result;

/* Runs a mutant in a worker of its own. */
mutation_result mutation_run(const mutant *m, const verify_case *cases, int count,
                             mutation_depth depth, uint64_t without);

/* The features that a mutant's killed_by names, as bits. */
uint64_t mutation_promise(const mutant *m);

/* Parts whose absence changes what a kernel sees, so that only another run can tell what it would
 * have done. */
uint64_t mutation_hidden_parts(void);

/* Is the result as it should be: equivalent mutants alive, all others dead by what they name? */
bool mutation_as_promised(const mutation_result *r);

#endif
