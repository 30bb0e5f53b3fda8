/* LD_PRELOAD library: sends the process a signal just before the n-th call that changes a folder, a file or a time.
 *
 * arm(n, SIGKILL) dies there, a write first with half of its bytes out; arm(n, SIGSTOP) waits there for SIGCONT and then
 * goes on. calls_counted() says how many there were. Counted: fsync, rename, link, unlink, utimensat, futimens, write to regular files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long counted, fatal;
static int with;

void arm(long n, int signal) { with = signal; atomic_store(&counted, 0); atomic_store(&fatal, n); }
long calls_counted(void) { return atomic_load(&counted); }

static int is_due(void) { return atomic_fetch_add(&counted, 1) + 1 == atomic_load(&fatal); }
static int is_regular(int fd) { struct stat s; return fstat(fd, &s) == 0 && S_ISREG(s.st_mode); }

#define REAL(type, name, ...)                                         \
    static type (*real)(__VA_ARGS__);                                 \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define SIGNAL_IF_DUE() do { if (is_due()) kill(getpid(), with); } while (0)

int fsync(int fd) { REAL(int, "fsync", int); SIGNAL_IF_DUE(); return real(fd); }
int unlink(const char *path) { REAL(int, "unlink", const char *); SIGNAL_IF_DUE(); return real(path); }
int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *); SIGNAL_IF_DUE(); return real(from, to);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *); SIGNAL_IF_DUE(); return real(from, to);
}
int utimensat(int at, const char *path, const struct timespec *times, int flags) {
    REAL(int, "utimensat", int, const char *, const struct timespec *, int);
    SIGNAL_IF_DUE();
    return real(at, path, times, flags);
}
int futimens(int fd, const struct timespec *times) {
    REAL(int, "futimens", int, const struct timespec *); SIGNAL_IF_DUE(); return real(fd, times);
}
ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (is_regular(fd) && is_due()) {
        if (with == SIGKILL) real(fd, data, n / 2);
        kill(getpid(), with);
    }
    return real(fd, data, n);
}
