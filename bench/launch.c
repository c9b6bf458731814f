/* launch.c: fork, exec, wait. Every launch starts with the same argv[0] and file names of equal
 * length: the length of the environment alone can move a stack and with it the timings (Mytkowicz
 * and others 2009). */
#include "bench/launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/command.h"

enum { NOT_STARTED = 127, KILLED = 128 };

int launch_folder_new(launch_folder *f)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(f->path, sizeof f->path, "%s/attest-XXXXXX",
                          parent && parent[0] ? parent : "/tmp");
    if (length >= (int)sizeof f->path || !mkdtemp(f->path))
        return command_error("cannot make a temporary folder %.100s: %s", f->path, strerror(errno));
    snprintf(f->output, sizeof f->output, "%s/output", f->path);
    snprintf(f->errors, sizeof f->errors, "%s/errors", f->path);
    snprintf(f->result, sizeof f->result, "%s/result", f->path);
    return EXIT_RIGHT;
}

void launch_folder_free(const launch_folder *f)
{
    DIR *folder = opendir(f->path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        unlinkat(dirfd(folder), entry->d_name, 0); /* a killed launch also leaves its journal */
    if (folder) closedir(folder);
    rmdir(f->path);
}

static void redirect(const char *path, int descriptor)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file >= 0) dup2(file, descriptor);
}

static _Noreturn void become(const char *binary, char *const *argv, const launch_folder *f)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no launch outlives the comparison */
    redirect(f->output, STDOUT_FILENO);
    redirect(f->errors, STDERR_FILENO);
    execv(binary, argv);
    dprintf(STDERR_FILENO, "cannot be started: %s\n", strerror(errno));
    _exit(NOT_STARTED);
}

int launch_run(const char *binary, char *const *argv, const launch_folder *f)
{
    int status;
    bool passed_on = false;
    unlink(f->result);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) become(binary, argv, f);
    if (child < 0) return NOT_STARTED;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return NOT_STARTED;
        if (command_interrupted() && !passed_on) kill(child, SIGINT);
        passed_on = command_interrupted();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status);
}

void launch_last_error(const launch_folder *f, char *line, size_t size)
{
    char text[1024];
    FILE *file = fopen(f->errors, "r");
    line[0] = '\0';
    while (file && fgets(text, sizeof text, file)) {
        text[strcspn(text, "\n")] = '\0';
        if (text[0]) snprintf(line, size, "%s", text);
    }
    if (file) fclose(file);
}

bool launch_said(const launch_folder *f, const char *word)
{
    char text[1024];
    bool said = false;
    FILE *file = fopen(f->output, "r");
    while (file && fgets(text, sizeof text, file)) said = said || strstr(text, word);
    if (file) fclose(file);
    return said;
}
