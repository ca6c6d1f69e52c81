/* Choice of protocol. */
#include "codec.h"

static const struct {
    const char *name;
    size_t key_bytes_max;
    size_t made_key_bytes_max;
    const struct codec_ops *ops;
} protocols[] = {
    [PROTOCOL_BRINDLE] = { "brindle", 1048576, 65536, &codec_brindle_ops },
    [PROTOCOL_RESP] = { "resp", 1048576, 65536, &codec_resp_ops },
    [PROTOCOL_MEMCACHED] = { "memcached", 250, 250, &codec_memcached_ops },
};

bool
codec_create(struct codec **out_codec, enum protocol protocol, struct bench_error *error)
{
    struct codec *codec = NULL;
    if (!protocols[protocol].ops->create(&codec, error))
        return false;
    codec->ops = protocols[protocol].ops;
    *out_codec = codec;
    return true;
}

void
codec_destroy(struct codec **codec)
{
    if (*codec != NULL)
        (*codec)->ops->destroy(*codec);
    *codec = NULL;
}

const char *
protocol_name(enum protocol protocol)
{
    return protocols[protocol].name;
}

size_t
protocol_key_bytes_max(enum protocol protocol)
{
    return protocols[protocol].key_bytes_max;
}

size_t
protocol_made_key_bytes_max(enum protocol protocol)
{
    return protocols[protocol].made_key_bytes_max;
}
