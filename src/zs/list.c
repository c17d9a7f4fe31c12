// SPDX-License-Identifier: Apache-2.0
/* Zspages in the groups of their class, by how much of a whole one is in use, and slots in
 * their zspage.
 * All of it with the class lock held. */
#include "zs/zs.h"

static unsigned group_of(const struct zs_class *class, const struct zspage *page)
{
    if (page->live == page->ready)
        return page->ready < class->objects ? ZS_GROWABLE : ZS_FULL;
    return page->live == 0 ? 0 : 1 + (page->live * class->tenth >> 20);
}

/* Files it by its fullness now. */
void zs_page_list(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    unsigned group = group_of(class, page);
    uint32_t head = class->list[group];

    page->group = (uint8_t)group;
    page->next = head;
    page->prev = 0;
    if (head)
        zs_page(pool, head)->prev = page->id;
    class->list[group] = page->id;
    class->count[group]++;
    class->filled |= 1u << group;
}

void zs_page_unlist(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    if (page->prev)
        zs_page(pool, page->prev)->next = page->next;
    else
        class->list[page->group] = page->next;
    if (page->next)
        zs_page(pool, page->next)->prev = page->prev;
    if (--class->count[page->group] == 0)
        class->filled &= ~(1u << page->group);
}

/* Moves it to the group that its fullness says, if it is filed at all. (Z1) */
void zs_page_refile(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    if (page->isolated || page->flags || page->group == group_of(class, page))
        return;
    zs_page_unlist(pool, class, page);
    zs_page_list(pool, class, page);
}

/* Slots from page->ready to `ready` come into use: the lowest one first. (Z4) */
void zs_slots_ready(const struct zs_class *class, struct zspage *page, uint32_t ready)
{
    uint16_t *slots = zs_slots(page, class);

    for (uint32_t slot = ready; slot-- > page->ready;) {
        slots[slot] = page->free_slot;
        page->free_slot = (uint16_t)slot;
    }
    page->ready = (uint16_t)ready;
}

/* The page has a free slot. */
uint32_t zs_slot_take(struct zs_class *class, struct zspage *page, uint16_t back)
{
    uint32_t slot = page->free_slot;

    page->free_slot = zs_slots(page, class)[slot];
    zs_slots(page, class)[slot] = ZS_SLOT_LIVE | back;
    page->live++;
    class->live++;
    zs_puts_raise(page);
    return slot;
}

/* true: it was the last object, the page is EMPTY and the caller's to bury. */
bool zs_slot_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page, uint32_t slot)
{
    zs_slots(page, class)[slot] = page->free_slot;
    page->free_slot = (uint16_t)slot;
    page->live--;
    class->live--;
    if (page->live > 0) {
        zs_page_refile(pool, class, page);
        return false;
    }
    if (!page->isolated && !page->flags)
        zs_page_unlist(pool, class, page);
    page->flags |= ZS_EMPTY;
    return true;
}
