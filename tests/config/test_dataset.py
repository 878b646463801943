from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from bigain.config.dataset import DatasetConfig, DatasetSettings
from bigain.data import coco, fashion_mosaic, pets
from bigain.data.classes import classes_of
from bigain.data.imagenet import val_entries

ADAPTER: TypeAdapter[Any] = TypeAdapter(DatasetConfig)
MODELS: list[type[DatasetSettings]] = list(get_args(get_args(DatasetConfig)[0]))
SIZES = {
    "fashion_mnist": 10_000,
    "fashion_mosaic": fashion_mosaic.MOSAICS,
    "pets": pets.PUBLISHED,
    "imagenet100": len(val_entries("imagenet100")),
    "imagenet1k": len(val_entries("imagenet1k")),
    "coco2017": coco.PUBLISHED,
}


def name_of(model: type[DatasetSettings]) -> str:
    return str(get_args(model.model_fields["name"].annotation)[0])


def settings(name: str, **changes: object) -> Any:
    return ADAPTER.validate_python({"name": name, "limit": None, "root": None, **changes})


def test_every_dataset_is_one_of_the_choices() -> None:
    assert {name_of(model) for model in MODELS} == set(SIZES)


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_what_is_known_of_the_classes_is_what_the_data_says(model: type[DatasetSettings]) -> None:
    classes = classes_of(name_of(model))
    assert model.num_classes == len(classes.names)
    assert model.imagenet_classes == (classes.condition_ids is not None)


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_the_limit_goes_up_to_the_size_of_the_split(name: str, size: int) -> None:
    for limit in (None, 1, size):
        assert settings(name, limit=limit).limit == limit
    for wrong in (0, -1, size + 1, 1.5, "3", True):
        with pytest.raises(ValidationError) as caught:
            settings(name, limit=wrong)
        assert caught.value.errors()[0]["loc"][:2] == (name, "limit")


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_the_description_tells_the_range(model: type[DatasetSettings]) -> None:
    told = model.model_fields["limit"].description
    assert told is not None
    assert f"from 1 to {SIZES[name_of(model)]}," in told


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"fashion_mosaic"}))
def test_the_root_is_a_folder_with_a_name(name: str) -> None:
    assert str(settings(name, root="data").root) == "data"
    with pytest.raises(ValidationError):
        settings(name, root="")


def test_mosaics_have_no_root() -> None:
    assert settings("fashion_mosaic").root is None
    with pytest.raises(ValidationError) as caught:
        settings("fashion_mosaic", root="data")
    assert caught.value.errors()[0]["loc"] == ("fashion_mosaic", "root")


def test_all_but_mosaics_have_something_to_generate_an_image_of() -> None:
    assert [name_of(model) for model in MODELS if not model.generates] == ["fashion_mosaic"]


def test_name_limit_and_root_are_written_in_this_order() -> None:
    for name in SIZES:
        assert list(settings(name).model_dump()) == ["name", "limit", "root"]


def test_an_unknown_name_or_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="mnist"):
        settings("mnist")
    with pytest.raises(ValidationError, match="subset"):
        settings("imagenet1k", subset="2k")
