/*
 * The terminal on a descriptor, raw while a guest has it and always given back as it was: at the
 * end, and when the process dies of a fault or an abort. One terminal a process.
 */
#ifndef WORKER_TERMINAL_H
#define WORKER_TERMINAL_H

/*
 * From here on a fatal signal restores the terminal first. Before the engine is created: it turns
 * some of these signals into exceptions of the guest, and passes on only the others.
 */
void terminal_guard(void);
void terminal_unguard(void);

/* Returns 0, -ENOTTY when it is none, -EIO when the process is in the background of it. */
int terminal_enter_raw(int fd);
/* Raw again after the process was stopped and continued. */
void terminal_reenter_raw(void);
/* Does nothing when no terminal is raw. */
void terminal_restore(void);

#endif
