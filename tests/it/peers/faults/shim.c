/* Faults on demand for one process, without FUSE or root: loaded with LD_PRELOAD in front of libc.
 *
 * What it does is said by files beside it, since the product keeps no variables it does not know: `rules` has a rule a
 * line, read again whenever its text changes; counts begin again then:
 *
 *     ops path nth action
 *
 * `ops` is a comma-separated list of open, create, write, sync, rename, link, mkdir, truncate, unlink, or `any` (all but
 * plain open). `path` is a part of the file's path. `nth` is a number from 1, or `4+` for the fourth and all later ones.
 * `action` is EIO, ENOSPC, EACCES, delay=MS, kill (before the operation), tear (half of the bytes, then kill).
 *
 * `clock` holds seconds the wall clock is ahead, or with a minus behind; without it that is as it is.
 *
 * `root` holds a part of the path that every operation looked at has. `trace`, if it exists, gets a line for each but opens.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { RULES = 16, TEXT = 4096 };
struct rule { char ops[96], path[256], action[32]; long nth; int later; long seen; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES];
static int count;
static char text[TEXT];
static char root[512], rules_file[512], trace_file[512], clock_file[512];

/* The system calls themselves, past our own wrappers. */
static int raw_open(const char *path, int flags) { return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644); }

/* Finds the files beside this one. */
__attribute__((constructor)) static void begin(void) {
    Dl_info own;
    if (!dladdr((void *)begin, &own) || !own.dli_fname) return;
    const char *slash = strrchr(own.dli_fname, '/');
    int length = slash ? (int)(slash - own.dli_fname) : 0;
    snprintf(rules_file, sizeof rules_file, "%.*s/rules", length, own.dli_fname);
    snprintf(trace_file, sizeof trace_file, "%.*s/trace", length, own.dli_fname);
    snprintf(clock_file, sizeof clock_file, "%.*s/clock", length, own.dli_fname);
    char path[512];
    snprintf(path, sizeof path, "%.*s/root", length, own.dli_fname);
    int fd = raw_open(path, O_RDONLY);
    if (fd < 0) return;
    long read = syscall(SYS_read, fd, root, sizeof root - 1);
    if (read < 0) root[0] = 0;
    syscall(SYS_close, fd);
}

static void read_rules(void) {
    char now[TEXT] = {0};
    int fd = raw_open(rules_file, O_RDONLY);
    if (fd < 0) return;
    long length = syscall(SYS_read, fd, now, TEXT - 1);
    syscall(SYS_close, fd);
    if (length < 0 || !strcmp(now, text)) return;
    strcpy(text, now);
    count = 0;
    char *state = NULL;
    for (char *line = strtok_r(now, "\n", &state); line && count < RULES; line = strtok_r(NULL, "\n", &state)) {
        struct rule *rule = &rules[count];
        char nth[24];
        memset(rule, 0, sizeof *rule);
        if (sscanf(line, "%95s %255s %23s %31s", rule->ops, rule->path, nth, rule->action) != 4) continue;
        rule->nth = strtol(nth, NULL, 10);
        rule->later = strchr(nth, '+') != NULL;
        count++;
    }
}

static void trace(const char *op, const char *path) {
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", op, path);
    int fd = raw_open(trace_file, O_WRONLY | O_APPEND);
    if (fd < 0) return;
    if (syscall(SYS_write, fd, line, length) < 0) { /* a trace is not worth a fault of its own */ }
    syscall(SYS_close, fd);
}

static int names(const char *ops, const char *op) {
    if (!strcmp(ops, "any")) return strcmp(op, "open") != 0;
    size_t length = strlen(op);
    for (const char *at = ops; (at = strstr(at, op)); at += length)
        if ((at == ops || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return 1;
    return 0;
}

enum { GO = 0, TEAR = -1 };

/* An errno to answer with, TEAR, or GO. */
static int fault(const char *op, const char *path) {
    if (!*root || !path || !strstr(path, root)) return GO;
    int answer = GO;
    long delay = 0;
    pthread_mutex_lock(&lock);
    read_rules();
    if (strcmp(op, "open")) trace(op, path);
    for (int i = 0; i < count; i++) {
        struct rule *rule = &rules[i];
        if (!names(rule->ops, op) || !strstr(path, rule->path)) continue;
        rule->seen++;
        if (rule->seen != rule->nth && !(rule->later && rule->seen > rule->nth)) continue;
        if (!strcmp(rule->action, "EIO")) answer = EIO;
        else if (!strcmp(rule->action, "ENOSPC")) answer = ENOSPC;
        else if (!strcmp(rule->action, "EACCES")) answer = EACCES;
        else if (!strcmp(rule->action, "tear")) answer = TEAR;
        else if (!strcmp(rule->action, "kill")) kill(getpid(), SIGKILL);
        else if (!strncmp(rule->action, "delay=", 6)) delay = strtol(rule->action + 6, NULL, 10);
    }
    pthread_mutex_unlock(&lock);
    if (delay) {
        struct timespec wait = {delay / 1000, delay % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    return answer;
}

static int fault_at(const char *op, int at, const char *path) {
    char whole[PATH_MAX * 2], link[64];
    if (path && (path[0] == '/' || at == AT_FDCWD)) return fault(op, path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = readlink(link, whole, PATH_MAX);
    if (length < 0) return GO;
    whole[length] = 0;
    if (path) snprintf(whole + length, PATH_MAX, "/%s", path);
    return fault(op, whole);
}

#define NEXT(name) ({ static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })
#define REFUSE(answer) do { int e_ = (answer); if (e_ > 0) { errno = e_; return -1; } if (e_ == TEAR) kill(getpid(), SIGKILL); } while (0)

static int is_creating(int flags) { return flags & O_CREAT; }
static mode_t mode_of(int flags, va_list rest) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; }
static const char *open_op(const char *path, int flags) {
    return is_creating(flags) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) ? "create" : "open";
}

#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    REFUSE(fault(open_op(path, flags), path)); return NEXT(name)(path, flags, mode); }
OPEN(open)
OPEN(open64)
#define OPENAT(name) int name(int at, const char *path, int flags, ...) { \
    va_list rest; va_start(rest, flags); mode_t mode = mode_of(flags, rest); va_end(rest); \
    REFUSE(fault_at(is_creating(flags) ? "create" : "open", at, path)); return NEXT(name)(at, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)

/* A write that is torn leaves half of its bytes. */
ssize_t write(int fd, const void *bytes, size_t length) {
    int answer = fault_at("write", fd, NULL);
    if (answer == TEAR) syscall(SYS_write, fd, bytes, length / 2);
    REFUSE(answer);
    return NEXT(write)(fd, bytes, length);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
    REFUSE(fault_at("write", fd, NULL));
    return NEXT(writev)(fd, parts, number);
}
#define PWRITE(name, type) ssize_t name(int fd, const void *bytes, size_t length, type offset) { \
    int answer = fault_at("write", fd, NULL); \
    if (answer == TEAR) syscall(SYS_pwrite64, fd, bytes, length / 2, offset); \
    REFUSE(answer); return NEXT(name)(fd, bytes, length, offset); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

int fsync(int fd) { REFUSE(fault_at("sync", fd, NULL)); return NEXT(fsync)(fd); }
int fdatasync(int fd) { REFUSE(fault_at("sync", fd, NULL)); return NEXT(fdatasync)(fd); }
int ftruncate(int fd, off_t length) { REFUSE(fault_at("truncate", fd, NULL)); return NEXT(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { REFUSE(fault_at("truncate", fd, NULL)); return NEXT(ftruncate64)(fd, length); }
int rename(const char *from, const char *to) { REFUSE(fault("rename", to)); return NEXT(rename)(from, to); }
int renameat(int f, const char *from, int t, const char *to) { REFUSE(fault_at("rename", t, to)); return NEXT(renameat)(f, from, t, to); }
int renameat2(int f, const char *from, int t, const char *to, unsigned flags) {
    REFUSE(fault_at("rename", t, to)); return NEXT(renameat2)(f, from, t, to, flags); }
int link(const char *from, const char *to) { REFUSE(fault("link", to)); return NEXT(link)(from, to); }
int linkat(int f, const char *from, int t, const char *to, int flags) {
    REFUSE(fault_at("link", t, to)); return NEXT(linkat)(f, from, t, to, flags); }
/* A directory that exists needs no room: the kernel says so first. */
int mkdir(const char *path, mode_t mode) {
    if (syscall(SYS_faccessat, AT_FDCWD, path, F_OK)) REFUSE(fault("mkdir", path));
    return NEXT(mkdir)(path, mode);
}
int mkdirat(int at, const char *path, mode_t mode) { REFUSE(fault_at("mkdir", at, path)); return NEXT(mkdirat)(at, path, mode); }
int unlink(const char *path) { REFUSE(fault("unlink", path)); return NEXT(unlink)(path); }
int unlinkat(int at, const char *path, int flags) { REFUSE(fault_at("unlink", at, path)); return NEXT(unlinkat)(at, path, flags); }

/* The wall clock, as an operator or a time server sets it; the monotonic one is as it is. */
int clock_gettime(clockid_t which, struct timespec *now) {
    int answer = syscall(SYS_clock_gettime, which, now);
    if (answer || which != CLOCK_REALTIME || !*clock_file) return answer;
    char seconds[32] = {0};
    int fd = raw_open(clock_file, O_RDONLY);
    if (fd < 0) return 0;
    if (syscall(SYS_read, fd, seconds, sizeof seconds - 1) > 0) now->tv_sec += strtol(seconds, NULL, 10);
    syscall(SYS_close, fd);
    return 0;
}
