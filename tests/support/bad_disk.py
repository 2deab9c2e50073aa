"""A disk that fails now and then: a shared object, loaded before all others, by which calls in a folder fail."""

import subprocess
from pathlib import Path

from support.needs import need_command

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long state;
static const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS};

static unsigned long next(void) {
    if (!state) state = strtoul(getenv("BAD_SEED") ?: "1", 0, 10) * 2654435761u + getpid();
    return (state = state * 6364136223846793005u + 1442695040888963407u) >> 33;
}

static int fails(const char *path) {
    const char *folder = getenv("BAD_FOLDER"), *rate = getenv("BAD_PERCENT");
    if (path && strstr(path, "/ledger.")) return 0; /* where the monitor says what went wrong */
    if (!folder || !rate || !path || strncmp(path, folder, strlen(folder)) || next() % 100 >= strtoul(rate, 0, 10))
        return 0;
    errno = errors[next() % 4];
    return 1;
}

static int fails_at(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    if (size && fails_at(fd)) {
        if (size < 2 || next() % 2) return -1;
        size /= 2;
    }
    return REAL(write)(fd, data, size);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return fails(path) ? -1 : REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    return fails(path) ? -1 : REAL(open)(path, flags, mode);
}

int unlink(const char *path) { return fails(path) ? -1 : REAL(unlink)(path); }
int rename(const char *from, const char *to) { return fails(from) ? -1 : REAL(rename)(from, to); }
int ftruncate64(int fd, off64_t size) { return fails_at(fd) ? -1 : REAL(ftruncate64)(fd, size); }
"""


def make_bad_disk(folder: Path, place: Path, percent: int, seed: int) -> dict[str, str]:
    """Compile it in `folder`; return the variables by which of 100 calls below `place` so many fail."""
    library = folder / "bad_disk.so"
    if not library.exists():
        (folder / "bad_disk.c").write_text(SOURCE)
        words = [need_command("gcc", "gcc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "bad_disk.c")]
        subprocess.run([*words, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "BAD_FOLDER": str(place), "BAD_PERCENT": str(percent), "BAD_SEED": str(seed)}
