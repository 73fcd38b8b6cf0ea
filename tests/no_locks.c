/* A file system without locks, as LD_PRELOAD: whoever asks for one is told that there are none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

static int answer(const char *name, int fd, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {
        errno = ENOLCK;
        return -1;
    }
    int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
    return real(fd, command, argument);
}

#define REPLACE(name) \
    int name(int fd, int command, ...) { \
        va_list given; \
        va_start(given, command); \
        void *argument = va_arg(given, void *); \
        va_end(given); \
        return answer(#name, fd, command, argument); \
    }

REPLACE(fcntl)
REPLACE(fcntl64)
