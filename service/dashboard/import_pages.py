"""The page that imports a bundle: a learner from another installation, checked before anything is kept."""

import re
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from registry.errors import RegistryError
from service.dashboard.new_learner_page import MOST_NAME, name_advice
from service.dashboard.pages import PageRoute, as_problem, page, see
from service.dashboard.sentences import told
from service.dependencies import ActorDep, ContextDep
from service.http.demands import bundle_bytes, demands
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.intake.multipart import Form as MultipartForm
from service.intake.multipart import read_form
from service.intake.spool import Spool
from service.problems import Problem
from service.schemas.base import LEARNER_NAME
from service.use_cases.bundle_import import import_bundle
from service.use_cases.bundles import require_no_foreign

SNIFFED = 512
SENTENCES = {
    "artifact-format-unsupported": "This is no bundle that this release reads. Choose a file that another Filopodia "
    "has exported, of this release or an earlier one; ONNX files, archives and PyTorch files are not imported.",
    "archive-rejected": "The file is damaged, or no bundle of a Filopodia. Download it once more, and choose that.",
    "learner-exists": "There is a learner of that name already. Give the new one another name.",
    "body-too-large": "The bundle is larger than this installation takes. Its operator can raise "
    "FILOPODIA_MAX_BUNDLE_BYTES.",
}
"""What this page says of a problem, where the words of other pages do not fit."""
NOTHING_CHOSEN = "Choose the file of a bundle first."

router = APIRouter(
    prefix="/import", route_class=PageRoute, dependencies=[requires("trainer", everywhere=True)]
)


@router.get("")
def show_form(
    viewer: PrincipalDep, name: Annotated[str, Query(max_length=MOST_NAME)] = ""
) -> Response:
    """Show the form that takes a bundle."""
    return _page(viewer, name)


@router.post("")
@demands(max_bytes=bundle_bytes, is_spooled=True, is_idempotent=True)
async def import_learner(
    request: Request, context: ContextDep, actor: ActorDep, viewer: PrincipalDep
) -> Response:
    """Create a learner from a bundle, and go to its page. Nothing is kept of one that does not hold together."""
    name = ""
    try:
        context.decoder.uploads.require(actor.key_id)
        await run_in_threadpool(
            context.blobs.require_space, 0, floor_bytes=context.settings.min_free_bytes
        )
        with Spool() as spool:
            form = await read_form(request, spool, max_files=1, max_fields=5)
            name = _name_in(form)
            await run_in_threadpool(_check, name, form, spool)
            take = partial(import_bundle, context, actor, name or None, request, spool)
            answer = await context.decoder.uploads.run(actor.key_id, take)
    except (Problem, RegistryError) as error:
        problem = as_problem(error)
        if problem.code == "rate-limited":
            raise
        notice = SENTENCES.get(problem.code) or told(problem)
        return _page(viewer, name, notice, problem.status_code)
    context.watcher.wake()
    return see(f"/admin/learners/{answer.headers['Location'].rpartition('/')[2]}?done=imported")


def _check(name: str, form: MultipartForm, spool: Spool) -> None:
    """Refuse what is no bundle at first sight. Blocks.

    There is one file at most, so the spool holds the bundle and nothing else.

    Raises:
        Problem: `validation` or `artifact-format-unsupported`.
    """
    if name and not re.fullmatch(LEARNER_NAME, name):
        raise Problem("validation", name_advice(name))
    if len(form.files) != 1 or not spool.size:
        raise Problem("validation", NOTHING_CHOSEN)
    require_no_foreign(spool.read(0, SNIFFED))


def _name_in(form: MultipartForm) -> str:
    return next((value.strip()[:MOST_NAME] for key, value in form.fields if key == "name"), "")


def _page(viewer: Principal, name: str, notice: str | None = None, status: int = 200) -> Response:
    return page("import.html", viewer, section="learners", status=status, notice=notice, name=name)
