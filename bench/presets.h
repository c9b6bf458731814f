/* presets.h: which problems are measured? Each named after what it stands for. */
#ifndef BENCH_PRESETS_H
#define BENCH_PRESETS_H

/* Space-separated problem keys of a preset; NULL for an unknown name. */
const char *preset_problems(const char *name);

/* The names, for messages. */
extern const char preset_names[];

#endif
