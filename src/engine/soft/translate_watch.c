/* Tools are told of the code that is written: struct engine_code_watch. */
#include "engine/soft/translate_private.h"

static void tell(const struct translator *translator, const struct engine_code *code)
{
    const struct engine_code_watch *watch = &translator->code->partition->config.code_watch;
    if (watch->made != NULL)
        watch->made(watch->owner, code);
}

void translation_tell(const struct cpu *cpu, const struct block *block, const uint8_t *at,
                      size_t length)
{
    tell(cpu->partition->code->translator, &(struct engine_code){
                                               .host = (uint64_t)at,
                                               .length = length,
                                               .user = (block->mode & MODE_USER) != 0,
                                               .rip = block->rip,
                                               .lstar = cpu->lstar,
                                           });
}

void translation_tell_routines(const struct translator *translator)
{
    tell(translator, &(struct engine_code){
                         .host = (uint64_t)translator->executable,
                         .length = translator->routines_end,
                         .shared = true,
                     });
}

void translation_tell_emptied(const struct translator *translator)
{
    const struct engine_code_watch *watch = &translator->code->partition->config.code_watch;
    if (watch->emptied != NULL)
        watch->emptied(watch->owner);
    translation_tell_routines(translator);
}
