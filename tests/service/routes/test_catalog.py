"""What a learner can be made with."""


def test_strategies_and_backbones_say_what_can_be_chosen(client):
    strategies = {entry["name"]: entry for entry in client.get("/v1/strategies").json()["items"]}
    assert {"artsy", "simplecil", "finetune"} <= strategies.keys()
    assert [name for name in strategies if strategies[name]["keeps_images"]] == ["icarl", "joint"]
    assert strategies["simplecil"]["unlearning"] == "exact"
    artsy = strategies["artsy"]
    assert artsy["config_schema"]["properties"].keys() == artsy["defaults"].keys()
    backbones = {entry["name"]: entry for entry in client.get("/v1/backbones").json()["items"]}
    assert next(iter(backbones)) == "bundled"
    assert backbones["bundled"]["background"] == {"n_images": 6000, "n_classes": 200}
    assert backbones["vit_base_patch16_224.augreg_in21k"]["background"] is None
