// SPDX-License-Identifier: Apache-2.0
/* internal.h - what the files of the control server share.
 *
 *   server.c   socket, thread, poll loop, connections
 *   request.c  one request in, one reply out
 *   report.c   stat, classes, map: what looks and changes nothing
 *   look.c     parts of stat; a map of so many cells
 *   lease.c    take and give
 *   who.c      who is in the way
 *
 * Invariants
 *   1. After kli_control_start only the server's thread touches this, until
 *      kli_control_stop has joined it: there are no locks.
 *   2. A connection reads its next request when its last reply has been sent.
 *   3. Every block that kl_zone_give_back took is in exactly one lease until
 *      kl_zone_lend; every range that was taken from the area, in one lease or in one
 *      entry of `owed`, until it has its memory again and is released.
 *   4. A lease with a client has a descriptor and ends with that client.
 *   5. There are at most KLI_HELD_MAX of those, so at least KLI_SPARE slots have
 *      no lease: whoever comes can be served, at worst in the place of the one
 *      of them that has been silent longest.
 */
#ifndef KLI_CONTROL_INTERNAL_H
#define KLI_CONTROL_INTERNAL_H

#include <json-c/json.h>
#include <pthread.h>
#include <sys/types.h>

#include "server.h"
#include "wire.h"

#define KLI_CLIENTS  256 /* at a time; more wait in the socket's queue */
#define KLI_SPARE    4   /* of them for clients without a lease */
#define KLI_HELD_MAX (KLI_CLIENTS - KLI_SPARE)

struct kli_client {
    int sock;           /* -1: a free slot */
    bool last;          /* close it when the reply is sent */
    unsigned held;      /* leases of its own */
    uint64_t active_ns; /* when something last came or went */
    struct kli_wire_line in;
    char *out; /* the reply that is being sent, or NULL */
    size_t out_len;
    size_t out_sent;
    int out_fd; /* goes with the first byte; a lease's, or -1 */
};

struct kli_lease {
    struct kli_lease *next;
    uint64_t id;
    uint32_t blocks;
    bool from_area;
    kl_pfn first;              /* of the range, then */
    int fd;                    /* of the memory that was handed out, or -1 */
    struct kli_client *client; /* who has it, or NULL */
};

struct kli_control {
    struct kli_control_config config;
    char *path;
    int listener;
    dev_t dev; /* of the socket file, so that nobody else's is unlinked */
    ino_t ino;
    int stop; /* eventfd: readable when the thread shall end */
    pthread_t thread;
    struct kli_client clients[KLI_CLIENTS];
    struct kli_lease *leases; /* newest first */
    struct kli_lease *owed;   /* have ended, but the system has no memory for the area */
    unsigned held;            /* of them with a client */
    uint64_t last_id;
    bool migration_off; /* as last asked for here */
};

/* Answers one request.  The reply is the caller's; never NULL but for lack of
 * memory.  *fd: a descriptor to send with it (a lease's), or -1.  *last: the
 * request was no JSON at all, so nothing after it can be trusted. */
struct json_object *kli_control_answer(struct kli_control *control, struct kli_client *client,
                                       const char *text, size_t len, int *fd, bool *last);

/* The monotonic clock. */
uint64_t kli_now_ns(void);

/* A reply that says no; what may be NULL, for the error's own sentence. */
struct json_object *kli_reply_error(int err, const char *what);

/* {"ok":true}; and one more unsigned member of an object. */
struct json_object *kli_reply_ok(void);
void kli_reply_add(struct json_object *object, const char *name, uint64_t value);

struct json_object *kli_report_stat(struct kli_control *control);
struct json_object *kli_report_classes(struct kli_control *control);
struct json_object *kli_report_map(struct kli_control *control, bool with_frames);
/* The zone in at most `most` cells (1 or more), each a power of two of blocks. */
struct json_object *kli_report_cells(struct kli_control *control, uint64_t most);

/* Adds what is known of the zone's free memory; makes an object of figures of runs. */
void kli_look_free(struct json_object *object, struct kl_zone *zone);
struct json_object *kli_look_runs(const struct kl_run_stats *runs);

/* Who is in the way of that many bytes in whole blocks; or, where align is not 0, of a
 * range that begins at a multiple of so many.  And one of them, as JSON. */
struct json_object *kli_report_who(struct kli_control *control, uint64_t bytes, uint64_t align);
struct json_object *kli_report_obstacle(const struct kl_zone *zone, const struct kl_obstacle *o);

/* fd: hand out a memory file too, that ends with the client. */
struct json_object *kli_lease_take(struct kli_control *control, struct kli_client *client,
                                   uint64_t bytes, bool with_fd, int *fd);
struct json_object *kli_lease_give(struct kli_control *control, uint64_t id);
/* Tries again to get memory for what is owed; how many bytes are. */
void kli_lease_settle(struct kli_control *control);
uint64_t kli_lease_owed(const struct kli_control *control);
/* The leases of a client that goes; NULL: every lease there is. */
void kli_lease_end(struct kli_control *control, const struct kli_client *client);

#endif
