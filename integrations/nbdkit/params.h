// SPDX-License-Identifier: Apache-2.0
/* params.h - the plugin's parameters, parsed and checked. */
#ifndef KLI_PARAMS_H
#define KLI_PARAMS_H

#include <klotski/klotski.h>

/* pressure=: as the kinds of kl_linux_pressure, but that the disk may have none. */
enum kli_pressure_param {
    KLI_PRESSURE_DEFAULT, /* as AUTO, for ordinary memory that is not got at the start */
    KLI_PRESSURE_AUTO,
    KLI_PRESSURE_PSI,
    KLI_PRESSURE_CGROUP,
    KLI_PRESSURE_POLL,
    KLI_PRESSURE_OFF,
};

struct kli_params {
    uint64_t size;   /* of the disk, bytes; 0: not given yet */
    uint64_t memory; /* of the zone, bytes; 0: as size */
    uint64_t cma;    /* of an area of the zone, bytes; 0: none */
    uint64_t limit;  /* of the store, bytes of frames; 0: none */
    uint32_t block;  /* of the store, bytes */
    enum kl_linux_kind backing;
    unsigned numa; /* KL_LINUX_NODE(n), or 0 */
    struct kl_codec codec;
    struct kl_codec recompress; /* no name: none */
    unsigned idle;              /* seconds; 0: none */
    bool dedup;
    char *writeback;            /* absolute path or URI, or NULL */
    bool writeback_device;      /* the path is a block device's */
    uint64_t writeback_size;    /* bytes of it; 0: all */
    unsigned writeback_age;     /* seconds; 0: not given */
    unsigned writeback_ticks;   /* the same in ticks */
    unsigned writeback_share;   /* per cent of the limit */
    uint64_t writeback_rate;    /* bytes a second; 0: no bound */
    unsigned writeback_timeout; /* seconds */
    char *control;              /* absolute path, or NULL */
    enum kli_pressure_param pressure;
    bool auto_compact;
    bool populate;
};

/* One key=value.  0, or -1 after nbdkit_error. */
int kli_params_set(struct kli_params *params, const char *key, const char *value);

/* Defaults for what was not given, then a look at all together. */
int kli_params_complete(struct kli_params *params);

void kli_params_free(struct kli_params *params);

#define KLI_PARAMS_HELP                                                                            \
    "size=<SIZE>              (required) Size of the disk.\n"                                      \
    "memory=<SIZE>            Size of the memory zone, at most used (default: limit,\n"            \
    "                         or else size).\n"                                                    \
    "backing=auto|hugetlb|hugetlb-1g|memfd\n"                                                      \
    "                         Huge pages of 2 MiB or 1 GiB, ordinary pages, or huge\n"             \
    "                         pages of 2 MiB if that many are free now\n"                          \
    "                         (default: auto).\n"                                                  \
    "numa=<NODE>              Memory of this NUMA node only (default: of any).\n"                  \
    "block=<SIZE>             Unit of compression, 4K to 64K (default: 4K).\n"                     \
    "compress=lz4[:ACCEL]|zstd[:LEVEL]\n"                                                          \
    "                         Compressor (default: zstd).\n"                                       \
    "recompress=lz4[:ACCEL]|zstd[:LEVEL]\n"                                                        \
    "                         Second compressor, for idle blocks (default: none).\n"               \
    "idle=<SECONDS>           After how long a block is idle (default: 300 with\n"                 \
    "                         recompress, else not watched).\n"                                    \
    "writeback=<PATH>|<URI>   File, block device or NBD server for cold blocks\n"                  \
    "                         (default: none).\n"                                                  \
    "writeback-size=<SIZE>    So much of it (default: all; of a file, enough).\n"                  \
    "writeback-age=<SECONDS>  For how long such a block was not used (default: 60).\n"             \
    "writeback-share=<N>      Only when over N % of the limit is used (default: 80).\n"            \
    "writeback-rate=<SIZE>    Bytes a second, at most (default: no bound).\n"                      \
    "writeback-timeout=<SECONDS>\n"                                                                \
    "                         How long a request waits for it (default: 5).\n"                     \
    "dedup=<BOOL>             Equal blocks share their memory (default: false).\n"                 \
    "limit=<SIZE>             Most memory for data; a write beyond it is ENOSPC\n"                 \
    "                         (default: memory).\n"                                                \
    "cma=<SIZE>               Of the memory, an area where only what can move is, so that\n"       \
    "                         klotski take finds room there (default: none).\n"                    \
    "control=<PATH>           Socket for the klotski command (default: none).\n"                   \
    "auto-compact=<BOOL>      Compact while idle memory can be gained (default: true).\n"          \
    "pressure=auto|psi|cgroup|poll|off\n"                                                          \
    "                         How to find out that the machine, or the memory cgroup,\n"           \
    "                         is short, and give idle memory back (default: auto;\n"               \
    "                         off with huge pages or populate=true).\n"                            \
    "populate=<BOOL>          Get all the memory at the start (default: false)."

#endif
