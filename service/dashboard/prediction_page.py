"""Trying a prediction in the browser: an uploaded image or a held-out one, its answer and its route.

Nothing is stored: what a person tries here is no request of a client.
"""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, cast

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from PIL import Image
from starlette.concurrency import run_in_threadpool

from registry import samples
from registry.errors import RegistryError
from service.dashboard import views
from service.dashboard.pages import PageRoute, as_problem, page
from service.dashboard.sentences import told
from service.dashboard.view_models import TINY_SIDE, SampleView
from service.dashboard.why_view import why_of
from service.dependencies import AppContext, ContextDep
from service.http.demands import demands, image_bytes
from service.http.disconnect import cancel_on_disconnect
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.image_warnings import image_warning
from service.inference.answers import hide, image_answer, named, require_shown
from service.intake.images import DecodedImage
from service.intake.prediction_requests import EncodedFile
from service.problems import Problem
from service.schemas.base import LearnerName, PublicId
from service.use_cases.accounts import Examined, account_of
from service.use_cases.predicting import answer_images
from service.use_cases.serving import choose_snapshot

TOP_LABELS = 5
PREVIEW_SIDE = 224

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True)
class Tried:
    """The image that is tried: its bytes, and its label if it is a held-out one."""

    data: bytes
    truth: str | None = None


@router.get("/learners/{name}/try")
def show_form(name: LearnerName, context: ContextDep, viewer: PrincipalDep) -> Response:
    """Show the form to try a prediction with."""
    with context.session_factory() as session:
        held_out = views.held_out_samples(session, name)
    return page(
        "try.html",
        viewer,
        section="learners",
        name=name,
        samples=held_out,
        answer=None,
        chosen=None,
    )


@router.post("/learners/{name}/try", dependencies=[requires("predictor")])
@demands(max_bytes=image_bytes, predicts=True)
async def try_image(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    viewer: PrincipalDep,
    image: Annotated[UploadFile | None, File()] = None,
    sample: Annotated[PublicId | None, Form()] = None,
) -> Response:
    """Predict an uploaded image, or a held-out one named by `sample`, and show the answer."""
    answer, notice, status = None, None, 200
    try:
        tried = await _read(context, image, sample)
        answer = await cancel_on_disconnect(request, _predict(context, viewer, name, tried))
    except (Problem, RegistryError) as error:
        problem = as_problem(error)
        answer, notice, status = None, told(problem), problem.status_code
    held_out = await run_in_threadpool(_samples, context, name)
    shown = {
        "name": name,
        "samples": held_out,
        "chosen": sample,
        "answer": answer,
        "notice": notice,
    }
    return page("try.html", viewer, section="learners", status=status, **shown)


async def _read(context: AppContext, image: UploadFile | None, sample: str | None) -> Tried:
    if image is not None:
        return Tried(await image.read(context.settings.max_image_bytes + 1))
    if sample is None:
        raise Problem("missing-image", "Choose an image first.")
    return await run_in_threadpool(_read_sample, context, sample)


def _read_sample(context: AppContext, sample_id: str) -> Tried:
    image = samples.read_image(context.session_factory, context.blobs, sample_id)
    return Tried(image.png, image.label)


def _samples(context: AppContext, name: str) -> list[SampleView]:
    with context.session_factory() as session:
        return views.held_out_samples(session, name)


async def _predict(
    context: AppContext, viewer: Principal, name: str, tried: Tried
) -> dict[str, Any]:
    snapshot = await choose_snapshot(
        context, name, version=None, min_version=None, owner=viewer.key_id
    )
    shown = context.store.shown(snapshot.learner_id)
    require_shown(snapshot, shown.hidden)
    files = [EncodedFile(None, tried.data)]
    decoded, [scores], _ = await answer_images(context, viewer, snapshot, files, lambda image: True)
    examined = Examined(snapshot, decoded.images[0])
    account = await account_of(context, viewer, examined, None)
    scores = hide(scores, snapshot.strategy.classes_, shown.hidden)
    result = image_answer(
        snapshot, scores, 0, top_k=TOP_LABELS, trace="none", min_scores=shown.min_scores
    )
    (answer,) = named([result], shown)
    [outcome] = decoded.outcomes
    seen = cast("DecodedImage", outcome.image)
    preview, is_tiny = await run_in_threadpool(_preview, seen)
    return answer | {
        "warnings": [image_warning(code) for code in outcome.warnings],
        "version": snapshot.version,
        "truth": None if tried.truth is None else shown.name(tried.truth),
        "image": preview,
        "is_tiny": is_tiny,
        "why": why_of(account),
    }


def _preview(image: DecodedImage) -> tuple[str, bool]:
    """Return the image as the service sees it, as a data address, and whether it is very small."""
    picture = Image.fromarray(image.pixels)
    is_tiny = max(picture.size) <= TINY_SIDE
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    png = BytesIO()
    picture.save(png, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}", is_tiny
