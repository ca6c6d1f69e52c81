/* A hash table of chains. Its size is fixed: there are at most as many nodes as
 * connections, and the table is only asked when one comes or goes. The hash is
 * keyed, because strangers choose the addresses. */
#include "server/peers.h"

#include <netinet/in.h>
#include <stdlib.h>

#define BUCKETS 1024

struct node {
    struct node *next;
    struct peer peer;
    uint32_t count;
};

struct peers {
    struct brd_hash_key key;
    struct brd_mutex lock; /* BRD_RANK_SERVER: buckets */
    struct node *buckets[BUCKETS];
};

struct peer
peer_of(const struct sockaddr_storage *address)
{
    struct peer peer = { 0 };

    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

        if (ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
            return peer;
        peer.address[10] = 0xff;
        peer.address[11] = 0xff;
        memcpy(peer.address + 12, &v4->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

        if (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
            return peer;
        memcpy(peer.address, &v6->sin6_addr, 16);
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && peer.address[12] == IN_LOOPBACKNET)
            memset(peer.address, 0, 16);
    }
    return peer;
}

bool
peer_is_counted(const struct peer *peer)
{
    static const struct peer none;

    return memcmp(peer, &none, sizeof(none)) != 0;
}

struct peers *
peers_create(void)
{
    struct peers *peers = calloc(1, sizeof(*peers));

    if (peers == NULL)
        return NULL;
    peers->key = brd_hash_key_random();
    brd_mutex_init(&peers->lock, BRD_RANK_SERVER);
    return peers;
}

void
peers_destroy(struct peers **peers)
{
    size_t i;

    if (*peers == NULL)
        return;
    for (i = 0; i < BUCKETS; i++) {
        while ((*peers)->buckets[i] != NULL) {
            struct node *node = (*peers)->buckets[i];

            (*peers)->buckets[i] = node->next;
            free(node);
        }
    }
    brd_mutex_fini(&(*peers)->lock);
    free(*peers);
    *peers = NULL;
}

/* Where the pointer to the peer's node is, or would be. Caller holds the lock. */
static struct node **
find(struct peers *peers, const struct peer *peer)
{
    uint64_t hash = brd_hash(&peers->key, brd_bytes(peer->address, sizeof(peer->address)));
    struct node **place = &peers->buckets[hash % BUCKETS];

    while (*place != NULL && memcmp(&(*place)->peer, peer, sizeof(*peer)) != 0)
        place = &(*place)->next;
    return place;
}

enum brd_status
peers_add(struct peers *peers, const struct peer *peer, uint32_t max)
{
    enum brd_status status = BRD_OK;
    struct node **place;

    if (!peer_is_counted(peer))
        return BRD_OK;
    brd_mutex_lock(&peers->lock);
    place = find(peers, peer);
    if (*place == NULL) {
        struct node *node = calloc(1, sizeof(*node));

        if (node != NULL) {
            node->peer = *peer;
            *place = node;
        }
    }
    if (*place == NULL)
        status = BRD_OUT_OF_MEMORY;
    else if (max != 0 && (*place)->count >= max)
        status = BRD_LIMIT_EXCEEDED;
    else
        (*place)->count++;
    brd_mutex_unlock(&peers->lock);
    return status;
}

void
peers_remove(struct peers *peers, const struct peer *peer)
{
    struct node **place;

    if (!peer_is_counted(peer))
        return;
    brd_mutex_lock(&peers->lock);
    place = find(peers, peer);
    BRD_CHECK(*place != NULL && (*place)->count > 0);
    if (--(*place)->count == 0) {
        struct node *node = *place;

        *place = node->next;
        free(node);
    }
    brd_mutex_unlock(&peers->lock);
}
