// SPDX-License-Identifier: Apache-2.0
/* Recounts a kl_shm that nobody uses just now: pages against frames, words against lists. */
#include "shm/shm.h"

struct sums {
    uint64_t objects, here, offered, charged;
    uint32_t attached[SHM_DEVICES];
    const char *broken;
};

static void expect(struct sums *s, bool ok, const char *what)
{
    if (!ok && !s->broken)
        s->broken = what;
}

/* One page, and the frame that it names. */
static bool check_page(const struct kl_shm *shm, const struct kli_shm_object *object, uint32_t page,
                       struct sums *s)
{
    uint64_t word = atomic_load(kli_shm_page(object, page));
    enum kli_page_state state = kli_p_state(word);
    bool is_away = atomic_load(&object->use) & KLI_U_AWAY;
    uint64_t frame, priv = (uint64_t)(object->index + UINT64_C(1)) << 32 | page;

    expect(s, state != KLI_P_BUSY && state != KLI_P_MOVING, "E1: a page is in work at rest");
    expect(s, kli_p_users(word) == 0 && !(word & (KLI_P_ISOLATED | KLI_P_REFUSED)),
           "E1: a page is used or isolated at rest");
    if (page < atomic_load(&object->pages))
        expect(s, is_away == (state == KLI_P_AWAY), "W3: here and away at a time");
    if (state != KLI_P_HERE)
        return false;
    frame = kli_state(shm->zone, kli_p_nr(word));
    expect(s,
           (frame & KLI_F_HEAD) && kli_f_owner(frame) == shm->owner.v &&
               kli_f_order(frame) == shm->order,
           "E2: a page names a frame that isn't ours");
    expect(s, kl_frame_private(shm->zone, kli_pfn(shm->zone, kli_p_nr(word))) == priv,
           "E2: a frame names another page");
    return true;
}

static void check_use(const struct kl_shm *shm, const struct kli_shm_object *object, struct sums *s)
{
    uint64_t use = atomic_load(&object->use);
    uint32_t pins = 0, device = kli_u_device(use);

    for (const struct kli_shm_pin *p = object->pins; p; p = p->next)
        pins++;
    expect(s, pins == kli_u_pins(use), "I1: pins and their count differ");
    expect(s, kli_u_batches(use) == 0 && kli_u_purgers(use) == 0 && !(use & KLI_U_WHOLE),
           "U3: a batch or a purge at rest");
    expect(s, !(kli_u_is_held(use) && (use & KLI_U_NOT_HERE)), "U1: held and not here");
    expect(s, !object->is_offered || (use & KLI_U_PURGEABLE), "G1: listed, not purgeable");
    expect(s, device <= SHM_DEVICES, "V1: no such device");
    if (device > 0 && device <= SHM_DEVICES)
        s->attached[device - 1]++;
    (void)shm;
}

static void check_object(const struct kl_shm *shm, const struct kli_shm_object *object,
                         struct sums *s)
{
    uint32_t here = 0, capacity = kli_shm_capacity(object);
    uint64_t life = atomic_load(&object->life);

    if (kli_l_state(life) == KLI_L_FREE) {
        expect(s, capacity == 0 && !object->pins && atomic_load(&object->here) == 0,
               "L3: a free place has something");
        return;
    }
    for (uint32_t i = 0; i < capacity; i++)
        here += check_page(shm, object, i, s);
    expect(s, here == atomic_load(&object->here), "an object's frames are miscounted");
    check_use(shm, object, s);
    s->objects++;
    s->here += here;
    s->offered += object->is_offered ? object->offered : 0;
    s->charged += object->charged;
}

static void check_devices(const struct kl_shm *shm, struct sums *s)
{
    for (unsigned i = 0; i < SHM_DEVICES; i++) {
        const struct kli_shm_device *d = &shm->device[i];

        expect(s, kli_g_users(atomic_load(&d->gate.word)) == s->attached[i],
               "V1: attached objects and their count differ");
        expect(s, atomic_load(&d->busy) <= 1, "V2: a batch at rest");
    }
}

static uint64_t frames_of_ours(const struct kl_shm *shm)
{
    uint64_t n = 0;

    for (uint32_t nr = 0; nr < shm->zone->frames; nr++) {
        uint64_t word = kli_state(shm->zone, nr);

        n += (word & KLI_F_HEAD) && kli_f_owner(word) == shm->owner.v;
    }
    return n;
}

int kl_shm_check(struct kl_shm *shm, const char **what)
{
    struct sums s = {0};

    for (uint32_t i = 0; i < shm->used; i++)
        check_object(shm, kli_shm_at(shm, i), &s);
    check_devices(shm, &s);
    expect(&s, s.objects == atomic_load(&shm->objects), "objects are miscounted");
    expect(&s, s.here == atomic_load(&shm->here), "frames are miscounted");
    expect(&s, s.here == frames_of_ours(shm), "E2: a frame that no page names");
    expect(&s, s.offered == atomic_load(&shm->offered), "G1: purgeable pages are miscounted");
    expect(&s, s.charged == atomic_load(&shm->away_bytes),
           "W2: what is away and its charge differ");
    expect(&s, !shm->batches, "T1: a batch without its end");
    if (what)
        *what = s.broken;
    return s.broken ? -KL_EIO : 0;
}
