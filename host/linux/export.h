// SPDX-License-Identifier: Apache-2.0
/* export.h - what export.c and peers.c share: an export, and how it is ended.
 *
 * One that is watched is in the list of its kl_linux_peers; state, next and prev are under
 * the lock of that. */
#ifndef KLI_LINUX_EXPORT_H
#define KLI_LINUX_EXPORT_H

#include "internal.h"

#include <stdatomic.h>

enum kli_export_state {
    KLI_EXPORT_NEW,     /* not yet looked out for, or not watched at all */
    KLI_EXPORT_WATCHED, /* its peer is there, as far as is known */
    KLI_EXPORT_DUE,     /* its peer is gone, and it could not be ended yet */
    KLI_EXPORT_ENDING,  /* somebody is at it */
    KLI_EXPORT_ENDED,   /* the contents are back; its holder does not know yet */
};

struct kl_linux_export {
    struct kl_shm *shm;
    kl_shm_id object;
    int file;
    int peer;                     /* -1: none */
    short gone;                   /* poll's events that say so */
    char *map;                    /* read-only files; else NULL */
    uint64_t bytes;               /* of the file */
    atomic_bool is_back;          /* the place was released: no file, no map */
    bool was_gone;                /* it has been counted */
    bool has_holder;              /* the program has its name, and will end it */
    struct kl_linux_peers *peers; /* NULL: not watched */
    enum kli_export_state state;
    struct kl_linux_export *next, *prev;
};

/* The contents come back; 0 also if they were. */
int kli_export_take_back(struct kl_linux_export *e);
/* What is left of it goes, with its file, whatever was in it. */
void kli_export_free(struct kl_linux_export *e);

/* peers.c: in the list and the set, as NEW.  -KL_EINVAL: such a peer can't be watched.
 * -KL_ENOMEM. */
int kli_peers_add(struct kl_linux_peers *peers, struct kl_linux_export *e);
/* NEW: undone. */
void kli_peers_remove(struct kl_linux_export *e);
/* From now on it may be ended, and be gone if it has no holder. */
void kli_peers_watch(struct kl_linux_export *e);
/* By its holder: it is freed, or as it was. */
int kli_peers_end(struct kl_linux_export *e);

#endif
