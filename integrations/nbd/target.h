// SPDX-License-Identifier: Apache-2.0
/* target.h - a write-back target (klotski/target.h) that an NBD server has. */
#ifndef KLI_NBD_TARGET_H
#define KLI_NBD_TARGET_H

#include <klotski/target.h>

struct kli_nbd;

/* Connects, within ten seconds.  A connection that is lost later is made again, after
 * 0.1 s, then 0.2, up to 5 s.  A server that says nothing for a minute while it is asked
 * is left, too.  -1: `why` says it. */
int kli_nbd_open(const char *uri, struct kli_nbd **nbd, char *why, size_t why_bytes);
/* After the store that has it.  NULL is nothing. */
void kli_nbd_close(struct kli_nbd *nbd);

const struct kl_target *kli_nbd_target(const struct kli_nbd *nbd);

#endif
