// SPDX-License-Identifier: Apache-2.0
/* server.h - serves the control protocol (doc/CONTROL.md) of one disk: one
 * thread, several clients, requests one after the other.
 *
 * Ownership: everything in the config is borrowed and must outlive the server.
 */
#ifndef KLI_SERVER_H
#define KLI_SERVER_H

#include <klotski/klotski.h>

struct kli_control;

struct kli_control_config {
    struct kl_zone *zone;
    struct kl_store *store;
    struct kl_linux_backing *backing;
    struct kl_cma *area;                /* leases are taken there first; NULL: there is none */
    struct kl_linux_pressure *pressure; /* NULL: it looks out for none */
    const char *path;                   /* of the control socket */
    uint64_t disk_bytes;                /* as clients of the disk see it */
    uint32_t block_bytes;               /* of the store */
    const char *compress;               /* the codec's name */
    int level;                          /* the codec's level */

    const char *recompress; /* the second codec's name; NULL: none */
    int recompress_level;
    unsigned idle; /* seconds after which a block is idle; 0: not watched */
    bool dedup;
};

/* Binds the socket (mode 0600) and starts the thread.  A socket file that nobody
 * listens on any more is replaced.
 * -KL_EEXIST: a server answers there, or something that is no socket is there.
 * -KL_ERANGE: the path is too long.  -KL_EIO, -KL_ENOMEM.
 * On failure why (of why_bytes) says in words what was wrong. */
int kli_control_start(const struct kli_control_config *config, struct kli_control **control,
                      char *why, size_t why_bytes);

/* Could a server start at path?  Changes nothing.  Errors and why as above. */
int kli_control_probe(const char *path, char *why, size_t why_bytes);

/* Ends every connection and every lease, lends the zone its blocks again,
 * unlinks the socket and joins the thread.  NULL is nothing. */
void kli_control_stop(struct kli_control *control);

#endif
