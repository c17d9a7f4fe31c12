// SPDX-License-Identifier: Apache-2.0
/* The four functions of the C library that the core may use, and texts. */
#ifndef KLI_BASE_MEM_H
#define KLI_BASE_MEM_H

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* Statistics to a caller whose struct, beginning with its size, may be shorter or longer
 * than ours of `bytes`: no more than both have; its size is what was filled in. */
static inline void kli_stats_out(void *to, const void *from, size_t bytes)
{
    size_t size;

    memcpy(&size, to, sizeof(size));
    size = size < bytes ? size : bytes;
    if (size < sizeof(size))
        return;
    memcpy(to, from, size);
    memcpy(to, &size, sizeof(size));
}

/* As much of a text as there is room for, with its end; bytes > 0.  A character of
 * several bytes (UTF-8) is copied whole or not. */
static inline void kli_text(char *dst, size_t bytes, const char *src)
{
    size_t i = 0;

    for (; src[i] && i + 1 < bytes; i++)
        dst[i] = src[i];
    while (i > 0 && ((unsigned char)src[i] & 0xc0) == 0x80)
        i--;
    dst[i] = '\0';
}

#endif
