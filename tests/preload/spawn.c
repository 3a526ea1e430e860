/* Of the processes that a program starts, the one with the number in IPCD_TEST_SPAWN gets no further than the moment before its
 * program is executed: it holds copies of the parent's descriptors, but for the standard streams. Preloaded into a
 * daemon of `tests/faults.rs`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

int posix_spawnp(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *restrict actions,
                 const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict])
{
    static int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                       char *const[], char *const[]);
    static int started;
    const char *stuck = getenv("IPCD_TEST_SPAWN");
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "posix_spawnp");
    if (!stuck || ++started != atoi(stuck))
        return real(pid, file, actions, attributes, argv, envp);
    *pid = fork();
    if (*pid == 0) {
        alarm(60); /* it ends by itself, whatever becomes of the test */
        for (int stream = 0; stream < 3; stream++)
            close(stream);
    }
    while (*pid == 0)
        pause();
    return 0;
}
