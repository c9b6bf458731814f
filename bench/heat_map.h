/* heat_map.h: the weights of one head as a picture: text on a terminal, or a file. */
#ifndef BENCH_HEAT_MAP_H
#define BENCH_HEAT_MAP_H

#include <stdint.h>

/* One head's map: weights[queries, keys], a label for each. Label texts live in `text`. */
typedef struct heat_map {
    char name[4 * 80 + 1], place[128]; /* of what; where in it, by which kernel */
    int64_t queries, keys;
    const char **query_labels, **key_labels;
    char *text;
    float *all;     /* [batch, heads, queries, keys], of the layer shown */
    float *weights; /* this head's, within `all` */
} heat_map;

void heat_map_free(heat_map *map);

/* Are all weights numbers? EXIT_RIGHT or, after a message, EXIT_USAGE: then there is no picture. */
int heat_map_check(const heat_map *map);

/* On standard output, at most 80 columns; many keys or queries share a cell. */
void heat_map_print(const heat_map *map);

/* Is `output` a name that heat_map_write takes, in a folder where it can write? */
int heat_map_check_output(const char *output);

/* The numbers (.json), or the picture (.svg, .png) that scripts/picture draws from them. */
int heat_map_write(const char *output, const heat_map *map);

#endif
