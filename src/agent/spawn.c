#include "agent/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent/users.h"
#include "base/cleanup.h"

enum { OURS, THEIRS, MOST_VARIABLES = REQUEST_MOST_WORDS + 8, VARIABLE_SIZE = 320 };

/* What the child needs, made before the fork. */
struct plan {
    const struct exec_request *request;
    struct user user;
    const char *directory;
    char *const *arguments;
    char *environment[MOST_VARIABLES + 1];
    char own[6][VARIABLE_SIZE];
    char shell_name[VARIABLE_SIZE];
    char *shell_arguments[2];
    int stream[3]; /* of the child */
    int report;    /* where its failure is told */
};

/* What the child tells when it comes to nothing. */
struct report {
    int stage, error;
};
enum stage { STAGE_STREAMS = 1, STAGE_USER, STAGE_DIRECTORY, STAGE_PROGRAM };

void spawn_set_size(int terminal, uint16_t rows, uint16_t columns)
{
    const struct winsize size = {.ws_row = rows, .ws_col = columns};
    (void)ioctl(terminal, TIOCSWINSZ, &size);
}

/* ---- what the child gets ---- */

static bool is_set(const struct exec_request *request, const char *variable)
{
    size_t length = strcspn(variable, "=") + 1;

    for (unsigned i = 0; i < request->environment_count; i++) {
        if (strncmp(request->environment[i], variable, length) == 0)
            return true;
    }
    return false;
}

/* The request's variables, and ours that it does not name. */
static void make_environment(struct plan *plan)
{
    static const char path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    union {
        const char *constant;
        char *plain;
    } word; /* execve changes none */
    unsigned count = 0;

    (void)snprintf(plan->own[0], VARIABLE_SIZE, "PATH=%s", path);
    (void)snprintf(plan->own[1], VARIABLE_SIZE, "HOME=%s", plan->user.home);
    (void)snprintf(plan->own[2], VARIABLE_SIZE, "USER=%s", plan->user.name);
    (void)snprintf(plan->own[3], VARIABLE_SIZE, "LOGNAME=%s", plan->user.name);
    (void)snprintf(plan->own[4], VARIABLE_SIZE, "SHELL=%s", plan->user.shell);
    (void)snprintf(plan->own[5], VARIABLE_SIZE, "TERM=%s",
                   plan->request->terminal ? "vt100" : "dumb");
    for (unsigned i = 0; i < sizeof(plan->own) / sizeof(plan->own[0]); i++) {
        if (!is_set(plan->request, plan->own[i]))
            plan->environment[count++] = plan->own[i];
    }
    for (unsigned i = 0; i < plan->request->environment_count; i++) {
        word.constant = plan->request->environment[i];
        plan->environment[count++] = word.plain;
    }
    plan->environment[count] = NULL;
}

/* A login shell is told by the dash before its name. */
static void make_arguments(struct plan *plan)
{
    union {
        const char *const *constant;
        char *const *plain;
    } words = {plan->request->arguments};
    const char *slash = strrchr(plan->user.shell, '/');

    plan->arguments = words.plain;
    if (plan->request->argument_count > 0)
        return;
    (void)snprintf(plan->shell_name, sizeof(plan->shell_name), "-%s",
                   slash != NULL ? slash + 1 : plan->user.shell);
    plan->shell_arguments[0] = plan->shell_name;
    plan->shell_arguments[1] = NULL;
    plan->arguments = plan->shell_arguments;
}

/* ---- the child ---- */

static void tell(const struct plan *plan, enum stage stage, int error)
{
    const struct report report = {(int)stage, error};
    ssize_t told = write(plan->report, &report, sizeof(report));

    _exit(told > 0 ? SPAWN_FAILED : SPAWN_NOT_EXECUTABLE);
}

static void reset_signals(void)
{
    sigset_t none;

    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)sigaction(signal, &action, NULL);
    }
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

static void take_streams(const struct plan *plan)
{
    bool done = setsid() >= 0;

    if (plan->request->terminal)
        done = done && ioctl(plan->stream[0], TIOCSCTTY, 0) == 0;
    for (int i = 0; i < 3; i++)
        done = done && dup2(plan->stream[i], i) >= 0;
    if (!done)
        tell(plan, STAGE_STREAMS, errno);
}

static void become_user(const struct plan *plan)
{
    const struct user *user = &plan->user;

    if (geteuid() != 0 && geteuid() == user->uid)
        return; /* for tests: nothing to change */
    if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0 ||
        setuid(user->uid) < 0)
        tell(plan, STAGE_USER, errno);
}

/* As execvp, along the PATH of the new environment. */
static void execute(const struct plan *plan)
{
    const char *program =
        plan->request->argument_count > 0 ? plan->request->arguments[0] : plan->user.shell;

    for (unsigned i = 0; plan->environment[i] != NULL; i++) {
        if (strncmp(plan->environment[i], "PATH=", 5) == 0)
            (void)putenv(plan->environment[i]); /* NOLINT(concurrency-mt-unsafe): a child's */
    }
    (void)execvpe(program, plan->arguments, plan->environment);
    tell(plan, STAGE_PROGRAM, errno);
}

static void run_child(const struct plan *plan)
{
    reset_signals();
    take_streams(plan);
    become_user(plan);
    if (chdir(plan->directory) < 0 && (plan->request->directory[0] != '\0' || chdir("/") < 0))
        tell(plan, STAGE_DIRECTORY, errno);
    execute(plan);
}

/* ---- the parent ---- */

static int explain(const struct plan *plan, const struct report *report, struct reason *reason)
{
    const char *why = strerrordesc_np(report->error);
    const char *program =
        plan->request->argument_count > 0 ? plan->request->arguments[0] : plan->user.shell;

    switch (report->stage) {
    case STAGE_USER:
        return reason_set(reason, SPAWN_FAILED, "user %s: %s", plan->user.name, why);
    case STAGE_DIRECTORY:
        return reason_set(reason, SPAWN_FAILED, "%s: %s", plan->directory, why);
    case STAGE_PROGRAM:
        return reason_set(reason, report->error == ENOENT ? SPAWN_NOT_FOUND : SPAWN_NOT_EXECUTABLE,
                          "%s: %s", program, why);
    default:
        return reason_set(reason, SPAWN_FAILED, "the guest has no terminal to give: %s", why);
    }
}

static int await_start(const struct plan *plan, pid_t pid, int report_fd, struct reason *reason)
{
    struct report report;
    ssize_t length;

    do
        length = read(report_fd, &report, sizeof(report));
    while (length < 0 && errno == EINTR);
    if (length == 0)
        return 0; /* closed by its execve */
    (void)waitpid(pid, NULL, 0);
    return length == sizeof(report) ? explain(plan, &report, reason)
                                    : reason_set(reason, SPAWN_FAILED, "the process was lost");
}

static int open_terminal(struct plan *plan, struct spawned *ret, int ret_theirs[3])
{
    char name[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
        ptsname_r(master, name, sizeof(name)) != 0) {
        if (master >= 0)
            (void)close(master);
        return -errno;
    }
    ret->input = master;
    ret->output = master;
    ret->error = -1;
    ret_theirs[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (ret_theirs[0] < 0)
        return -errno;
    spawn_set_size(master, plan->request->rows, plan->request->columns);
    for (int i = 0; i < 3; i++)
        plan->stream[i] = ret_theirs[0];
    return 0;
}

/* One end of a pipe is ours; it does not wait. */
static int open_pipe(bool ours_writes, int *ret_ours, int *ret_theirs)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = ends[ours_writes ? 1 : 0];
    *ret_theirs = ends[ours_writes ? 0 : 1];
    return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_pipes(struct plan *plan, struct spawned *ret, int ret_theirs[3])
{
    int error = 0;

    if (plan->request->input) {
        error = open_pipe(true, &ret->input, &ret_theirs[0]);
    } else {
        ret_theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        error = ret_theirs[0] < 0 ? -errno : 0;
    }
    if (error == 0)
        error = open_pipe(false, &ret->output, &ret_theirs[1]);
    if (error == 0)
        error = open_pipe(false, &ret->error, &ret_theirs[2]);
    for (int i = 0; i < 3; i++)
        plan->stream[i] = ret_theirs[i];
    return error;
}

static int start(struct plan *plan, struct spawned *ret, struct reason *reason)
{
    int report[2];

    if (pipe2(report, O_CLOEXEC) < 0)
        return reason_set(reason, SPAWN_FAILED, "no pipe: %s", strerrordesc_np(errno));
    plan->report = report[1];
    ret->pid = fork();
    if (ret->pid == 0)
        run_child(plan);
    (void)close(report[1]);
    int code = ret->pid < 0
                   ? reason_set(reason, SPAWN_FAILED, "no process: %s", strerrordesc_np(errno))
                   : await_start(plan, ret->pid, report[0], reason);
    (void)close(report[0]);
    return code;
}

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
}

int spawn(const struct exec_request *request, struct spawned *ret, struct reason *reason)
{
    struct plan plan = {.request = request};
    int theirs[3] = {-1, -1, -1};

    *ret = (struct spawned){.pid = -1, .input = -1, .output = -1, .error = -1};
    if (users_find(request->user, "", &plan.user, reason) < 0)
        return SPAWN_FAILED;
    plan.directory = request->directory[0] != '\0' ? request->directory : plan.user.home;
    make_environment(&plan);
    make_arguments(&plan);
    int error =
        request->terminal ? open_terminal(&plan, ret, theirs) : open_pipes(&plan, ret, theirs);
    int code = error < 0
                   ? reason_set(reason, SPAWN_FAILED, "no streams: %s", strerrordesc_np(-error))
                   : start(&plan, ret, reason);
    close_all(theirs, 3);
    if (code != 0) {
        const int ours[] = {ret->input, request->terminal ? -1 : ret->output, ret->error};
        close_all(ours, 3);
    }
    return code;
}
