/* journal.h: the samples of a run on disk, so that a killed run can be resumed.
 *
 * The journal of run.json is run.json.journal: JSON lines, the plan first, then a line per round,
 * before which lines with its samples so far may stand; each is written in one piece. Its space on
 * disk, and that of the result file, is reserved at the start: a disk that fills up later costs
 * nothing. */
#ifndef BENCH_JOURNAL_H
#define BENCH_JOURNAL_H

#include "bench/session.h"

/* Asked before anything is checked or measured: a journal beside `path` must be there to resume,
 * and none to start. EXIT_RIGHT, or EXIT_USAGE after one line on standard error. */
int journal_expected(const char *path, bool resume);

/* Starts a journal beside `path` after planning. EXIT_RIGHT or EXIT_USAGE after one line on
 * standard error: no space. */
int journal_start(const char *path, const session *s, int argc, char **argv);

/* Reads the journal beside `path` into the prepared groups of `s`, plan and rounds, and goes on
 * writing behind it. EXIT_RIGHT or EXIT_USAGE: no journal, or one of another program, machine class
 * or command line. */
int journal_resume(const char *path, session *s, int argc, char **argv);

/* Appends round `round` of this group, or what there is of it yet. */
void journal_keep(const measure_group *group, int round);

/* Gives back what is reserved and not used, so that the result file has room. */
void journal_make_room(void);

/* The result file is written: removes the journal. */
void journal_remove(void);

#endif
