// SPDX-License-Identifier: Apache-2.0
/* A C++17 program against the installed library: the public headers are C++ too,
 * and a store keeps what it is given.  Exits 1 at the first wrong value. */
#include <klotski/klotski.h>

#include <cstdio>
#include <memory>
#include <vector>

namespace
{

struct Close {
    void operator()(kl_linux_backing *backing) const
    {
        kl_linux_backing_destroy(backing);
    }
    void operator()(kl_zone *zone) const
    {
        kl_zone_destroy(zone);
    }
    void operator()(kl_store *store) const
    {
        kl_store_destroy(store);
    }
};

int failed(int line)
{
    std::fprintf(stderr, "consumer.cc:%d: not what the headers promise\n", line);
    return 1;
}

} // namespace

int main()
{
    kl_linux_backing_config memory{};
    memory.size = sizeof(memory);
    memory.kind = KL_LINUX_MEMFD;
    memory.bytes = 8u << 20;
    kl_linux_backing *raw_backing = nullptr;
    if (kl_linux_backing_create(&memory, &raw_backing) != 0)
        return failed(__LINE__);
    std::unique_ptr<kl_linux_backing, Close> backing(raw_backing);

    kl_zone_config zone_config{};
    zone_config.size = sizeof(zone_config);
    zone_config.host = kl_linux_host();
    zone_config.backing = kl_linux_backing_get(backing.get());
    kl_zone *raw_zone = nullptr;
    if (kl_zone_create(&zone_config, &raw_zone) != 0)
        return failed(__LINE__);
    std::unique_ptr<kl_zone, Close> zone(raw_zone);

    kl_codec codec{};
    codec.size = sizeof(codec);
    if (kl_linux_codec("lz4", 0, &codec) != 0)
        return failed(__LINE__);
    kl_store_config store_config{};
    store_config.size = sizeof(store_config);
    store_config.blocks = 64;
    store_config.block_bytes = 4096;
    store_config.codec = &codec;
    kl_store *raw_store = nullptr;
    if (kl_store_create(zone.get(), &store_config, &raw_store) != 0)
        return failed(__LINE__);
    std::unique_ptr<kl_store, Close> store(raw_store);

    std::vector<unsigned char> in(4096), out(4096, 1);
    for (size_t i = 0; i < in.size(); i++)
        in[i] = static_cast<unsigned char>(i / 16);
    if (kl_store_write(store.get(), 63, 0, in.data(), 4096) != 0 ||
        kl_store_read(store.get(), 63, 0, out.data(), 4096) != 0 || in != out)
        return failed(__LINE__);
    if (kl_store_read(store.get(), 62, 0, out.data(), 4096) != 0 ||
        out != std::vector<unsigned char>(4096, 0))
        return failed(__LINE__);
    if (kl_store_write(store.get(), 64, 0, in.data(), 4096) != -KL_ERANGE)
        return failed(__LINE__);
    return 0;
}
