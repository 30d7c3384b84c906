#include "control/socket.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

static const char suffix[] = ".sock";
enum { SUFFIX_LENGTH = sizeof(suffix) - 1, BACKLOG = 16 };

bool control_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length >= CONTROL_NAME_SIZE || name[0] == '.' || name[0] == '-')
        return false;
    for (; *name != '\0'; name++) {
        if (!isascii(*name) || (!isalnum((unsigned char)*name) && strchr("._-", *name) == NULL))
            return false;
    }
    return true;
}

static int system_error(struct reason *reason, const char *path)
{
    int error = errno;
    return reason_set(reason, -error, "%s: %s", path, strerrordesc_np(error));
}

static int find_folder(char *ret, size_t size, struct reason *reason)
{
    /* One thread, as the header says. */
    const char *own = getenv("PARTITA_RUNTIME_DIR"); /* NOLINT(concurrency-mt-unsafe) */
    const char *user = getenv("XDG_RUNTIME_DIR");    /* NOLINT(concurrency-mt-unsafe) */
    int length;

    if (own != NULL && *own == '/')
        length = snprintf(ret, size, "%s", own);
    else if (geteuid() == 0)
        length = snprintf(ret, size, "/run/partita");
    else if (user != NULL && *user == '/')
        length = snprintf(ret, size, "%s/partita", user);
    else
        return reason_set(reason, -ENOENT,
                          "no place for the sockets of partitions: neither XDG_RUNTIME_DIR nor "
                          "PARTITA_RUNTIME_DIR is set");
    if (length < 0 || (size_t)length >= size)
        return reason_set(reason, -ENAMETOOLONG, "the folder for sockets has too long a name");
    return 0;
}

/* Others who could write there could put their own socket in place of ours. */
static int open_folder(const char *path, int *ret_fd, struct reason *reason)
{
    struct stat status;
    auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) < 0)
        return system_error(reason, path);
    if (status.st_uid != geteuid() || (status.st_mode & 077) != 0)
        return reason_set(reason, -EACCES,
                          "%s: must belong to this user, with no rights for others (chmod 700)",
                          path);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Who asks must see why nothing can run there; a folder that is not there yet is no error. */
static int check_folder(const char *path, struct reason *reason)
{
    auto_close int fd = -1;
    return access(path, F_OK) == 0 ? open_folder(path, &fd, reason) : 0;
}

static int make_address(const char *name, struct sockaddr_un *ret, struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];

    if (!control_name_is_valid(name))
        return reason_set(reason, -EINVAL,
                          "a name has up to %d letters, digits, '.', '_' and '-', and begins with a"
                          " letter, a digit or '_'",
                          CONTROL_NAME_SIZE - 1);
    int error = find_folder(folder, sizeof(folder), reason);
    if (error < 0)
        return error;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s%s", folder, name, suffix);
    if (length < 0 || (size_t)length >= sizeof(ret->sun_path))
        return reason_set(reason, -ENAMETOOLONG, "the socket for '%s' has too long a path", name);
    return 0;
}

/* One that takes connections, or has too many waiting, has a worker. */
static bool is_served(const struct sockaddr_un *address, int type)
{
    auto_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
                       errno == EAGAIN);
}

static int bind_socket(const struct sockaddr_un *address, int type, int *ret_fd,
                       struct reason *reason)
{
    auto_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || (unlink(address->sun_path) < 0 && errno != ENOENT) ||
        bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
        chmod(address->sun_path, 0600) < 0 || listen(fd, BACKLOG) < 0)
        return system_error(reason, address->sun_path);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Two that start at once must not both take the other's socket for a stale one. */
static int lock_folder(const char *path, int *ret_fd, struct reason *reason)
{
    auto_close int folder = -1;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return system_error(reason, path);
    int error = open_folder(path, &folder, reason);
    if (error == 0 && flock(folder, LOCK_EX) < 0)
        error = system_error(reason, path);
    if (error == 0)
        *ret_fd = take_fd(&folder);
    return error;
}

int control_listen(const char *name, struct control_listener *ret, struct reason *reason)
{
    struct sockaddr_un address;
    char path[CONTROL_SOCKET_PATH_SIZE];
    auto_close int folder = -1;

    int error = make_address(name, &address, reason);
    if (error == 0)
        error = find_folder(path, sizeof(path), reason);
    if (error == 0)
        error = lock_folder(path, &folder, reason);
    if (error < 0)
        return error;
    if (is_served(&address, SOCK_STREAM))
        return reason_set(reason, -EEXIST, "a partition named %s runs already", name);
    error = bind_socket(&address, SOCK_STREAM, &ret->fd, reason);
    if (error == 0)
        memcpy(ret->path, address.sun_path, sizeof(ret->path));
    return error;
}

/* ---- switches ---- */

int control_switch_path(const char *which, char ret[CONTROL_SOCKET_PATH_SIZE],
                        struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];
    int error = find_folder(folder, sizeof(folder), reason);

    if (error < 0)
        return error;
    int length = snprintf(ret, CONTROL_SOCKET_PATH_SIZE, "%s/.switch/%s", folder, which);
    if (length < 0 || length >= CONTROL_SOCKET_PATH_SIZE)
        return reason_set(reason, -ENAMETOOLONG, "the sockets of switches have too long a path");
    return 0;
}

static int make_switch_folder(const char *path, int *ret_lock, struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];
    auto_close int above = -1;
    int error = find_folder(folder, sizeof(folder), reason);

    if (error == 0)
        error = lock_folder(folder, &above, reason);
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    return error < 0 ? error : lock_folder(folder, ret_lock, reason);
}

int control_listen_switch(const char *which, int type, struct control_listener *ret,
                          struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int lock = -1;
    int error = control_switch_path(which, address.sun_path, reason);

    if (error == 0)
        error = make_switch_folder(address.sun_path, &lock, reason);
    if (error < 0)
        return error;
    if (is_served(&address, type))
        return reason_set(reason, -EEXIST, "the process of the switches runs already");
    error = bind_socket(&address, type, &ret->fd, reason);
    if (error == 0)
        memcpy(ret->path, address.sun_path, sizeof(ret->path));
    return error;
}

int control_connect_switch(int *ret_fd, struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = control_switch_path("control", address.sun_path, reason);

    if (error < 0)
        return error;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *ret_fd = take_fd(&fd);
        return 0;
    }
    if (errno == ENOENT || errno == ECONNREFUSED)
        return reason_set(reason, -ENOENT, "no process of switches runs");
    return system_error(reason, address.sun_path);
}

/* ---- sockets in a partition's own folder ---- */

/* `file` and what may follow it, in that folder. */
static int path_in_folder(const char *name, const char *file, const char *more,
                          char ret[CONTROL_SOCKET_PATH_SIZE], struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];
    int error = find_folder(folder, sizeof(folder), reason);

    if (error < 0)
        return error;
    if (!control_name_is_valid(name))
        return reason_set(reason, -EINVAL, "'%s' is not the name of a partition", name);
    int length = snprintf(ret, CONTROL_SOCKET_PATH_SIZE, "%s/%s.d/%s%s%s", folder, name, file,
                          more != NULL ? "_" : "", more != NULL ? more : "");
    if (length < 0 || length >= CONTROL_SOCKET_PATH_SIZE)
        return reason_set(reason, -ENAMETOOLONG, "the sockets of '%s' have too long a path", name);
    return 0;
}

int control_stream_path(const char *name, const char *service, char ret[CONTROL_SOCKET_PATH_SIZE],
                        struct reason *reason)
{
    return path_in_folder(name, "vsock", service, ret, reason);
}

static int make_own_folder(const char *path, struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];
    auto_close int fd = -1;

    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return system_error(reason, folder);
    return open_folder(folder, &fd, reason);
}

static int listen_in_folder(const char *name, const char *file, struct control_listener *ret,
                            struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = path_in_folder(name, file, NULL, address.sun_path, reason);

    if (error == 0)
        error = make_own_folder(address.sun_path, reason);
    if (error == 0)
        error = bind_socket(&address, SOCK_STREAM, &ret->fd, reason);
    if (error == 0)
        memcpy(ret->path, address.sun_path, sizeof(ret->path));
    return error;
}

int control_listen_streams(const char *name, struct control_listener *ret, struct reason *reason)
{
    return listen_in_folder(name, "vsock", ret, reason);
}

int control_display_path(const char *name, char ret[CONTROL_SOCKET_PATH_SIZE],
                         struct reason *reason)
{
    return path_in_folder(name, "display", NULL, ret, reason);
}

int control_listen_display(const char *name, struct control_listener *ret, struct reason *reason)
{
    return listen_in_folder(name, "display", ret, reason);
}

void control_unlisten_in_folder(struct control_listener *listener)
{
    if (listener->fd < 0)
        return;
    control_unlisten(listener);
    *strrchr(listener->path, '/') = '\0';
    (void)rmdir(listener->path); /* not while other sockets are there */
}

int control_connect_display(const char *name, int *ret_fd, struct reason *reason)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = control_display_path(name, address.sun_path, reason);

    if (error < 0)
        return error;
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *ret_fd = take_fd(&fd);
        return 0;
    }
    if (errno != ENOENT && errno != ECONNREFUSED)
        return system_error(reason, address.sun_path);
    auto_close int partition = -1;
    error = control_connect(name, &partition, reason);
    return error < 0
               ? error
               : reason_set(reason, -ENOTSUP, "partition %s was started without --video", name);
}

void control_unlisten(struct control_listener *listener)
{
    if (listener->fd < 0)
        return;
    (void)unlink(listener->path);
    (void)close(listener->fd);
    listener->fd = -1;
}

int control_accept(const struct control_listener *listener, int *ret_fd)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    auto_close int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    if (peer.uid != geteuid() && peer.uid != 0)
        return -EACCES;
    *ret_fd = take_fd(&fd);
    return 0;
}

int control_connect(const char *name, int *ret_fd, struct reason *reason)
{
    struct sockaddr_un address;
    char folder[CONTROL_SOCKET_PATH_SIZE];
    int error = make_address(name, &address, reason);

    if (error == 0)
        error = find_folder(folder, sizeof(folder), reason);
    if (error == 0)
        error = check_folder(folder, reason);
    if (error < 0)
        return error;
    auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return system_error(reason, address.sun_path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return reason_set(reason, -ENOENT, "no partition named %s runs", name);
        return system_error(reason, address.sun_path);
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

static int is_socket_name(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > SUFFIX_LENGTH && strcmp(entry->d_name + length - SUFFIX_LENGTH, suffix) == 0;
}

int control_list(void (*each)(void *owner, const char *name), void *owner, struct reason *reason)
{
    char folder[CONTROL_SOCKET_PATH_SIZE];
    struct dirent **entries = NULL;

    int error = find_folder(folder, sizeof(folder), reason);
    if (error == 0)
        error = check_folder(folder, reason);
    if (error < 0)
        return error;
    int count = scandir(folder, &entries, is_socket_name, alphasort);
    if (count < 0)
        return errno == ENOENT ? 0 : system_error(reason, folder);
    for (int i = 0; i < count; i++) {
        char *name = entries[i]->d_name;
        name[strlen(name) - SUFFIX_LENGTH] = '\0';
        if (control_name_is_valid(name))
            each(owner, name);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
