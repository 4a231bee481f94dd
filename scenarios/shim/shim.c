/* LD_PRELOAD shim with disk and clock faults for one validator.
 *
 * 1. QUORATE_SHIM_SYNC_DELAY_MS=N: every fsync, fdatasync and sync_file_range takes N ms longer. Whoever acknowledges
 *    before the disk has answered is found out by its speed.
 *
 * 2. QUORATE_SHIM_DIR=D QUORATE_SHIM_SHADOW=S: S always holds what a power cut would leave of D.
 *    The model is the strictest that POSIX allows, the write-back cache of a drive that writes nothing unasked:
 *    - bytes and length of a file become durable with fsync or fdatasync of that file, and not before;
 *    - names (created, renamed, removed) become durable with fsync of their directory, and not before;
 *      fsync of a file does not save its name, as ext4 happens to do;
 *    - sync_file_range saves nothing, as its manual page says.
 *    QUORATE_SHIM_LIE=1: a disk that says that it has synced and has not. A scenario that still holds tries nothing.
 *    After a kill the harness replaces D by the image in S; see src/shim.rs, which also writes the first image.
 *
 *    S/table           "inode id" a line, the last of an inode counts: the identity of each file; id 0: none any more.
 *                      Kept while the process runs, so that one that is killed and started again goes on from it
 *    S/files/ID        the durable bytes of file ID
 *    S/dirs/PATH       a directory's durable names, '/' in PATH being '|': "f ID MODE name" or "d - MODE name". They go
 *                      with a directory that is renamed, and a new one has none
 *    S/warnings        what the model cannot follow (shared writable mappings); the harness fails if there is any
 *
 * 3. QUORATE_SHIM_CONTROL=F: faults that come and go while the process runs. F holds the numbers of `struct control`
 *    below, and is mapped; whoever writes to it changes what the process meets from the next call on. Failing calls
 *    need 2., which says which files are the validator's data.
 *
 * Interposition sees calls into libc, which is how RocksDB (linked statically) and Rust's std reach the kernel. stdio
 * streams are not seen: RocksDB writes only its info log through them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 4096

/* A file that the model follows. `from`..`to` are the bytes that may differ from the durable copy. */
struct file {
    ino_t inode;
    unsigned long id;
    off_t from, to;
    struct file *next;
};

/* Written by the harness (src/shim.rs, Control), in this order. All zero is a sound machine. */
struct control {
    volatile int64_t sync_delay_ms;  /* before each fsync and fdatasync */
    volatile int64_t sync_errno;     /* these fail with it */
    volatile int64_t write_errno;    /* writes to data fail with it, and nothing is written */
    volatile int64_t write_delay_us; /* before each write to data */
    volatile int64_t clock_shift_ns; /* added to the wall clock; monotonic time is left alone */
    volatile int64_t clock_frozen_ns; /* if not 0: what the wall clock shows */
};
static const struct control sound;
static const struct control *control = &sound;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *table[BUCKETS];
static unsigned long next_id = 1;
static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_len;
static long delay_ms;
static int lying;
static int table_fd = -1;

#define REAL(type, name, ...)                                              \
    static type (*real)(__VA_ARGS__);                                      \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void warn(const char *what, const char *path)
{
    char name[PATH_MAX + 16];
    snprintf(name, sizeof name, "%s/warnings", shadow);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0) return;
    dprintf(fd, "%s %s\n", what, path);
    syscall(SYS_close, fd);
}

static struct file *find(ino_t inode)
{
    for (struct file *f = table[inode % BUCKETS]; f; f = f->next)
        if (f->inode == inode) return f;
    return NULL;
}

/* Writes down who is who, for the process that follows after a kill. */
static void note(ino_t inode, unsigned long id)
{
    char line[64];
    if (table_fd < 0) return;
    int n = snprintf(line, sizeof line, "%lu %lu\n", (unsigned long)inode, id);
    if (syscall(SYS_write, table_fd, line, n) != n) warn("cannot note", line);
}

static struct file *add(ino_t inode, unsigned long id)
{
    struct file *f = calloc(1, sizeof *f);
    if (!f) abort();
    f->inode = inode;
    f->id = id;
    f->from = LLONG_MAX;
    f->next = table[inode % BUCKETS];
    table[inode % BUCKETS] = f;
    if (id >= next_id) next_id = id + 1;
    note(inode, id);
    return f;
}

/* The inode is about to be free for another file; the durable names may still lead to this one's bytes. */
static void forget(ino_t inode)
{
    for (struct file **at = &table[inode % BUCKETS]; *at; at = &(*at)->next)
        if ((*at)->inode == inode) {
            struct file *gone = *at;
            *at = gone->next;
            free(gone);
            note(inode, 0);
            return;
        }
}

static void touch(struct file *f, off_t from, off_t to)
{
    if (from < f->from) f->from = from;
    if (to > f->to) f->to = to;
}

/* The path of an open file below the root, or NULL; the root itself is "". */
static const char *below(int fd, char *buffer)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    if (n < 0) return NULL;
    buffer[n] = 0;
    if (strncmp(buffer, root, root_len)) return NULL;
    if (buffer[root_len] == 0) return "";
    return buffer[root_len] == '/' ? buffer + root_len + 1 : NULL;
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("QUORATE_SHIM_SYNC_DELAY_MS");
    delay_ms = text ? atol(text) : 0;
    lying = getenv("QUORATE_SHIM_LIE") != NULL;
    const char *told = getenv("QUORATE_SHIM_CONTROL");
    if (told) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, told, O_RDONLY);
        void *at = MAP_FAILED;
        if (fd >= 0) at = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) abort();
        control = at;
        syscall(SYS_close, fd);
    }
    const char *dir = getenv("QUORATE_SHIM_DIR"), *to = getenv("QUORATE_SHIM_SHADOW");
    if (!dir || !to || !realpath(dir, root) || !realpath(to, shadow)) return;
    char name[PATH_MAX + 16];
    snprintf(name, sizeof name, "%s/table", shadow);
    FILE *in = fopen(name, "r");
    if (!in) abort();
    unsigned long inode, id;
    while (fscanf(in, "%lu %lu", &inode, &id) == 2) {
        if (id >= next_id) next_id = id + 1;
        forget((ino_t)inode);
        if (!id) continue;
        /* What an earlier process had written and not synced is not known any more: the next sync copies it all. */
        struct file *f = add((ino_t)inode, id);
        touch(f, 0, LLONG_MAX);
    }
    fclose(in);
    table_fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND);
    if (table_fd < 0) abort();
    root_len = strlen(root);
}

/* After a successful open: follow regular files of the tree. */
static void opened(int fd, int flags)
{
    char buffer[PATH_MAX];
    struct stat st;
    if (!root_len || fd < 0 || (flags & O_ACCMODE) == O_RDONLY) return;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !below(fd, buffer)) return;
    pthread_mutex_lock(&lock);
    struct file *f = find(st.st_ino);
    if (!f) {
        f = add(st.st_ino, next_id);
        if (st.st_size > 0) touch(f, 0, LLONG_MAX);
    }
    if (flags & O_TRUNC) touch(f, 0, LLONG_MAX);
    pthread_mutex_unlock(&lock);
}

static void wrote(int fd, off_t from, off_t to)
{
    struct stat st;
    if (!root_len || fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
    pthread_mutex_lock(&lock);
    struct file *f = find(st.st_ino);
    if (f) touch(f, from, to);
    pthread_mutex_unlock(&lock);
}

/* After write or writev, whose end is where the descriptor stands now. */
static void wrote_here(int fd, ssize_t n)
{
    if (!root_len || n <= 0) return;
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (end >= n) wrote(fd, end - n, end);
}

/* Before fsync returns: copy what may have changed, under the real length. The kernel's fsync is not needed for the
 * model, since the page cache outlives a killed process. */
static void save_file(int fd, const struct stat *st)
{
    char name[PATH_MAX + 64], path[64];
    static char bytes[1 << 16];
    struct file *f = find(st->st_ino);
    if (!f) {
        f = add(st->st_ino, next_id);
        touch(f, 0, LLONG_MAX);
    }
    snprintf(name, sizeof name, "%s/files/%lu", shadow, f->id);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int in = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    int out = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT, 0600);
    if (in < 0 || out < 0) { warn("cannot copy", name); goto done; }
    if (syscall(SYS_ftruncate, out, st->st_size)) warn("cannot truncate", name);
    off_t end = f->to < st->st_size ? f->to : st->st_size;
    for (off_t at = f->from; at < end;) {
        size_t want = (size_t)(end - at) < sizeof bytes ? (size_t)(end - at) : sizeof bytes;
        long n = syscall(SYS_pread64, in, bytes, want, at);
        if (n <= 0) break;
        if (syscall(SYS_pwrite64, out, bytes, n, at) != n) { warn("short copy", name); break; }
        at += n;
    }
    f->from = LLONG_MAX;
    f->to = 0;
done:
    if (in >= 0) syscall(SYS_close, in);
    if (out >= 0) syscall(SYS_close, out);
}

static void save_directory(const char *relative)
{
    char live[2 * PATH_MAX], flat[PATH_MAX], name[2 * PATH_MAX + 16], fresh[2 * PATH_MAX + 32];
    snprintf(live, sizeof live, "%s/%s", root, relative);
    snprintf(flat, sizeof flat, "%s", relative);
    for (char *c = flat; *c; c++) if (*c == '/') *c = '|';
    snprintf(name, sizeof name, "%s/dirs/%s|", shadow, flat);
    snprintf(fresh, sizeof fresh, "%s/fresh", shadow);
    DIR *dir = opendir(live);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!dir || fd < 0) { warn("cannot list", live); goto done; }
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        if (S_ISDIR(st.st_mode)) {
            dprintf(fd, "d - %o %s\n", st.st_mode & 07777, e->d_name);
        } else if (S_ISREG(st.st_mode)) {
            struct file *f = find(st.st_ino);
            if (!f) {
                f = add(st.st_ino, next_id);
                touch(f, 0, LLONG_MAX);
            }
            dprintf(fd, "f %lu %o %s\n", f->id, st.st_mode & 07777, e->d_name);
        }
    }
    /* Not the function of that name: this file wraps it, and the lock is taken. */
    if (syscall(SYS_renameat, AT_FDCWD, fresh, AT_FDCWD, name)) warn("cannot keep", name);
done:
    if (dir) closedir(dir);
    if (fd >= 0) syscall(SYS_close, fd);
}

static void synced(int fd)
{
    char buffer[PATH_MAX];
    struct stat st;
    if (!root_len || lying || fstat(fd, &st)) return;
    const char *relative = below(fd, buffer);
    if (!relative) return;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(st.st_mode)) save_directory(relative);
    else if (S_ISREG(st.st_mode)) save_file(fd, &st);
    pthread_mutex_unlock(&lock);
}

static void wait_ns(long long ns)
{
    struct timespec left = { ns / 1000000000, ns % 1000000000 };
    while (ns > 0 && nanosleep(&left, &left) && errno == EINTR) {}
}

static void delay(void)
{
    wait_ns((delay_ms + control->sync_delay_ms) * 1000000LL);
}

/* Whether a sync fails. Of data only: a log on a full disk is another matter. */
static int sync_fails(int fd)
{
    char buffer[PATH_MAX];
    if (!control->sync_errno || !root_len || !below(fd, buffer)) return 0;
    errno = (int)control->sync_errno;
    return 1;
}

/* Before a write to data: the delay, and whether it fails. */
static int write_fails(int fd)
{
    struct stat st;
    if (!control->write_errno && !control->write_delay_us) return 0;
    if (!root_len || fstat(fd, &st) || !S_ISREG(st.st_mode)) return 0;
    pthread_mutex_lock(&lock);
    int data = find(st.st_ino) != NULL;
    pthread_mutex_unlock(&lock);
    if (!data) return 0;
    wait_ns(control->write_delay_us * 1000LL);
    if (!control->write_errno) return 0;
    errno = (int)control->write_errno;
    return 1;
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    if (syscall(SYS_clock_gettime, id, out)) return -1;
    if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) return 0;
    long long shift = control->clock_shift_ns, frozen = control->clock_frozen_ns;
    if (!shift && !frozen) return 0;
    long long now = out->tv_sec * 1000000000LL + out->tv_nsec;
    now = frozen ? frozen : now + shift;
    out->tv_sec = now / 1000000000LL;
    out->tv_nsec = now % 1000000000LL;
    return 0;
}

int fsync(int fd)
{
    REAL(int, "fsync", int);
    delay();
    if (sync_fails(fd)) return -1;
    if (real(fd)) return -1;
    synced(fd);
    return 0;
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int);
    delay();
    if (sync_fails(fd)) return -1;
    if (real(fd)) return -1;
    synced(fd);
    return 0;
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned flags)
{
    REAL(int, "sync_file_range", int, off64_t, off64_t, unsigned);
    delay();
    return real(fd, offset, count, flags);
}

#define DEFINE_OPEN(name)                                                  \
    int name(const char *path, int flags, ...)                             \
    {                                                                      \
        static int (*real)(const char *, int, ...);                        \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list list;                                                      \
        va_start(list, flags);                                             \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                      \
        int fd = real(path, flags, mode);                                  \
        opened(fd, flags);                                                 \
        return fd;                                                         \
    }
#define DEFINE_OPENAT(name)                                                \
    int name(int at, const char *path, int flags, ...)                     \
    {                                                                      \
        static int (*real)(int, const char *, int, ...);                   \
        if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list list;                                                      \
        va_start(list, flags);                                             \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; \
        va_end(list);                                                      \
        int fd = real(at, path, flags, mode);                              \
        opened(fd, flags);                                                 \
        return fd;                                                         \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t len)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    if (write_fails(fd)) return -1;
    ssize_t n = real(fd, bytes, len);
    wrote_here(fd, n);
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (write_fails(fd)) return -1;
    ssize_t n = real(fd, parts, count);
    wrote_here(fd, n);
    return n;
}

#define DEFINE_PWRITE(name)                                                \
    ssize_t name(int fd, const void *bytes, size_t len, off_t at)          \
    {                                                                      \
        REAL(ssize_t, #name, int, const void *, size_t, off_t);            \
        if (write_fails(fd)) return -1;                                    \
        ssize_t n = real(fd, bytes, len, at);                              \
        if (n > 0) wrote(fd, at, at + n);                                  \
        return n;                                                          \
    }
DEFINE_PWRITE(pwrite)
DEFINE_PWRITE(pwrite64)

/* What is copied inside the kernel. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    if (write_fails(out)) return -1;
    ssize_t n = real(in, in_at, out, out_at, len, flags);
    if (n > 0) wrote(out, 0, LLONG_MAX);
    return n;
}

#define DEFINE_SENDFILE(name, offset)                                      \
    ssize_t name(int out, int in, offset *at, size_t len)                  \
    {                                                                      \
        REAL(ssize_t, #name, int, int, offset *, size_t);                  \
        if (write_fails(out)) return -1;                                   \
        ssize_t n = real(out, in, at, len);                                \
        if (n > 0) wrote(out, 0, LLONG_MAX);                               \
        return n;                                                          \
    }
DEFINE_SENDFILE(sendfile, off_t)
DEFINE_SENDFILE(sendfile64, off64_t)

#define DEFINE_FTRUNCATE(name)                                             \
    int name(int fd, off_t len)                                            \
    {                                                                      \
        REAL(int, #name, int, off_t);                                      \
        int result = real(fd, len);                                        \
        if (!result) wrote(fd, len, LLONG_MAX);                            \
        return result;                                                     \
    }
DEFINE_FTRUNCATE(ftruncate)
DEFINE_FTRUNCATE(ftruncate64)

static void vanishing(int at, const char *path)
{
    struct stat st;
    if (!root_len || fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW)) return;
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1) return;
    pthread_mutex_lock(&lock);
    forget(st.st_ino);
    pthread_mutex_unlock(&lock);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    vanishing(AT_FDCWD, path);
    return real(path);
}

int unlinkat(int at, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    if (!(flags & AT_REMOVEDIR)) vanishing(at, path);
    return real(at, path, flags);
}

static void flatten(char *flat, size_t size, const char *relative)
{
    snprintf(flat, size, "%s|", relative);
    for (char *c = flat; *c; c++) if (*c == '/') *c = '|';
}

/* The durable names of the directory at `old`, and of all below it, are from now on those of the one at `new`; without
 * `old`, that one has none. The names at `old` stay: until its parent is synced, a power cut takes the rename back. */
static void carry(const char *old, const char *new)
{
    char listings[PATH_MAX + 8], from[PATH_MAX], to[PATH_MAX], source[2 * PATH_MAX], target[3 * PATH_MAX];
    snprintf(listings, sizeof listings, "%s/dirs", shadow);
    flatten(to, sizeof to, new);
    if (old) flatten(from, sizeof from, old);
    pthread_mutex_lock(&lock);
    for (int copying = 0; copying < (old ? 2 : 1); copying++) {
        const char *prefix = copying ? from : to;
        DIR *dir = opendir(listings);
        if (!dir) { warn("cannot list", listings); break; }
        for (struct dirent *e; (e = readdir(dir));) {
            if (strncmp(e->d_name, prefix, strlen(prefix))) continue;
            snprintf(source, sizeof source, "%s/%s", listings, e->d_name);
            if (!copying) { syscall(SYS_unlinkat, AT_FDCWD, source, 0); continue; }
            snprintf(target, sizeof target, "%s/%s%s", listings, to, e->d_name + strlen(prefix));
            /* A listing is never written to, only replaced. */
            if (syscall(SYS_linkat, AT_FDCWD, source, AT_FDCWD, target, 0)) warn("cannot carry", source);
        }
        closedir(dir);
    }
    pthread_mutex_unlock(&lock);
}

static int open_directory(const char *path)
{
    return root_len ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY) : -1;
}

/* A rename over a file frees the one it replaces. */
int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    char before[PATH_MAX], after[PATH_MAX];
    vanishing(AT_FDCWD, to);
    int dir = open_directory(from);
    const char *old = dir < 0 ? NULL : below(dir, before);
    int result = real(from, to);
    const char *new = old && !result ? below(dir, after) : NULL;
    if (new) carry(old, new);
    if (dir >= 0) syscall(SYS_close, dir);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    char buffer[PATH_MAX];
    int result = real(path, mode);
    int dir = result ? -1 : open_directory(path);
    const char *new = dir < 0 ? NULL : below(dir, buffer);
    if (new) carry(NULL, new);
    if (dir >= 0) syscall(SYS_close, dir);
    return result;
}

#define DEFINE_MMAP(name)                                                  \
    void *name(void *hint, size_t len, int protection, int flags, int fd, off_t at) \
    {                                                                      \
        REAL(void *, #name, void *, size_t, int, int, int, off_t);         \
        char buffer[PATH_MAX];                                             \
        if (root_len && fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && below(fd, buffer)) \
            warn("shared writable mapping", buffer);                       \
        return real(hint, len, protection, flags, fd, at);                 \
    }
DEFINE_MMAP(mmap)
DEFINE_MMAP(mmap64)
