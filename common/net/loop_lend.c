/* A loop apart whose thread lends what it works on while it sleeps. */
#define _GNU_SOURCE /* MSG_CMSG_CLOEXEC */
#include "net/loop_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GIVING, TAKING };

enum err loop_lend_init(struct loop *l)
{
    int rc = pthread_mutex_init(&l->use, NULL);
    if (rc != 0) {
        return err_from_errno(rc);
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, l->handover) != 0) {
        pthread_mutex_destroy(&l->use);
        return err_from_errno(errno);
    }
    return E_OK;
}

void loop_lend_finish(struct loop *l)
{
    close(l->handover[GIVING]);
    close(l->handover[TAKING]);
    pthread_mutex_destroy(&l->use);
}

/* The way to wait for a loop that libuv gives to those who run it themselves (uv_backend_fd). What is in libuv's hands is guarded by
 * `use`, except while this thread only waits. */
void loop_run_lending(struct loop *l)
{
    struct pollfd backend = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};
    pthread_mutex_lock(&l->use);
    for (;;) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
        if (l->ended) {
            break;
        }
        int timeout = uv_backend_timeout(&l->uv);
        if (timeout != 0) {
            l->asleep_until = timeout < 0 ? UINT64_MAX : uv_now(&l->uv) + (uint64_t)timeout;
            pthread_mutex_unlock(&l->use);
            (void)poll(&backend, 1, timeout); /* after an error: look */
            pthread_mutex_lock(&l->use);
        }
    }
    pthread_mutex_unlock(&l->use);
}

bool loop_borrow(struct loop *l)
{
    if (!l->foreign || pthread_mutex_trylock(&l->use) != 0) {
        return false;
    }
    if (l->ended) {
        pthread_mutex_unlock(&l->use);
        return false;
    }
    uv_update_time(&l->uv);
    return true;
}

void loop_return(struct loop *l)
{
    /* 0 also when libuv has descriptors to watch that the kernel does not know yet. */
    int timeout = uv_backend_timeout(&l->uv);
    bool wake = timeout >= 0 && uv_now(&l->uv) + (uint64_t)timeout < l->asleep_until;
    pthread_mutex_unlock(&l->use);
    if (wake) {
        uv_async_send(&l->wake);
    }
}

/* --- descriptors for the borrower --- */

union control {
    char space[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

enum err loop_hand_over(struct loop *l, int fd, uint64_t tag)
{
    union control control;
    struct iovec data = {.iov_base = &tag, .iov_len = sizeof(tag)};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    memset(&control, 0, sizeof(control));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    if (!l->foreign) {
        return E_UNSUPPORTED;
    }
    return sendmsg(l->handover[GIVING], &message, MSG_NOSIGNAL) < 0 ? err_from_errno(errno) : E_OK;
}

enum err loop_take_over(struct loop *l, int *fd, uint64_t *tag)
{
    union control control;
    uint64_t number;
    struct iovec data = {.iov_base = &number, .iov_len = sizeof(number)};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    if (!l->foreign || recvmsg(l->handover[TAKING], &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(number)) {
        return E_NOT_FOUND;
    }
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (!c || c->cmsg_type != SCM_RIGHTS) {
        return E_FULL;
    }
    memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    *tag = number;
    return E_OK;
}
