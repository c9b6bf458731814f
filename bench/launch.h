/* launch.h: another build of attest, run as a process of its own. */
#ifndef BENCH_LAUNCH_H
#define BENCH_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>

/* Where a launch leaves what it says; launch_folder_new makes it, launch_folder_free removes it. */
typedef struct launch_folder {
    char path[256], output[288], errors[288], result[288];
} launch_folder;

int launch_folder_new(launch_folder *folder); /* EXIT_RIGHT or, after a message, EXIT_USAGE */
void launch_folder_free(const launch_folder *folder);

/* Runs `binary` with `argv` (NULL at its end) until it ends; returns its exit code, 128 + signal if
 * it was killed, 127 if it could not be started. Ctrl-C is passed on to it. */
int launch_run(const char *binary, char *const *argv, const launch_folder *folder);

/* The last line that it wrote to standard error; "" if none. */
void launch_last_error(const launch_folder *folder, char *line, size_t size);

/* Did it write `word` to standard output? */
bool launch_said(const launch_folder *folder, const char *word);

#endif
