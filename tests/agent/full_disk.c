/* A full disk below SQLite: while the file named by FULL_DISK_SWITCH exists, nothing under FULL_DISK_PREFIX grows.
 *
 * Preloaded into the process under test. As on a real one, what overwrites blocks that a file has still succeeds.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuses(int fd, off_t until) {
    const char *prefix = getenv("FULL_DISK_PREFIX"), *full = getenv("FULL_DISK_SWITCH");
    char link[64], path[PATH_MAX + 1];
    struct stat found;
    if (!prefix || !full || access(full, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX);
    if (size < 0) return 0;
    path[size] = 0;
    if (strncmp(path, prefix, strlen(prefix)) != 0 || fstat(fd, &found) != 0 || until <= found.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    return refuses(fd, at + (off_t)size) ? -1 : REAL(pwrite64)(fd, from, size, at);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    return refuses(fd, at + (off_t)size) ? -1 : REAL(pwrite)(fd, from, size, at);
}

ssize_t write(int fd, const void *from, size_t size) {
    off_t at = lseek(fd, 0, SEEK_CUR);
    return at >= 0 && refuses(fd, at + (off_t)size) ? -1 : REAL(write)(fd, from, size);
}

int ftruncate64(int fd, off64_t size) { return refuses(fd, size) ? -1 : REAL(ftruncate64)(fd, size); }

int ftruncate(int fd, off_t size) { return refuses(fd, size) ? -1 : REAL(ftruncate)(fd, size); }

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    return refuses(fd, at + size) ? ENOSPC : REAL(posix_fallocate64)(fd, at, size);
}
