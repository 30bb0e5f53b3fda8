/* LD_PRELOAD library: dies at the n-th call that makes something durable or gives it a name.
 *
 * crash_at(n) arms it, crash_at(0) disarms it. Counted are fsync, fdatasync, rename, renameat, renameat2, unlink,
 * unlinkat and ftruncate, and of the writes to regular files between two of these, the first. The process kills itself
 * with SIGKILL instead of the n-th call; a write first gets half of its bytes out, as a torn one would.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long counted, fatal;

static atomic_int written;

void crash_at(long n) { atomic_store(&counted, 0); atomic_store(&fatal, n); }

static int is_nth(void) { return atomic_fetch_add(&counted, 1) + 1 == atomic_load(&fatal); }
static int is_fatal(void) { atomic_store(&written, 0); return is_nth(); }
static int is_fatal_write(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && !atomic_exchange(&written, 1) && is_nth();
}
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(type, name, ...)                                         \
    static type (*real)(__VA_ARGS__);                                 \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define DIE_IF_FATAL() do { if (is_fatal()) die(); } while (0)

int fsync(int fd) { REAL(int, "fsync", int); DIE_IF_FATAL(); return real(fd); }
int fdatasync(int fd) { REAL(int, "fdatasync", int); DIE_IF_FATAL(); return real(fd); }
int unlink(const char *path) { REAL(int, "unlink", const char *); DIE_IF_FATAL(); return real(path); }
int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int); DIE_IF_FATAL(); return real(at, path, flags);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *); DIE_IF_FATAL(); return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *); DIE_IF_FATAL(); return real(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    DIE_IF_FATAL();
    return real(a, from, b, to, flags);
}
int ftruncate(int fd, off_t n) { REAL(int, "ftruncate", int, off_t); DIE_IF_FATAL(); return real(fd, n); }
int ftruncate64(int fd, off64_t n) { REAL(int, "ftruncate64", int, off64_t); DIE_IF_FATAL(); return real(fd, n); }

ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (is_fatal_write(fd)) { real(fd, data, n / 2); die(); }
    return real(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (is_fatal_write(fd)) { real(fd, data, n / 2, at); die(); }
    return real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (is_fatal_write(fd)) { real(fd, data, n / 2, at); die(); }
    return real(fd, data, n, at);
}
