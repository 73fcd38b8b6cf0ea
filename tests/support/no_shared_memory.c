/*
 * A file system on which files can be locked, but not the shared memory of SQLite's write-ahead log. Preloaded.
 * SHARED_MEMORY=no-locks: as NFS of some clusters; no-map: as 9p and some FUSE. DATABASE=no-locks: that of
 * harvest.db fail too, and those of other files do not. SQLite tries locks for ten seconds: its waits are short here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static int ends(int fd, const char *end)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    ssize_t most = (ssize_t)strlen(end);
    return length > most && !memcmp(path + length - most, end, (size_t)most);
}

static int is_set(const char *name, const char *value)
{
    const char *set = getenv(name);
    return set && !strcmp(set, value);
}

#define LOCK(name)                                                                                        \
    int name(int fd, int command, ...)                                                                    \
    {                                                                                                     \
        va_list rest;                                                                                     \
        va_start(rest, command);                                                                          \
        void *argument = va_arg(rest, void *);                                                            \
        va_end(rest);                                                                                     \
        static int (*real)(int, int, ...);                                                                \
        if (!real)                                                                                        \
            real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name);                                       \
        if ((command == F_SETLK || command == F_SETLKW) && ((struct flock *)argument)->l_type != F_UNLCK) { \
            if (is_set("SHARED_MEMORY", "no-locks") && ends(fd, "-shm")) {                                \
                errno = EAGAIN;                                                                           \
                return -1;                                                                                \
            }                                                                                             \
            if (is_set("DATABASE", "no-locks") && ends(fd, "/harvest.db")) {                              \
                errno = EIO;                                                                              \
                return -1;                                                                                \
            }                                                                                             \
        }                                                                                                 \
        return real(fd, command, argument);                                                               \
    }
LOCK(fcntl)
LOCK(fcntl64)

#define MAP(name, offset)                                                                                 \
    void *name(void *at, size_t length, int access, int flags, int fd, offset from)                       \
    {                                                                                                     \
        static void *(*real)(void *, size_t, int, int, int, offset);                                      \
        if (!real)                                                                                        \
            real = (void *(*)(void *, size_t, int, int, int, offset))dlsym(RTLD_NEXT, #name);             \
        if (fd >= 0 && is_set("SHARED_MEMORY", "no-map") && ends(fd, "-shm")) {                           \
            errno = ENODEV;                                                                               \
            return MAP_FAILED;                                                                            \
        }                                                                                                 \
        return real(at, length, access, flags, fd, from);                                                 \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

int usleep(useconds_t microseconds)
{
    static int (*real)(useconds_t);
    if (!real)
        real = (int (*)(useconds_t))dlsym(RTLD_NEXT, "usleep");
    return real(microseconds / 50);
}
