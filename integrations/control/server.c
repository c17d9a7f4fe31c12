// SPDX-License-Identifier: Apache-2.0
/* server.c - the thread, its poll loop and its connections.
 *
 * States of a connection: free slot -> reading -> (request complete) ->
 * writing -> (reply sent) reading, or free when the peer has gone, broke the
 * framing, or sent what is no JSON.  Closing ends the connection's leases.
 *
 * When all slots are used, a new connection takes that of the one without a lease
 * that has been silent longest, once that is a second; until then it waits.
 * See internal.h for the invariants.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"
#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SILENT_MS 1000
#define OWED_MS   1000 /* between two attempts to get memory that the area waits for */
#define NS_PER_MS UINT64_C(1000000)

static void client_close(struct kli_control *control, struct kli_client *client)
{
    kli_lease_end(control, client);
    close(client->sock);
    kli_wire_line_free(&client->in);
    free(client->out);
    client->out = NULL;
    client->sock = -1;
}

static void client_open(struct kli_client *client, int sock)
{
    *client = (struct kli_client){
        .sock = sock,
        .active_ns = kli_now_ns(),
        .in = {.max = KLI_WIRE_REQUEST_MAX},
        .out_fd = -1,
    };
}

/* Sends what the socket takes.  false: the connection is of no use any more. */
static bool client_send(struct kli_client *client)
{
    while (client->out) {
        int64_t n = kli_wire_send(client->sock, client->out + client->out_sent,
                                  client->out_len - client->out_sent, client->out_fd);

        if (n == -KL_EAGAIN)
            return true;
        if (n < 0)
            return false;
        client->out_fd = -1;
        client->out_sent += (size_t)n;
        if (client->out_sent == client->out_len) {
            free(client->out);
            client->out = NULL;
        }
    }
    return !client->last;
}

/* The reply as a line; NULL: no memory. */
static char *reply_line(struct json_object *reply, size_t *len)
{
    const char *text = json_object_to_json_string_length(reply, JSON_C_TO_STRING_PLAIN, len);
    char *line = text ? malloc(*len + 1) : NULL;

    if (!line)
        return NULL;
    memcpy(line, text, *len);
    line[(*len)++] = '\n';
    return line;
}

/* Makes the reply the connection's output.  Takes the reply. */
static bool client_reply(struct kli_client *client, struct json_object *reply, int fd)
{
    client->out = reply ? reply_line(reply, &client->out_len) : NULL;
    client->out_sent = 0;
    client->out_fd = client->out ? fd : -1;
    json_object_put(reply);
    return client->out != NULL;
}

/* Answers complete lines until a reply can't be sent at once. */
static bool client_serve(struct kli_control *control, struct kli_client *client)
{
    while (!client->out) {
        int64_t len = kli_wire_peek(&client->in);
        struct json_object *reply;
        int fd;

        if (len < 0)
            return true;
        reply =
            kli_control_answer(control, client, client->in.data, (size_t)len, &fd, &client->last);
        kli_wire_pop(&client->in, (size_t)len);
        if (!client_reply(client, reply, fd) || !client_send(client))
            return false;
    }
    return true;
}

static bool client_read(struct kli_control *control, struct kli_client *client)
{
    int got = kli_wire_recv(client->sock, &client->in, NULL);

    if (got == -KL_ERANGE) {
        client->last = true;
        return client_reply(client, kli_reply_error(-KL_EINVAL, "the request is too long"), -1) &&
               client_send(client);
    }
    if (got < 0)
        return got == -KL_EAGAIN;
    return client_serve(control, client);
}

/* One event of a connection. */
static void client_event(struct kli_control *control, struct kli_client *client, short events)
{
    bool alive;

    client->active_ns = kli_now_ns();
    if (client->out) {
        alive = !(events & (POLLERR | POLLHUP)) && client_send(client);
        if (alive)
            alive = client_serve(control, client); /* the next request may be there already */
    } else {
        alive = client_read(control, client);
    }
    if (!alive)
        client_close(control, client);
}

static struct kli_client *free_slot(struct kli_control *control)
{
    for (size_t i = 0; i < KLI_CLIENTS; i++) {
        if (control->clients[i].sock < 0)
            return &control->clients[i];
    }
    return NULL;
}

/* The one without a lease that has been silent longest; there is one when all
 * slots are used (invariant 5). */
static struct kli_client *most_silent(struct kli_control *control)
{
    struct kli_client *found = NULL;

    for (size_t i = 0; i < KLI_CLIENTS; i++) {
        struct kli_client *client = &control->clients[i];

        if (client->sock >= 0 && client->held == 0 &&
            (!found || client->active_ns < found->active_ns))
            found = client;
    }
    return found;
}

/* How long until a new connection can be accepted: 0 is now. */
static int accept_in_ms(struct kli_control *control)
{
    const struct kli_client *client;
    uint64_t silent;

    if (free_slot(control))
        return 0;
    client = most_silent(control);
    silent = client ? (kli_now_ns() - client->active_ns) / NS_PER_MS : 0;
    return silent < SILENT_MS ? SILENT_MS - (int)silent : 0;
}

static void accept_one(struct kli_control *control)
{
    int sock = accept4(control->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct kli_client *client;

    if (sock < 0) {
        poll(NULL, 0, 100); /* out of descriptors, perhaps: do not spin */
        return;
    }
    client = free_slot(control);
    if (!client) {
        client = most_silent(control);
        client_close(control, client);
    }
    client_open(client, sock);
    if (kli_listener_peer_allowed(sock))
        return;
    client->last = true;
    client_reply(client, kli_reply_error(-KL_EINVAL, "this disk belongs to another user"), -1);
    client_send(client);
    client_close(control, client);
}

static void serve(struct kli_control *control)
{
    struct pollfd fds[KLI_CLIENTS + 2];

    for (;;) {
        int wait = accept_in_ms(control);

        fds[0] = (struct pollfd){.fd = control->stop, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = wait ? -1 : control->listener, .events = POLLIN};
        for (size_t i = 0; i < KLI_CLIENTS; i++)
            fds[i + 2] = (struct pollfd){
                .fd = control->clients[i].sock,
                .events = control->clients[i].out ? POLLOUT : POLLIN,
            };
        if (control->owed && (wait == 0 || wait > OWED_MS))
            wait = OWED_MS;
        else if (wait == 0)
            wait = -1;
        if (poll(fds, KLI_CLIENTS + 2, wait) < 0)
            continue; /* interrupted, or short of memory: again */
        if (fds[0].revents)
            return;
        kli_lease_settle(control);
        for (size_t i = 0; i < KLI_CLIENTS; i++) {
            if (fds[i + 2].revents)
                client_event(control, &control->clients[i], fds[i + 2].revents);
        }
        if (fds[1].revents && accept_in_ms(control) == 0)
            accept_one(control);
    }
}

static void *server_main(void *arg)
{
    serve(arg);
    return NULL;
}

/* The thread takes no signals: they are the process's own business. */
static int thread_start(struct kli_control *control)
{
    sigset_t all;
    sigset_t old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&control->thread, NULL, server_main, control);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err ? -KL_ENOMEM : 0;
}

static void control_free(struct kli_control *control)
{
    if (control->listener >= 0)
        kli_listener_close(control->listener, control->path, control->dev, control->ino);
    if (control->stop >= 0)
        close(control->stop);
    free(control->path);
    free(control);
}

static struct kli_control *control_new(const struct kli_control_config *config)
{
    struct kli_control *control = calloc(1, sizeof(*control));

    if (!control)
        return NULL;
    control->config = *config;
    control->listener = -1;
    for (size_t i = 0; i < KLI_CLIENTS; i++)
        control->clients[i].sock = -1;
    control->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    control->path = strdup(config->path);
    if (control->stop < 0 || !control->path) {
        control_free(control);
        return NULL;
    }
    return control;
}

int kli_control_start(const struct kli_control_config *config, struct kli_control **out, char *why,
                      size_t why_bytes)
{
    struct kli_control *control;
    int err;

    snprintf(why, why_bytes, "no memory, or no descriptor, is left");
    control = control_new(config);
    if (!control)
        return -KL_ENOMEM;
    control->listener =
        kli_listener_open(control->path, &control->dev, &control->ino, why, why_bytes);
    err = control->listener < 0 ? control->listener : thread_start(control);
    if (err) {
        control_free(control);
        return err;
    }
    *out = control;
    return 0;
}

int kli_control_probe(const char *path, char *why, size_t why_bytes)
{
    return kli_listener_probe(path, why, why_bytes);
}

void kli_control_stop(struct kli_control *control)
{
    const uint64_t one = 1;

    if (!control)
        return;
    while (write(control->stop, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(control->thread, NULL);
    for (size_t i = 0; i < KLI_CLIENTS; i++) {
        if (control->clients[i].sock >= 0)
            client_close(control, &control->clients[i]);
    }
    kli_lease_end(control, NULL);
    control_free(control);
}
