/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

/* "Verifying the RSS Hash Calculation", NDIS documentation: its key and some of its rows. */
static const uint8_t key[NDIS_RSS_KEY] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static const struct {
    uint8_t from[4], to[4];
    uint16_t from_port, to_port;
    uint32_t addresses, all;
} rows[] = {
    {{66, 9, 149, 187}, {161, 142, 100, 80}, 2794, 1766, 0x323e8fc2, 0x51ccc178},
    {{199, 92, 111, 2}, {65, 69, 140, 83}, 14230, 4739, 0xd718262a, 0xc626b0ea},
    {{24, 19, 198, 95}, {12, 22, 207, 184}, 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
};

/* A channel for each bit of the hash's lowest six would do: here the entry is what is compared. */
static void hashes_are_those_of_ndis(void **state)
{
    struct netvsp *netvsp = calloc(1, sizeof(*netvsp) + 128 * sizeof(netvsp->channel[0]));
    (void)state;
    assert_non_null(netvsp);
    netvsp->channel_count = 128;
    netvsp->rss = (struct netvsp_rss){.on = true, .table_size = 128};
    netvsp_rss_set_key(&netvsp->rss, key);
    for (unsigned i = 0; i < 128; i++) {
        netvsp->rss.table[i] = (uint8_t)i;
        netvsp->channel[i].open = true;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[54] = {0};
        struct net_headers headers = {.ip = 14, .transport = 34, .ip_version = 4, .protocol = 6};
        memcpy(bytes + 26, rows[i].from, 4);
        memcpy(bytes + 30, rows[i].to, 4);
        put_be16(bytes + 34, rows[i].from_port);
        put_be16(bytes + 36, rows[i].to_port);
        assert_ptr_equal(netvsp_rss_choose(netvsp, bytes, &headers),
                         &netvsp->channel[rows[i].all & 127]);
        headers.protocol = 0;
        assert_ptr_equal(netvsp_rss_choose(netvsp, bytes, &headers),
                         &netvsp->channel[rows[i].addresses & 127]);
        headers.ip_version = 0;
        assert_ptr_equal(netvsp_rss_choose(netvsp, bytes, &headers), &netvsp->channel[0]);
    }
    free(netvsp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hashes_are_those_of_ndis)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
