/* serial_openmp.c: OpenMP with one thread, for the memory sanitizer: it takes what a runtime that
 * is not instrumented has written for uninitialised. The pragmas are ignored in such a build. */
#include <omp.h>

int omp_get_max_threads(void) { return 1; }
int omp_get_thread_limit(void) { return 2147483647; }
int omp_get_thread_num(void) { return 0; }
int omp_get_dynamic(void) { return 0; }
int omp_get_num_procs(void) { return 1; }
int omp_get_num_places(void) { return 0; }
int omp_get_place_num_procs(int place) { return place * 0; }
void omp_get_place_proc_ids(int place, int *ids) { (void)place, (void)ids; }
