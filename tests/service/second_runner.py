"""A thread for prediction jobs in the place of an app's own: started when a test says so, or never."""

from typing import Any

from service.inference.job_runner import JobRunner


def second_runner(app: Any) -> JobRunner:
    """Stop the app's thread for prediction jobs, and return another one that was not started."""
    context = app.state.context
    context.jobs.stop()
    return JobRunner(
        context.session_factory,
        context.blobs,
        watcher=context.watcher,
        loads=context.loads,
        store=context.store,
        engine=context.engine,
        decoder=context.decoder,
        metrics=context.metrics,
        keys=context.keys,
        quotas=context.quotas,
        keeps_images=True,
    )
