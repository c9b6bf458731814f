/* heat_map.c: a head's weights on a terminal, as JSON, or as what scripts/picture makes of that
 * JSON. */
#include "bench/heat_map.h"

#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include "bench/command.h"

void heat_map_free(heat_map *map)
{
    free(map->query_labels);
    free(map->key_labels);
    free(map->text);
    free(map->all);
    *map = (heat_map){0};
}

int heat_map_check(const heat_map *map)
{
    for (int64_t x = 0; x < map->queries * map->keys; x++)
        if (!isfinite(map->weights[x]))
            return command_error("show: the weight of query %lld, key %lld is not a number; "
                                 "nothing is drawn",
                                 (long long)(x / map->keys), (long long)(x % map->keys));
    return EXIT_RIGHT;
}

/* ---- text ------------------------------------------------------------------------ */

enum { WIDTH = 80, LABEL = 12, MOST_ROWS = 64, HEADER = 10, LEVELS = 10 };
static const char ramp[LEVELS + 1] = " .:-=+*#%@";

/* The sum over a cell's keys, averaged over its queries. */
static double cell_weight(const heat_map *map, int64_t row, int64_t rows, int64_t column,
                          int64_t columns)
{
    double sum = 0;
    int64_t i, last = row + rows < map->queries ? row + rows : map->queries;
    for (i = row; i < last; i++)
        for (int64_t j = column; j < column + columns && j < map->keys; j++)
            sum += map->weights[i * map->keys + j];
    return sum / (double)(last - row);
}

/* What the first letters of a label, `bytes` bytes of UTF-8, take on a terminal: East Asian letters
 * two columns, combining marks none. */
static int columns_of(const char *label, int bytes)
{
    int columns = 0;
    mbstate_t state = {0};
    for (int at = 0; at < bytes;) {
        wchar_t letter;
        size_t size = mbrtowc(&letter, label + at, (size_t)(bytes - at), &state);
        if (size == 0 || size > (size_t)(bytes - at)) return columns + bytes - at; /* not UTF-8 */
        int wide = wcwidth(letter);
        columns += wide < 0 ? 1 : wide;
        at += (int)size;
    }
    return columns;
}

/* Labels of the columns, written downwards. */
static void print_header(const heat_map *map, int64_t columns, int width)
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
            int taken = columns_of(label + from, to - from);
            printf("%.*s%*s", to - from, label + from, taken < width ? width - taken : 0, "");
        }
        putchar('\n');
    }
}

void heat_map_print(const heat_map *map)
{
    const int64_t room = WIDTH - LABEL - 1;
    setlocale(LC_CTYPE, "C.UTF-8"); /* labels are UTF-8 whatever the user's locale is */
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
        int bytes = command_fit(label, LABEL);
        for (int fewer = LABEL; columns_of(label, bytes) > LABEL; bytes = command_fit(label, fewer))
            fewer--;
        printf("%*s%.*s ", LABEL - columns_of(label, bytes), "", bytes, label);
        for (int64_t j = 0; j < map->keys; j += columns) {
            double share = most > 0 ? cell_weight(map, i, rows, j, columns) / most : 0;
            for (int x = 0; x < width; x++) putchar(ramp[(int)lround((LEVELS - 1) * sqrt(share))]);
        }
        putchar('\n');
    }
}

/* ---- files ----------------------------------------------------------------------- */

static json_t *map_json(const heat_map *map)
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

int heat_map_write(const char *output, const heat_map *map)
{
    const char *end = strrchr(output, '.');
    if (end && strcmp(end, ".json") == 0) return command_write_json(output, map_json(map));
    json_t *json = map_json(map);
    char *text = json_dumps(json, JSON_REAL_PRECISION(6));
    json_decref(json);
    int status = text ? draw(output, text) : command_error("show: no memory");
    free(text);
    return status;
}

int heat_map_check_output(const char *output)
{
    const char *end = output ? strrchr(output, '.') : NULL;
    if (!output) return EXIT_RIGHT;
    if (!end || (strcmp(end, ".json") && strcmp(end, ".svg") && strcmp(end, ".png")))
        return command_error("show: -o %s: a map is written as .json, .svg or .png", output);
    return command_can_write(output);
}
