/* The request for a checkpoint: asks the checkpointer, and waits parked. */
#include "engine/commands.h"
#include "engine/steps.h"

enum brd_status
command_checkpoint(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct brd_engine *engine = caller->engine;
    struct brd_job alone = { .ticket = 0 };
    struct brd_job *job = request->job != NULL ? request->job : &alone;
    struct checkpoint_result result;

    if (engine->wal == NULL)
        return step_refuse(caller, reply, BRD_NOT_DURABLE,
                           "there is nothing to checkpoint: the daemon has no data directory");
    if (!checkpoint_ask(engine, request->checkpoint_mode, &job->ticket, &result))
        return BRD_BUSY;
    *job = (struct brd_job){ .ticket = 0 };
    if (result.status != BRD_OK)
        return step_refuse(caller, reply, result.status, "%s", result.text);
    caller->checkpoint = result.records;
    reply->checkpoint = &caller->checkpoint;
    reply->version = result.snapshot.start_version;
    return BRD_OK;
}
