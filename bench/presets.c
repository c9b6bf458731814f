/* presets.c: the table of presets. Shapes are those of the published models; lengths are typical
 * uses. */
#include "bench/presets.h"

#include <stddef.h>
#include <string.h>

const char preset_names[] = "quick, scaling, models, limits";

/* MiniLM-L6: 12 heads of 32. BERT-base: 12 of 64 (Devlin et al. 2019). GPT-2 small: 12 of 64,
 * causal, 1024. Llama-3-8B: 32 query and 8 key heads of 128; prefill and one token against a full
 * context. ViT-B/16: 196 patches + class token. Whisper-large encoder: 1500 frames, 20 heads of 64.
 * Stable Diffusion 1.5: 64 x 64 latents, 8 heads of 40. Gemma-2-2B: 8 query and 4 key heads of 256,
 * softcap 50, window 4096 in every other layer. */
#define MINILM        "h12q128d32"
#define BERT          "h12q512d64"
#define GPT2          "h12q1024d64c"
#define LLAMA_PREFILL "h32g8q1024d128c"
#define LLAMA_DECODE  "h32g8q1k8192d128c"
#define VIT           "h12q197d64"
#define WHISPER       "h20q1500d64"
#define DIFFUSION     "h8q4096d40"
#define GEMMA_PREFILL "h8g4q1024d256ccap50"
#define GEMMA_DECODE  "h8g4q1k8192d256cw4095:0cap50"

static const struct {
    const char *name, *problems;
} presets[] = {
    {"quick", "h8q64d64 h8q128d64 h8q256d64 h8q512d64 h8q1024d64 h8q2048d64 " MINILM " " VIT
              " " LLAMA_DECODE},
    {"scaling",
     "h8q64d64 h8q128d64 h8q256d64 h8q512d64 h8q1024d64 h8q2048d64 h8q4096d64 h8q8192d64"},
    {"models", MINILM " " BERT " " GPT2 " " LLAMA_PREFILL " " LLAMA_DECODE " " VIT " " WHISPER
                      " " DIFFUSION " " GEMMA_PREFILL " " GEMMA_DECODE},
    /* what our kernels are held against: share of the measured peak, or of the read bandwidth */
    {"limits", "h8q128d64 h8q128d128 h8q1024d32 h8q1024d64 h8q1024d128 h8q2048d32 h8q2048d40 "
               "h8q2048d64 h8q2048d72 h8q2048d80 h8q2048d96 h8q2048d112 h8q2048d128 h8q2048d192 "
               "h8q2048d256 q2048d128 h8q4096d128c h8q4096d128w256:0 h8q4096d128len "
               "h8g2q4096d128 h8q4096d128cap50 h8q4096d128alibi h8q2048d128bool h8q2048d128bias "
               "h32q1k32768d128 h32g8q1k32768d128 h32q1k1024d64 q1k32768d128"},
};

const char *preset_problems(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, name) == 0) return presets[i].problems;
    return NULL;
}
