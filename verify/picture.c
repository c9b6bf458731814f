/* picture.c: where in its head do the errors sit? */
#include <stdio.h>
#include <stdlib.h>

#include "verify/judge.h"

enum { PICTURE_ROWS = 12, PICTURE_COLUMNS = 48 };

static int64_t columns_of(const attn_problem *p, const char *output)
{
    return output[0] == 'o' ? p->v_dim : output[0] == 'l' ? 1 : p->kv_len;
}

/* A grid of one head's rows and columns of the worst element's output, as few cells as fit; 'x'
 * where an element of the cell is wrong. */
static void draw(const check *c, verify_report *r, const uint8_t *marks)
{
    char *text = r->picture;
    const size_t size = sizeof r->picture;
    int64_t rows = c->p->q_len, columns = columns_of(c->p, r->output);
    int64_t tall = (rows + PICTURE_ROWS - 1) / PICTURE_ROWS;
    int64_t wide = (columns + PICTURE_COLUMNS - 1) / PICTURE_COLUMNS;
    size_t used =
        (size_t)snprintf(text, size,
                         "%s[%lld,%lld,:,:], %lld rows by %lld columns, a cell is %lld "
                         "by %lld, x = wrong\n",
                         r->output, (long long)r->at.b, (long long)r->at.h, (long long)rows,
                         (long long)columns, (long long)tall, (long long)wide);
    for (int64_t top = 0; top < rows && used + PICTURE_COLUMNS + 16 < size; top += tall) {
        used += (size_t)snprintf(text + used, size - used, "%6lld |", (long long)top);
        for (int64_t left = 0; left < columns; left += wide) {
            bool wrong = false;
            for (int64_t i = top; i < top + tall && i < rows; i++)
                for (int64_t x = left; x < left + wide && x < columns; x++)
                    wrong = wrong || marks[i * columns + x];
            text[used++] = wrong ? 'x' : '.';
        }
        text[used++] = '|', text[used++] = '\n', text[used] = '\0';
    }
}

void check_picture(const check *c, verify_report *r)
{
    enum { MOST_MARKS = 1 << 24 };
    int64_t columns = columns_of(c->p, r->output);
    if (c->p->q_len > MOST_MARKS / columns) return;
    uint8_t *marks = calloc((size_t)(c->p->q_len * columns), 1);
    ref_row *row = ref_row_new(c->p);
    for (int64_t i = 0; marks && row && i < c->p->q_len; i++)
        check_mark_row(c, (ref_place){r->at.b, r->at.h, i}, r->output, row, marks + i * columns);
    if (marks && row) draw(c, r, marks);
    ref_row_free(row);
    free(marks);
}
