#include "plugin/map_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* `start` is 0 in a free place and CLAIMED while its owner fills it in. */
#define CLAIMED UINTPTR_MAX

struct map_guard {
    atomic_uintptr_t start;
    atomic_uintptr_t end;
    atomic_bool hit;
};

/* Signal handlers belong to the process, so this does too. */
static struct map_guard places[MAP_GUARD_MAX];
static atomic_uint places_used; /* places from here on have never been used */
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned installed;
static struct sigaction previous;
static uintptr_t page_size;

static struct map_guard *find(uintptr_t address)
{
    unsigned used = atomic_load(&places_used);
    for (unsigned i = 0; i < used; i++) {
        uintptr_t start = atomic_load(&places[i].start);
        if (start != 0 && start != CLAIMED && address >= start && address < atomic_load(&places[i].end)) {
            return &places[i];
        }
    }
    return NULL;
}

/* Nobody's mapping of ours: as if we were not there. Where there was no handler, the signal comes again on return, with the
 * default action. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        struct sigaction restore = {.sa_handler = SIG_DFL};
        sigaction(SIGBUS, &restore, NULL);
    }
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    struct map_guard *g = info->si_code > 0 ? find(address) : NULL;
    void *page = (void *)(address & ~(page_size - 1));
    if (g && mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
        atomic_store(&g->hit, true);
    } else {
        pass_on(signal, info, context);
    }
    errno = saved;
}

enum err map_guard_install(void)
{
    enum err e = E_OK;
    pthread_mutex_lock(&install_lock);
    if (installed == 0) {
        page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
        struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
        sigemptyset(&action.sa_mask);
        if (sigaction(SIGBUS, &action, &previous) != 0) {
            e = err_from_errno(errno);
        }
    }
    installed += e == E_OK;
    pthread_mutex_unlock(&install_lock);
    return e;
}

void map_guard_uninstall(void)
{
    pthread_mutex_lock(&install_lock);
    struct sigaction current;
    if (--installed == 0 && sigaction(SIGBUS, NULL, &current) == 0 && (current.sa_flags & SA_SIGINFO) &&
        current.sa_sigaction == on_sigbus) {
        sigaction(SIGBUS, &previous, NULL);
    }
    pthread_mutex_unlock(&install_lock);
}

void map_guard_unblock(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

enum err map_guard_add(void *start, size_t size, struct map_guard **out)
{
    for (unsigned i = 0; i < MAP_GUARD_MAX; i++) {
        struct map_guard *g = &places[i];
        uintptr_t vacant = 0;
        if (atomic_compare_exchange_strong(&g->start, &vacant, CLAIMED)) {
            unsigned used = atomic_load(&places_used);
            while (used < i + 1 && !atomic_compare_exchange_weak(&places_used, &used, i + 1)) {
            }
            atomic_store(&g->hit, false);
            atomic_store(&g->end, (uintptr_t)start + size);
            atomic_store(&g->start, (uintptr_t)start);
            *out = g;
            return E_OK;
        }
    }
    return E_FULL;
}

void map_guard_remove(struct map_guard *g)
{
    if (g) {
        atomic_store(&g->start, 0);
    }
}

bool map_guard_hit(const struct map_guard *g)
{
    return atomic_load_explicit(&g->hit, memory_order_relaxed);
}
