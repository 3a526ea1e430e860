/* The first connections are not accepted, with the error numbers that IPCD_TEST_ACCEPT lists ("1,71"), one after the other;
 * they stay in the line. Preloaded into a daemon of `tests/accept.rs`, which has one thread. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int accept4(int socket, struct sockaddr *restrict address, socklen_t *restrict len, int flags)
{
    static int (*real)(int, struct sockaddr *, socklen_t *, int);
    static char *left;
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "accept4");
        left = getenv("IPCD_TEST_ACCEPT");
    }
    if (left && *left) {
        errno = strtol(left, &left, 10);
        if (*left == ',')
            left++;
        return -1;
    }
    return real(socket, address, len, flags);
}
