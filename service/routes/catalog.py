"""What a learner can be created with: strategies and backbones."""

from fastapi import APIRouter

from models.backbone import available_backbones
from models.strategies import catalog
from service.dependencies import ContextDep
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import Page
from service.schemas.learners import BackboneRead, StrategyRead
from service.use_cases.configs import config_defaults, config_schema

router = APIRouter(
    prefix="/v1", tags=["Learners"], route_class=StrictRoute, dependencies=[requires("reader")]
)


@router.get("/strategies", response_model=Page[StrategyRead])
def list_strategies() -> Page[StrategyRead]:
    """List the ways to learn, with default hyperparameters and their JSON Schema."""
    strategies = [
        StrategyRead(
            name=strategy.name,
            summary=strategy.summary,
            keeps_images=strategy.keeps_images,
            cross_validates=strategy.cross_validates,
            unlearning=strategy.unlearning,
            looks_into_images=strategy.looks_into_images,
            corrects=strategy.corrects,
            defaults=config_defaults(strategy),
            config_schema=config_schema(strategy),
        )
        for strategy in catalog.CATALOG
    ]
    return Page[StrategyRead](items=strategies)


@router.get("/backbones", response_model=Page[BackboneRead])
def list_backbones(context: ContextDep) -> Page[BackboneRead]:
    """List backbones: the bundled one, recommended ones from timm, and those the operator has weights for.

    Any other timm ViT with a pre-trained tag works too; its weights are downloaded at the first use.
    """
    backbones = available_backbones(context.settings.backbone_weights)
    return Page[BackboneRead](items=[BackboneRead.model_validate(info) for info in backbones])
