// SPDX-License-Identifier: Apache-2.0
/* internal.h - what the files of the Linux host share.
 *
 * A memory file is a memfd of ordinary or of huge pages.  Its memory is always
 * taken by fallocate before anybody touches it: a page that is missing is then
 * an error there and never a SIGBUS later.
 */
#ifndef KLI_LINUX_INTERNAL_H
#define KLI_LINUX_INTERNAL_H

#include <klotski/linux.h>

#define KLI_HUGE_SHIFT 21u
#define KLI_HUGE_BYTES ((uint64_t)1 << KLI_HUGE_SHIFT)

/* An error of a system call as one of Klotski's, negative. */
int kli_linux_error(int err);

/* A new file of `bytes`, without memory.  kind: not KL_LINUX_AUTO.
 * The descriptor, or -KL_ENOTSUP: no such pages on this machine; -KL_ENOMEM. */
int kli_memfile_create(enum kl_linux_kind kind, uint64_t bytes, bool sealable);

/* Gets zeroed memory for a range that has none.  On failure it has none again. */
int kli_memfile_populate(int fd, uint64_t offset, uint64_t bytes);

/* Gives the memory of a range back to the system. */
int kli_memfile_release(int fd, uint64_t offset, uint64_t bytes);

/* Free huge pages that nobody has reserved; -1 when there is no pool. */
int64_t kli_hugepages_unreserved(void);

/* The number after the first line's beginning that is `key` ("": the first line)
 * of a file; -1 when there is none. */
int64_t kli_read_number(const char *folder, const char *name, const char *key);

/* kl_linux_memory_available of a system whose files are below root. */
int64_t kli_memory_available(const char *root);

/* How long the worker's thread pauses after it took so much of a CPU, so that it has
 * `percent` (1 to 100) of it. */
uint64_t kli_worker_pause(uint64_t cpu_ns, unsigned percent);

/* The two compressors.  -KL_EINVAL: no such level. */
int kli_codec_lz4(int level, struct kl_codec *codec);
int kli_codec_zstd(int level, struct kl_codec *codec);

#endif
