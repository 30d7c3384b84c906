/* The network cards of a partition: from words of the command line to ports and addresses. */
#ifndef WORKER_CARDS_H
#define WORKER_CARDS_H

#include "control/words.h"
#include "worker/worker.h"

struct cards;

/*
 * Open what is behind each card. A host that has nothing for a card that nobody asked for gives
 * none. The reason says which card cannot be had.
 */
int cards_open(const struct worker_config *config, struct loop *loop, struct cards **ret,
               struct reason *reason);
/* After the machine. NULL is accepted. */
void cards_close(struct cards *cards);
/* For the machine; their count in `ret_count`. */
const struct machine_card *cards_places(const struct cards *cards, size_t *ret_count);
/* For a status: `ret->cards`. */
void cards_describe(const struct cards *cards, const struct machine *machine,
                    struct control_status *ret);
/* What has gone wrong since they were opened, before the guest starts. */
int cards_check(const struct cards *cards, struct reason *reason);

#endif
