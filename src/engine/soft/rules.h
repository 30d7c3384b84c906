/* Which handler runs which instruction. What has no rule is run natively (thunk.h). */
#ifndef SOFT_RULES_H
#define SOFT_RULES_H

#include <Zydis/Zydis.h>

#include "engine/soft/ops_integer.h"

struct rule {
    op_fn run;
    form_table *forms;     /* instead of run: by operands and width */
    uint8_t extra;         /* op->extra + 1, 0 = leave alone */
    bool ends;             /* the handler always leaves the block */
    bool by_operand_width; /* op->width is the operand size, not that of the first operand */
    bool source_in_rm;     /* the handler wants op->rm to be the source register, as ModRM has it */
};

const struct rule *rule_find(const ZydisDecodedInstruction *instruction,
                             const ZydisDecodedOperand *operands);

#endif
