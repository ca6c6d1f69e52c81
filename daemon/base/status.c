#include "base/status.h"

const char *
brd_status_name(enum brd_status status)
{
    switch (status) {
#define NAME_CASE(name, number, sentence) \
    case BRD_##name:                      \
        return #name;
        BRD_STATUSES(NAME_CASE)
#undef NAME_CASE
    }
    return "UNKNOWN";
}

const char *
brd_status_sentence(enum brd_status status)
{
    switch (status) {
#define SENTENCE_CASE(name, number, sentence) \
    case BRD_##name:                          \
        return sentence;
        BRD_STATUSES(SENTENCE_CASE)
#undef SENTENCE_CASE
    }
    return "an unknown status";
}
